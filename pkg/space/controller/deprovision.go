// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

// revokeTries is how often the RoleBindings of tenants are listed in one go.
const revokeTries = 10

// deprovisionStale deprovisions those spaces of the claim that do not belong to its active
// allocation. It returns when to reconcile again, zero for never.
func (r *Reconciler) deprovisionStale(ctx context.Context, key types.NamespacedName, desired *desiredState, spaces []corev1.Namespace) (time.Duration, error) {
	var after time.Duration
	var stale []*corev1.Namespace
	for i := range spaces {
		ns := &spaces[i]
		after = soonest(after, r.reportOverdue(withClaimUID(ctx, r.claimUIDOf(ns)), ns), r.retainedFor(ns))
		if desired.activeAllocation().Owns(ns, r.keys) {
			continue
		}
		done, err := r.isDeprovisioned(ctx, ns)
		if err != nil {
			return after, err
		}
		if !done {
			stale = append(stale, ns)
		}
	}
	if len(stale) == 0 {
		return after, nil
	}

	// The cache may lag behind. Nothing is deleted because of it alone.
	live, err := getClaim(ctx, r.client.APIReader, key)
	if err != nil {
		return after, fmt.Errorf("confirm that the claim is deallocated: %w", err)
	}
	if desired, err = r.desire(ctx, live, spaces); err != nil {
		return after, err
	}
	cause := "Claim deallocated"
	if desired != nil && desired.expired {
		cause = "Lifetime expired"
	}
	var errs []error
	for _, ns := range stale {
		if desired.activeAllocation().Owns(ns, r.keys) {
			continue
		}
		changed, until, err := r.deprovision(withClaimUID(ctx, r.claimUIDOf(ns)), ns)
		if !until.IsZero() {
			// The retention may have ended meanwhile. Zero would be never.
			after = soonest(after, max(until.Sub(r.clock.Now()), time.Millisecond))
		}
		switch {
		case err != nil && errors.Is(ctx.Err(), context.Canceled):
			// The process stops, or no longer leads. The next leader continues.
			errs = append(errs, err)
		case err != nil:
			r.eventOnSpace(ns, corev1.EventTypeWarning, spaceapi.ReasonDeprovisioningFailed, err.Error())
			errs = append(errs, err)
		case changed && !until.IsZero():
			r.eventOnSpace(ns, corev1.EventTypeNormal, spaceapi.ReasonNamespaceRetained,
				fmt.Sprintf("%s: credentials revoked, namespace %s is retained until %s", cause, ns.Name, until.UTC().Format(time.RFC3339)))
		case changed:
			r.eventOnClaim(ns, corev1.EventTypeNormal, spaceapi.ReasonDeprovisioned,
				fmt.Sprintf("%s: credentials revoked and namespace %s deleted", cause, ns.Name))
		}
	}
	return after, errors.Join(errs...)
}

// deprovision revokes a space's credentials and deletes its namespace, immediately or
// after the retention period of its class. It can be called again at any point.
//
// The order matters: Kubernetes deletes a namespace's pods first and waits for
// them, so that with a long grace period the RoleBinding would exist for as
// long (k8s.io/kubernetes, pkg/controller/namespace/deletion). Authorization
// follows a deleted RoleBinding faster than authentication follows a deleted
// ServiceAccount, because successful token reviews are cached for ten seconds.
//
// It returns whether anything was left to do, and until when the namespace is retained. That is
// zero for a namespace that is deleted.
func (r *Reconciler) deprovision(ctx context.Context, ns *corev1.Namespace) (changed bool, until time.Time, err error) {
	start := r.clock.Now()
	if changed, err = r.revoke(ctx, ns); err != nil {
		return changed, until, err
	}
	revoked := r.clock.Since(start)
	if changed {
		klog.FromContext(ctx).V(2).Info("Credentials revoked", logkeys.Namespace, ns.Name)
	}
	period := r.recordedConfig(ns).Retention.Duration
	switch {
	case ns.DeletionTimestamp != nil:
		r.deprovisioned.Add(ns.UID, time.Time{}, cachesLag)
	case r.retainedUntil(ns).IsZero() && period > 0:
		// In whole seconds, as the annotation has it, and no shorter than the period.
		until = r.clock.Now().Add(period + time.Second - 1).Truncate(time.Second)
		if err := r.annotate(ctx, ns, map[string]any{r.keys.RetainedUntil: until.UTC().Format(time.RFC3339)}); client.IgnoreNotFound(err) != nil {
			return changed, time.Time{}, fmt.Errorf("set the end of the retention on namespace %s: %w", ns.Name, err)
		}
		changed = true
		r.deprovisioned.Add(ns.UID, until, cachesLag)
	case r.retainedFor(ns) <= 0:
		// The UID makes sure that no later namespace of the same name is deleted.
		err := r.client.Delete(ctx, ns.DeepCopy(), client.Preconditions{UID: &ns.UID})
		if client.IgnoreNotFound(err) != nil {
			return changed, until, fmt.Errorf("delete namespace %s: %w", ns.Name, err)
		}
		changed = changed || err == nil
		r.deprovisioned.Add(ns.UID, time.Time{}, cachesLag)
	default:
		until = r.retainedUntil(ns)
	}
	if changed {
		r.metrics.Revoke.Observe(revoked)
		klog.FromContext(ctx).Info("Space deprovisioned", logkeys.Namespace, ns.Name,
			logkeys.Allocation, ns.Labels[r.keys.AllocationID], "retained", !until.IsZero(),
			"revokedAfter", revoked.Round(time.Millisecond), logkeys.Duration, r.clock.Since(start).Round(time.Millisecond))
	}
	return changed, until, nil
}

