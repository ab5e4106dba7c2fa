// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
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
	spaceclient "github.com/space-dra/space-dra-driver/pkg/space/client"
	"github.com/space-dra/space-dra-driver/pkg/space/deletion"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

// deprovisionStale deprovisions the namespaces of the claim that do not belong to its active
// allocation. It returns the delay until the next reconcile, zero for never.
func (r *Reconciler) deprovisionStale(ctx context.Context, key types.NamespacedName, desired *desiredClaim, namespaces []corev1.Namespace) (time.Duration, error) {
	var after time.Duration
	var stale []*corev1.Namespace
	var errs []error
	for i := range namespaces {
		ns := &namespaces[i]
		after = soonest(after, r.reportStuckTerminating(withClaimUID(ctx, ns.Labels[r.keys.ClaimUID]), ns), r.retainedFor(ns))
		if desired.keeps(ns, r.keys) {
			continue
		}
		done, err := r.isDeprovisioned(ctx, ns)
		if err != nil {
			return after, err
		}
		if !done {
			stale = append(stale, ns)
		} else if r.retainedFor(ns) > 0 {
			errs = append(errs, r.ensureRetainedAccess(ctx, ns))
		}
	}
	if len(stale) == 0 {
		return after, errors.Join(errs...)
	}

	// The cache may lag behind, so that the API server has to confirm it.
	live, err := getClaim(ctx, r.client.APIReader, key)
	if err != nil {
		return after, fmt.Errorf("confirm that the claim is deallocated: %w", err)
	}
	if desired, err = r.newDesiredClaim(ctx, live, namespaces); err != nil {
		return after, err
	}
	for _, ns := range stale {
		if desired.keeps(ns, r.keys) {
			continue
		}
		retained, err := r.deprovision(withClaimUID(ctx, ns.Labels[r.keys.ClaimUID]), ns, r.deprovisionCause(ns, live, desired))
		// If the process stops, or no longer leads, the next leader continues.
		if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
			r.eventOnSpace(ns, corev1.EventTypeWarning, spaceapi.ReasonDeprovisioningFailed, err.Error())
		}
		after = soonest(after, retained)
		errs = append(errs, err)
	}
	return after, errors.Join(errs...)
}

// deprovision revokes a space's credentials and deletes its namespace, immediately or
// after the retention period of its class. It is idempotent.
//
// The order matters: Kubernetes deletes a namespace's pods first and waits for
// them, so that with a long grace period the RoleBinding would exist for as
// long (k8s.io/kubernetes, pkg/controller/namespace/deletion). Authorization
// follows a deleted RoleBinding faster than authentication follows a deleted
// ServiceAccount, because successful token reviews are cached for ten seconds.
//
// It returns for how long the namespace is still retained, zero for one that is deleted. The message
// of the event begins with the cause.
func (r *Reconciler) deprovision(ctx context.Context, ns *corev1.Namespace, cause string) (time.Duration, error) {
	start := r.clock.Now()
	r.restores.DeleteEntry(ns.Labels[r.keys.AllocationID])
	until := r.retainedUntil(ns)
	period, because := r.retentionOf(ns)
	if until.IsZero() {
		until = start
		if period > 0 {
			// In whole seconds, as the annotation has it, and no shorter than the period.
			until = start.Add(period + time.Second - 1).Truncate(time.Second)
		}
	}
	changed, err := r.revoke(ctx, ns, until)
	if err != nil {
		return 0, err
	}
	revoked := r.clock.Since(start)
	if changed {
		klog.FromContext(ctx).V(2).Info("Credentials revoked", logkeys.Namespace, ns.Name)
	}
	if ns.DeletionTimestamp == nil && r.retainedUntil(ns).IsZero() && period > 0 {
		if err := r.recordRetention(ctx, ns, until); err != nil {
			return 0, err
		}
		changed = true
	}
	retained := until.Sub(start)
	if ns.DeletionTimestamp != nil || retained <= 0 {
		retained = 0
		deleted := ns.DeepCopy()
		if deleted.DeletionTimestamp == nil {
			// The UID ensures that no later namespace of the same name is deleted.
			err := r.client.Delete(ctx, deleted, client.Preconditions{UID: &ns.UID})
			if spaceclient.IgnoreNotFound(err) != nil {
				return 0, fmt.Errorf("delete namespace %s: %w", ns.Name, err)
			}
			changed = changed || err == nil
			deleted.DeletionTimestamp = new(metav1.NewTime(start))
		}
		r.writtenNamespaces.Add(ns.UID, deleted, maxCacheLag)
	}
	if !changed {
		return retained, nil
	}
	r.metrics.Revoke.Observe(revoked)
	klog.FromContext(ctx).Info("Space deprovisioned", logkeys.Namespace, ns.Name,
		logkeys.Allocation, ns.Labels[r.keys.AllocationID], "retained", retained > 0,
		"revokedAfter", revoked.Round(time.Millisecond), logkeys.Duration, r.clock.Since(start).Round(time.Millisecond))
	if retained > 0 {
		r.eventOnSpace(ns, corev1.EventTypeNormal, spaceapi.ReasonNamespaceRetained,
			fmt.Sprintf("%s: credentials revoked, namespace %s is retained until %s%s", cause, ns.Name, until.UTC().Format(time.RFC3339), because))
	} else {
		if period > 0 { // It was retained.
			because = ""
		}
		r.events.Event(r.claimOfSpace(ns), corev1.EventTypeNormal, spaceapi.ReasonDeprovisioned,
			fmt.Sprintf("%s: credentials revoked and namespace %s deleted%s", cause, ns.Name, because))
	}
	return retained, nil
}

