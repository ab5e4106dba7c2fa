// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceclient "github.com/space-dra/space-dra-driver/pkg/space/client"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

// ensureAccess creates or restores a RoleBinding of the access to a space. A space in use stays ready
// if that fails, because its pods do not need it, and the controller retries after the resync period.
func (r *Reconciler) ensureAccess(ctx context.Context, desired *desiredClaim, space *desiredSpace, want *rbacv1.RoleBinding) error {
	_, changed, err := r.createOrRestore(ctx, space, want)
	switch {
	case !desired.inUse:
		return err
	case err != nil && ctx.Err() == nil:
		r.eventOnSpace(space.namespace, corev1.EventTypeWarning, spaceapi.ReasonAccessFailed, err.Error())
	case changed:
		r.reportRestored(ctx, desired, want)
	}
	return nil
}

// ensureRetainedAccess creates or restores the RoleBindings of the access to a retained namespace. It
// revokes those that a previous leader, which was paused, can have created after their revocation.
func (r *Reconciler) ensureRetainedAccess(ctx context.Context, ns *corev1.Namespace) error {
	var errs []error
	wanted := r.retainedAccess(ns, r.retainedUntil(ns))
	for _, want := range wanted {
		_, _, err := r.createOrRestore(ctx, nil, want)
		errs = append(errs, spaceclient.IgnoreNotFound(err)) // The namespace may no longer exist.
	}
	for _, name := range r.accessToRevoke(ns, wanted) {
		binding := &rbacv1.RoleBinding{}
		err := r.client.APIReader.Get(ctx, client.ObjectKey{Namespace: ns.Name, Name: name}, binding)
		if err == nil {
			err = r.revokeRoleBinding(ctx, binding)
		}
		errs = append(errs, spaceclient.IgnoreNotFound(err))
	}
	err := errors.Join(errs...)
	if err != nil && ctx.Err() == nil {
		r.eventOnSpace(ns, corev1.EventTypeWarning, spaceapi.ReasonAccessFailed, err.Error())
	}
	return err
}

// retainedAccess returns the RoleBindings of the access to a deprovisioned space. There are none if its
// namespace is not retained.
func (r *Reconciler) retainedAccess(ns *corev1.Namespace, until time.Time) []*rbacv1.RoleBinding {
	if ns.DeletionTimestamp != nil || !until.After(r.clock.Now()) {
		return nil
	}
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{
			Namespace: ns.Name, Name: name,
			Labels:      map[string]string{r.keys.ClaimUID: ns.Labels[r.keys.ClaimUID], r.keys.AllocationID: ns.Labels[r.keys.AllocationID]},
			Annotations: map[string]string{r.keys.ClaimNamespace: ns.Annotations[r.keys.ClaimNamespace], r.keys.ClaimName: ns.Annotations[r.keys.ClaimName]},
		}
	}
	return resources.AccessBindings(meta, r.recordedConfig(ns), spaceapi.AccessRetained)
}

// accessToRevoke returns the names of the RoleBindings of the access to a space, apart from those that
// are wanted.
func (r *Reconciler) accessToRevoke(ns *corev1.Namespace, wanted []*rbacv1.RoleBinding) (names []string) {
	for i := range r.recordedConfig(ns).Access {
		name := resources.AccessBindingName(i)
		if !slices.ContainsFunc(wanted, func(binding *rbacv1.RoleBinding) bool { return binding.Name == name }) {
			names = append(names, name)
		}
	}
	return names
}