// revoke deletes all RoleBindings and the ServiceAccount of a space, and returns whether
// there were any.
func (r *Reconciler) revoke(ctx context.Context, ns *corev1.Namespace) (changed bool, err error) {
	tenantsBind, err := r.canTenantsBind(ctx, ns)
	if err != nil {
		return false, err
	}
	if err := r.revokeClusterWide(ctx, ns); err != nil {
		return false, err
	}
	// The one that is watched last: while it exists, revocation is not complete.
	for _, name := range slices.Backward(resources.RoleBindingNames(r.recordedConfig(ns))) {
		err := r.clearSubjects(ctx, ns.Name, name)
		if err == nil {
			err = r.client.Delete(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: name}})
		}
		if client.IgnoreNotFound(err) != nil {
			return changed, fmt.Errorf("delete the RoleBindings in namespace %s: %w", ns.Name, err)
		}
		changed = changed || err == nil
	}
	if tenantsBind {
		if err := r.revokeTenantRoleBindings(ctx, ns.Name); err != nil {
			return changed, err
		}
	}
	// Last of what is revoked: while it exists, revocation is not complete.
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: spaceapi.ServiceAccountName}}
	err = r.client.Delete(ctx, account)
	if client.IgnoreNotFound(err) != nil {
		return changed, fmt.Errorf("delete the ServiceAccount in namespace %s: %w", ns.Name, err)
	}
	return changed || err == nil, nil
}

// withoutSubjects is a patch that empties a RoleBinding.
var withoutSubjects = client.RawPatch(types.MergePatchType, []byte(`{"subjects":null}`))

// clearSubjects empties a RoleBinding whose finalizer would otherwise keep it in effect
// after its deletion. Tenants who may change it can add finalizers.
func (r *Reconciler) clearSubjects(ctx context.Context, namespace, name string) error {
	binding := &rbacv1.RoleBinding{}
	err := r.roleBindings(name).Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, binding)
	if err != nil || len(binding.Finalizers) == 0 || len(binding.Subjects) == 0 {
		return client.IgnoreNotFound(err)
	}
	return client.IgnoreNotFound(r.client.Patch(ctx, binding, withoutSubjects))
}

// revokeTenantRoleBindings deletes the RoleBindings that tenants created. Those would
// exist until all pods of the namespace are deleted. Pods with such permissions may create more
// meanwhile, so it lists them again until none is in effect.
func (r *Reconciler) revokeTenantRoleBindings(ctx context.Context, namespace string) error {
	for range revokeTries {
		var list rbacv1.RoleBindingList
		if err := r.client.APIReader.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			return fmt.Errorf("list the RoleBindings of tenants in namespace %s: %w", namespace, err)
		}
		inEffect := 0
		for i := range list.Items {
			binding := &list.Items[i]
			if binding.DeletionTimestamp != nil && len(binding.Subjects) == 0 {
				continue
			}
			inEffect++
			if len(binding.Finalizers) > 0 && len(binding.Subjects) > 0 {
				if err := r.client.Patch(ctx, binding, withoutSubjects); client.IgnoreNotFound(err) != nil {
					return fmt.Errorf("revoke RoleBinding %s/%s of a tenant: %w", namespace, binding.Name, err)
				}
			}
			if err := r.client.Delete(ctx, binding); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("delete RoleBinding %s/%s of a tenant: %w", namespace, binding.Name, err)
			}
		}
		if inEffect == 0 {
			return nil
		}
	}
	return fmt.Errorf("RoleBindings in namespace %s keep being recreated", namespace)
}

// revokeClusterWide deletes the ClusterRoleBindings of a space.
func (r *Reconciler) revokeClusterWide(ctx context.Context, ns *corev1.Namespace) error {
	for _, role := range r.recordedConfig(ns).ClusterWideRoles {
		binding := &rbacv1.ClusterRoleBinding{}
		err := r.client.APIReader.Get(ctx, client.ObjectKey{Name: resources.ClusterRoleBindingName(ns.Name, role)}, binding)
		// The name proves nothing: a client that can write the recorded configuration of a
		// namespace chooses it.
		if err == nil && isOwnedBy(binding, ns) {
			err = r.client.Delete(ctx, binding, client.Preconditions{UID: &binding.UID})
		}
		if apierrors.IsForbidden(err) && !slices.Contains(r.config.Defaults.ClusterWideRoles, role) {
			// The controller no longer has permission to delete it. The garbage collector does,
			// with the namespace.
			klog.FromContext(ctx).Error(err, "Cluster-wide role not revoked before the namespace is deleted", logkeys.Namespace, ns.Name)
			continue
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete the ClusterRoleBindings of namespace %s: %w", ns.Name, err)
		}
	}
	return nil
}