// recordRetention sets the annotation of a deprovisioned space. A policy of the chart then denies
// that tenants grant permissions.
func (r *Reconciler) recordRetention(ctx context.Context, ns *corev1.Namespace, until time.Time) error {
	err := r.annotate(ctx, ns, map[string]any{r.keys.RetainedUntil: until.UTC().Format(time.RFC3339)})
	if spaceclient.IgnoreNotFound(err) != nil {
		return fmt.Errorf("set the end of the retention on namespace %s: %w", ns.Name, err)
	}
	return nil
}

// revoke deletes all bindings and the ServiceAccount of a space. It reports whether the
// ServiceAccount, or one of the RoleBindings that the driver created, still existed. until is the
// end of the retention.
func (r *Reconciler) revoke(ctx context.Context, ns *corev1.Namespace, until time.Time) (changed bool, err error) {
	tenantsBind, err := r.canTenantsBind(ctx)
	if err != nil {
		return false, err
	}
	if err := r.revokeClusterWide(ctx, ns); err != nil {
		return false, err
	}
	kept := r.retainedAccess(ns, until)
	// The first RoleBinding comes last, because it is the one in the cache: while it exists,
	// isDeprovisioned knows that revocation is not complete.
	for _, name := range slices.Backward(append(resources.RoleBindingNames(r.recordedConfig(ns)), r.accessToRevoke(ns, kept)...)) {
		binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: name}}
		err := spaceclient.IgnoreNotFound(r.readerFor(binding).Get(ctx, client.ObjectKeyFromObject(binding), binding))
		if err == nil {
			err = r.revokeRoleBinding(ctx, binding)
		}
		if spaceclient.IgnoreNotFound(err) != nil {
			return changed, fmt.Errorf("delete the RoleBindings in namespace %s: %w", ns.Name, err)
		}
		changed = changed || err == nil
	}
	if tenantsBind {
		// Otherwise, tenants could create RoleBindings faster than the controller deletes them.
		var recordErr error
		if ns.DeletionTimestamp == nil && r.retainedUntil(ns).IsZero() {
			recordErr = r.recordRetention(ctx, ns, until)
		}
		if err := r.revokeTenantRoleBindings(ctx, ns.Name, kept); err != nil {
			return changed, errors.Join(recordErr, err)
		}
	}
	// The ServiceAccount is in the cache, too, and comes last for the same reason.
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: spaceapi.ServiceAccountName}}
	err = r.client.Delete(ctx, account)
	if spaceclient.IgnoreNotFound(err) != nil {
		return changed, fmt.Errorf("delete the ServiceAccount in namespace %s: %w", ns.Name, err)
	}
	return changed || err == nil, nil
}

// revokeRoleBinding deletes a RoleBinding. It first empties one whose finalizer would keep it
// in effect after its deletion: tenants who may change it can add finalizers.
//
// The API server denies changes of a RoleBinding if the client may not bind its role, but allows
// removing finalizers (k8s.io/kubernetes, pkg/registry/rbac/helpers.go). The deletion comes first,
// because finalizers cannot be added after it.
func (r *Reconciler) revokeRoleBinding(ctx context.Context, binding *rbacv1.RoleBinding) error {
	if len(binding.Finalizers) > 0 && len(binding.Subjects) > 0 {
		withoutSubjects := client.RawPatch(types.MergePatchType, []byte(`{"subjects":null}`))
		err := r.client.Patch(ctx, binding, withoutSubjects)
		if apierrors.IsForbidden(err) {
			if err := r.client.Delete(ctx, binding); err != nil {
				return err
			}
			return r.client.Patch(ctx, binding, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))
		}
		if err != nil {
			return err
		}
	}
	return r.client.Delete(ctx, binding)
}

// revokeTenantRoleBindings deletes the RoleBindings that tenants created, which would otherwise exist
// until all pods of the namespace are deleted. In the meantime, pods with such permissions may create
// more. It therefore lists them again until none is in effect, up to ten times. kept are those that
// stay, unless tenants have changed them.
func (r *Reconciler) revokeTenantRoleBindings(ctx context.Context, namespace string, kept []*rbacv1.RoleBinding) error {
	for range 10 {
		var list rbacv1.RoleBindingList
		if err := r.client.APIReader.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			return fmt.Errorf("list the RoleBindings of tenants in namespace %s: %w", namespace, err)
		}
		inEffect := slices.DeleteFunc(list.Items, func(binding rbacv1.RoleBinding) bool {
			return binding.DeletionTimestamp != nil && len(binding.Subjects) == 0 || slices.ContainsFunc(kept, func(want *rbacv1.RoleBinding) bool {
				return want.Name == binding.Name && r.matchesDesired(&binding, want)
			})
		})
		if len(inEffect) == 0 {
			return nil
		}
		var errs []error // One that fails does not keep the others in effect.
		for i := range inEffect {
			if err := r.revokeRoleBinding(ctx, &inEffect[i]); spaceclient.IgnoreNotFound(err) != nil {
				errs = append(errs, fmt.Errorf("revoke RoleBinding %s/%s of a tenant: %w", namespace, inEffect[i].Name, err))
			}
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return fmt.Errorf("RoleBindings in namespace %s keep being recreated", namespace)
}

// revokeClusterWide deletes the ClusterRoleBindings of a space.
func (r *Reconciler) revokeClusterWide(ctx context.Context, ns *corev1.Namespace) error {
	for _, role := range r.recordedConfig(ns).ClusterWideRoles {
		binding := &rbacv1.ClusterRoleBinding{}
		err := r.client.APIReader.Get(ctx, client.ObjectKey{Name: resources.ClusterRoleBindingName(ns.Name, role)}, binding)
		// The owner is checked, because a client that can write the recorded configuration can
		// choose the name.
		if err == nil && slices.ContainsFunc(binding.OwnerReferences, func(owner metav1.OwnerReference) bool { return owner.UID == ns.UID }) {
			err = r.client.Delete(ctx, binding, client.Preconditions{UID: &binding.UID})
		}
		if apierrors.IsForbidden(err) && !slices.Contains(r.config.Defaults.ClusterWideRoles, role) {
			// The controller no longer has permission to delete it. The garbage collector does,
			// with the namespace.
			klog.FromContext(ctx).Error(err, "Cannot revoke a cluster-wide role before the namespace is deleted", logkeys.Namespace, ns.Name)
			continue
		}
		if spaceclient.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete the ClusterRoleBindings of namespace %s: %w", ns.Name, err)
		}
	}
	return nil
}

// retainedUntil returns the end of the retention of a namespace. It is zero for one that is not retained.
func (r *Reconciler) retainedUntil(ns *corev1.Namespace) time.Time {
	until, _ := time.Parse(time.RFC3339, ns.Annotations[r.keys.RetainedUntil])
	return until
}

// retainedFor returns for how long a namespace is still retained. It is zero for one that is not
// retained, or that is being deleted.
func (r *Reconciler) retainedFor(ns *corev1.Namespace) time.Duration {
	if ns.DeletionTimestamp != nil {
		return 0
	}
	return max(0, r.retainedUntil(ns).Sub(r.clock.Now()))
}