// isOwnedBy returns whether a ClusterRoleBinding was created for the space in a namespace.
func isOwnedBy(binding *rbacv1.ClusterRoleBinding, ns *corev1.Namespace) bool {
	return slices.ContainsFunc(binding.OwnerReferences, func(owner metav1.OwnerReference) bool {
		return owner.Kind == "Namespace" && owner.UID == ns.UID
	})
}

// retainedUntil is until when a deprovisioned namespace is retained. It is zero for one that is not.
func (r *Reconciler) retainedUntil(ns *corev1.Namespace) time.Time {
	if until, err := time.Parse(time.RFC3339, ns.Annotations[r.keys.RetainedUntil]); err == nil {
		return until
	}
	value, _ := r.deprovisioned.Get(ns.UID)
	until, _ := value.(time.Time)
	return until
}

// retainedFor is how long a deprovisioned namespace is still retained. It is zero for one that is not.
func (r *Reconciler) retainedFor(ns *corev1.Namespace) time.Duration {
	if ns.DeletionTimestamp != nil {
		return 0
	}
	return max(0, r.retainedUntil(ns).Sub(r.clock.Now()))
}

// isDeprovisioned returns whether nothing is left to do for a stale namespace but to wait
// for its deletion or for the end of its retention.
func (r *Reconciler) isDeprovisioned(ctx context.Context, ns *corev1.Namespace) (bool, error) {
	binding, account := &rbacv1.RoleBinding{}, &corev1.ServiceAccount{}
	bindingErr := r.client.Get(ctx, client.ObjectKey{Namespace: ns.Name, Name: spaceapi.RoleBindingName}, binding)
	accountErr := r.client.Get(ctx, client.ObjectKey{Namespace: ns.Name, Name: spaceapi.ServiceAccountName}, account)
	if err := errors.Join(client.IgnoreNotFound(bindingErr), client.IgnoreNotFound(accountErr)); err != nil {
		return false, err
	}
	if bindingErr == nil && binding.DeletionTimestamp != nil && len(binding.Subjects) > 0 {
		return false, nil // a finalizer keeps it in effect
	}
	// A retained namespace, other than one that is being deleted, can still be written to:
	// by a controller that was paused, for example.
	if until, known := r.deprovisioned.Get(ns.UID); known && until.(time.Time).IsZero() {
		return true, nil
	}
	return (ns.DeletionTimestamp != nil || r.retainedFor(ns) > 0) &&
		(bindingErr != nil || binding.DeletionTimestamp != nil) && (accountErr != nil || account.DeletionTimestamp != nil), nil
}

// reportOverdue reports, on the namespace and on its claim, that the deletion of the
// namespace takes too long. It returns when to reconcile again, zero for never.
func (r *Reconciler) reportOverdue(ctx context.Context, ns *corev1.Namespace) time.Duration {
	if ns.DeletionTimestamp == nil {
		return 0
	}
	timeout := r.config.NamespaceDeletionTimeout
	if left := timeout - r.clock.Since(ns.DeletionTimestamp.Time); left > 0 {
		return left
	}
	message := fmt.Sprintf("Namespace %s has been terminating since %s: %s",
		ns.Name, ns.DeletionTimestamp.UTC().Format(time.RFC3339), terminationReason(ns))
	klog.FromContext(ctx).Info("Namespace deletion overdue", logkeys.Namespace, ns.Name, "cause", message)
	r.eventOnSpace(ns, corev1.EventTypeWarning, spaceapi.ReasonStuckTerminating, message)
	return timeout
}

// terminationReason is the reason that the namespace's own conditions give.
func terminationReason(ns *corev1.Namespace) string {
	var reasons []string
	for _, condition := range ns.Status.Conditions {
		if condition.Status == corev1.ConditionTrue {
			reasons = append(reasons, fmt.Sprintf("%s: %s", condition.Type, condition.Message))
		}
	}
	if len(reasons) == 0 {
		return "its conditions give no reason"
	}
	return strings.Join(reasons, "; ")
}

// eventOnClaim records an event on the claim of a namespace, which may no longer exist.
func (r *Reconciler) eventOnClaim(ns *corev1.Namespace, eventType, reason, message string) {
	key := claimOf(ns, r.keys)
	claim := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: r.claimUIDOf(ns)}}
	r.events.Event(reference(claim), eventType, reason, message)
}

// eventOnSpace records an event on a namespace and on its claim.
func (r *Reconciler) eventOnSpace(ns *corev1.Namespace, eventType, reason, message string) {
	r.events.Event(&corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: ns.Name, UID: ns.UID}, eventType, reason, message)
	r.eventOnClaim(ns, eventType, reason, message)
}