// isDeprovisioned reports whether a stale namespace only waits for its deletion or for the end of its
// retention.
func (r *Reconciler) isDeprovisioned(ctx context.Context, ns *corev1.Namespace) (bool, error) {
	binding, account := &rbacv1.RoleBinding{}, &corev1.ServiceAccount{}
	bindingErr := r.client.Get(ctx, client.ObjectKey{Namespace: ns.Name, Name: spaceapi.RoleBindingName}, binding)
	accountErr := r.client.Get(ctx, client.ObjectKey{Namespace: ns.Name, Name: spaceapi.ServiceAccountName}, account)
	if err := errors.Join(spaceclient.IgnoreNotFound(bindingErr), spaceclient.IgnoreNotFound(accountErr)); err != nil {
		return false, err
	}
	if bindingErr == nil && binding.DeletionTimestamp != nil && len(binding.Subjects) > 0 {
		return false, nil // A finalizer keeps it in effect.
	}
	// This controller creates nothing in a namespace that it has deleted, although the cache may
	// still have objects of it. In a retained namespace, another controller that was paused can
	// still create objects.
	if written, _ := r.writtenNamespaces.Get(ns.UID); written != nil && written.(*corev1.Namespace).DeletionTimestamp != nil {
		return true, nil
	}
	return (ns.DeletionTimestamp != nil || r.retainedFor(ns) > 0) &&
		(bindingErr != nil || binding.DeletionTimestamp != nil) && (accountErr != nil || account.DeletionTimestamp != nil), nil
}

// reportStuckTerminating reports, on the namespace and on its claim, that the deletion of the namespace
// takes too long. It also makes Kubernetes retry the deletion. It returns the delay until the next
// reconcile, zero for never.
//
// kube-controller-manager retries the deletion after half of the longest grace period of the pods,
// even if they were force-deleted meanwhile, and some seconds after each change of the namespace
// (k8s.io/kubernetes, pkg/controller/namespace).
func (r *Reconciler) reportStuckTerminating(ctx context.Context, ns *corev1.Namespace) time.Duration {
	if ns.DeletionTimestamp == nil {
		return 0
	}
	timeout := r.config.StuckTerminatingAfter
	since := ns.DeletionTimestamp.Time
	if retried, err := time.Parse(time.RFC3339, ns.Annotations[r.keys.DeletionRetriedAt]); err == nil {
		since = retried
	}
	if remaining := timeout - r.clock.Since(since); remaining > 0 {
		return remaining
	}
	causes := deletion.Causes(ns, r.keys, r.clock.Now())
	message := fmt.Sprintf("Namespace %s has been terminating since %s: %s", ns.Name, ns.DeletionTimestamp.UTC().Format(time.RFC3339),
		cmp.Or(strings.Join(causes, "; "), "its status gives no reason"))
	klog.FromContext(ctx).Info("Namespace stuck terminating", logkeys.Namespace, ns.Name, "cause", message)
	r.eventOnSpace(ns, corev1.EventTypeWarning, spaceapi.ReasonStuckTerminating, message)
	now := r.clock.Now().UTC().Format(time.RFC3339)
	if err := r.annotate(ctx, ns, map[string]any{r.keys.DeletionRetriedAt: now}); spaceclient.IgnoreNotFound(err) != nil {
		klog.FromContext(ctx).Error(err, "Failed to make Kubernetes retry the deletion of a namespace", logkeys.Namespace, ns.Name)
	}
	return timeout
}

// claimOfSpace returns a reference for events to the claim of a namespace, or of an object in one. The
// claim may no longer exist.
func (r *Reconciler) claimOfSpace(obj client.Object) *resourceapi.ResourceClaim {
	key := claimOf(obj, r.keys)
	return &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: types.UID(obj.GetLabels()[r.keys.ClaimUID])}}
}

// eventOnSpace records an event on a namespace and on its claim.
func (r *Reconciler) eventOnSpace(ns *corev1.Namespace, eventType, reason, message string) {
	r.events.Event(ns, eventType, reason, message)
	r.events.Event(r.claimOfSpace(ns), eventType, reason, message)
}

// deprovisionCause returns why a stale namespace is deprovisioned, for users who did not expect it.
// live is the claim of the name that is recorded, and desired its desired state.
func (r *Reconciler) deprovisionCause(ns *corev1.Namespace, live *resourceapi.ResourceClaim, desired *desiredClaim) string {
	switch {
	case desired != nil && desired.Owns(ns, r.keys):
		return "Maximum lifetime of the space reached"
	case live == nil || live.DeletionTimestamp != nil:
		return "Claim deleted"
	case string(live.UID) != ns.Labels[r.keys.ClaimUID]:
		return "Claim deleted, and another one of the same name created"
	case desired == nil:
		return "Claim deallocated, because no pod uses it any more (another pod that uses the claim would keep the space)"
	default:
		return "Claim deallocated, and then allocated again (another pod that uses the claim all the time would keep the space)"
	}
}
