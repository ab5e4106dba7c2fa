// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

// reasonError is an error with the reason that conditions and events have for it.
type reasonError struct {
	reason string
	err    error
}

func (e *reasonError) Error() string { return e.err.Error() }
func (e *reasonError) Unwrap() error { return e.err }

// conditionReason returns the reason for an error.
func conditionReason(err error) string {
	var e *reasonError
	if errors.As(err, &e) {
		return e.reason
	}
	// The API server validates what the parameters have of its own types.
	if apierrors.IsInvalid(err) {
		return spaceapi.ReasonInvalidParameters
	}
	return spaceapi.ReasonProvisioningFailed
}

// provisioned is the result of provisioning a space.
type provisioned struct {
	serviceAccountUID types.UID
	// changed lists what was created or restored.
	changed []string
}

// step provisions a part of a space. A part that is not restored later has no name.
type step struct {
	name string
	// ensure returns whether it created or restored anything.
	ensure func() (bool, error)
}

// provision creates what is missing of a space, and restores what was changed. Any part may
// exist already. A space that is not in use yet also gets what kube-controller-manager
// creates in each namespace some time later, and is complete only when its RBAC is in effect.
func (r *Reconciler) provision(ctx context.Context, a *allocation.Allocation, desired desiredSpace, consumers *consumers, inUse bool) (provisioned, error) {
	environment := resources.Environment{Driver: r.config.Defaults.Driver, DNS: r.config.DNS}
	var err error
	if environment.APIServer, err = r.apiServer(ctx); err != nil {
		return provisioned{}, err
	}
	if desired.existing == nil && len(desired.config.InheritLabels) > 0 {
		claims := &corev1.Namespace{}
		if err := r.client.APIReader.Get(ctx, client.ObjectKey{Name: a.Claim.Namespace}, claims); err != nil {
			return provisioned{}, fmt.Errorf("read the labels of the claim's namespace: %w", err)
		}
		desired.config.Inherit(claims.Labels)
	}
	space := environment.Objects(a, desired.share, desired.name, desired.config)

	start := r.clock.Now()
	namespace, created, err := r.ensureNamespace(ctx, a, desired.existing, space.Namespace)
	if err != nil {
		return provisioned{}, err
	}
	namespaceDone := r.clock.Now()
	var account *corev1.ServiceAccount
	steps := []step{
		{"", func() (bool, error) {
			consumers.record(ctx, namespace)
			return false, nil
		}},
		{"ServiceAccount " + space.ServiceAccount.Name, func() (created bool, err error) {
			account, created, err = r.ensureServiceAccount(ctx, space.ServiceAccount)
			return created, err
		}},
	}
	for _, want := range space.RoleBindings {
		steps = append(steps, step{"RoleBinding " + want.Name, func() (bool, error) {
			changed, err := r.ensureRoleBinding(ctx, want)
			if err != nil || inUse {
				return changed, err
			}
			if err := r.waitForRBAC(ctx, space.ServiceAccount, want.RoleRef.Name, namespace.Name); err != nil {
				return changed, err
			}
			r.metrics.ProvisionSteps.Observe(r.clock.Since(namespaceDone), metrics.StepRBAC)
			return changed, nil
		}})
	}
	steps = append(steps, r.clusterRoleBindingSteps(ctx, space, namespace, inUse)...)
	steps = append(steps, r.limitSteps(ctx, space, inUse)...)
	if !inUse {
		steps = append(steps,
			step{"", func() (bool, error) { return false, r.createDefaultAccount(ctx, space.DefaultAccount) }},
			step{"", func() (bool, error) { return false, r.createRootCA(ctx, namespace.Name) }},
		)
		for _, object := range space.Copies {
			steps = append(steps, step{"", func() (bool, error) { return false, r.createCopy(ctx, object) }})
		}
	}
	changed := make([]bool, len(steps))
	if err := parallel(len(steps), func(i int) (err error) {
		changed[i], err = steps[i].ensure()
		return err
	}); err != nil {
		return provisioned{}, err
	}
	if !inUse {
		r.metrics.ProvisionSteps.Observe(namespaceDone.Sub(start), metrics.StepNamespace)
		r.metrics.ProvisionSteps.Observe(r.clock.Since(namespaceDone), metrics.StepObjects)
	}
	out := provisioned{serviceAccountUID: account.UID}
	if created {
		out.changed = append(out.changed, "the namespace")
	}
	for i, step := range steps {
		if changed[i] {
			out.changed = append(out.changed, step.name)
		}
	}
	slices.Sort(out.changed)
	return out, nil
}

// ensureNamespace returns the space's namespace, and whether it was created.
func (r *Reconciler) ensureNamespace(ctx context.Context, a *allocation.Allocation, existing, want *corev1.Namespace) (*corev1.Namespace, bool, error) {
	if existing == nil {
		err := r.client.Create(ctx, want)
		if err == nil {
			klog.FromContext(ctx).V(2).Info("Namespace created", logkeys.Namespace, want.Name)
			return want, true, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return nil, false, fmt.Errorf("create namespace %s: %w", want.Name, err)
		}
		existing = &corev1.Namespace{}
		if err := r.client.APIReader.Get(ctx, client.ObjectKeyFromObject(want), existing); err != nil {
			return nil, false, fmt.Errorf("read the existing namespace %s: %w", want.Name, err)
		}
	}
	switch {
	case !a.Owns(existing, r.keys):
		return nil, false, &reasonError{spaceapi.ReasonNameConflict, fmt.Errorf("namespace %s exists and was not created for this claim: it is left alone", want.Name)}
	case existing.DeletionTimestamp != nil:
		return nil, false, &reasonError{spaceapi.ReasonNamespaceTerminating, fmt.Errorf("namespace %s is being deleted although the claim is allocated: it is recreated when the deletion is complete", want.Name)}
	case !r.retainedUntil(existing).IsZero():
		// Before Kubernetes 1.36, a claim that gets the same device again has the same allocation ID.
		if err := r.client.Delete(ctx, existing, client.Preconditions{UID: &existing.UID}); client.IgnoreNotFound(err) != nil {
			return nil, false, fmt.Errorf("delete the retained namespace %s, whose name is needed: %w", existing.Name, err)
		}
		return nil, false, &reasonError{spaceapi.ReasonNamespaceTerminating, fmt.Errorf("namespace %s was retained from an earlier use of the same device: it is recreated when its deletion is complete", want.Name)}
	}
	return existing, false, nil
}

// ensureServiceAccount returns the space's ServiceAccount, and whether it was created.
func (r *Reconciler) ensureServiceAccount(ctx context.Context, want *corev1.ServiceAccount) (*corev1.ServiceAccount, bool, error) {
	key := client.ObjectKeyFromObject(want)
	existing := &corev1.ServiceAccount{}
	if err := r.client.Get(ctx, key, existing); client.IgnoreNotFound(err) != nil {
		return nil, false, err
	} else if err == nil && existing.DeletionTimestamp == nil {
		return existing, false, nil
	}
	err := r.client.Create(ctx, want)
	if err == nil {
		return want, true, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, false, fmt.Errorf("create ServiceAccount %s: %w", key, err)
	}
	if err := r.client.APIReader.Get(ctx, key, existing); err != nil {
		return nil, false, fmt.Errorf("read the existing ServiceAccount %s: %w", key, err)
	}
	if existing.DeletionTimestamp != nil {
		return nil, false, fmt.Errorf("ServiceAccount %s is being deleted, and has finalizers %v: it is recreated when the deletion is complete", key, existing.Finalizers)
	}
	return existing, false, nil
}

// roleBindings reads RoleBindings of spaces. Only the first of each is in the cache.
func (r *Reconciler) roleBindings(name string) client.Reader {
	if name == spaceapi.RoleBindingName {
		return r.client
	}
	return r.client.APIReader
}

// ensureRoleBinding replaces a RoleBinding that was changed, because its role is immutable.
func (r *Reconciler) ensureRoleBinding(ctx context.Context, want *rbacv1.RoleBinding) (bool, error) {
	key := client.ObjectKeyFromObject(want)
	same := func(have *rbacv1.RoleBinding) bool {
		return have.DeletionTimestamp == nil && have.RoleRef == want.RoleRef && equality.Semantic.DeepEqual(have.Subjects, want.Subjects)
	}
	existing := &rbacv1.RoleBinding{}
	if err := r.roleBindings(want.Name).Get(ctx, key, existing); client.IgnoreNotFound(err) != nil {
		return false, err
	} else if err == nil && same(existing) {
		return false, nil
	}
	err := r.client.Create(ctx, want.DeepCopy())
	if err == nil {
		return true, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return false, fmt.Errorf("create RoleBinding %s: %w", key, err)
	}
	if err := r.client.APIReader.Get(ctx, key, existing); err != nil {
		return false, fmt.Errorf("read the existing RoleBinding %s: %w", key, err)
	}
	if same(existing) {
		return false, nil
	}
	if err := r.client.Delete(ctx, existing, client.Preconditions{UID: &existing.UID}); client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("delete the changed RoleBinding %s: %w", key, err)
	}
	if err := r.client.Create(ctx, want.DeepCopy()); err != nil {
		return false, fmt.Errorf("recreate RoleBinding %s: %w", key, err)
	}
	return true, nil
}

// clusterRoleBindingSteps are for the rights in the whole cluster. The namespace owns the
// ClusterRoleBindings, so that none outlives it whatever happens to the driver.
func (r *Reconciler) clusterRoleBindingSteps(ctx context.Context, space resources.Objects, namespace *corev1.Namespace, inUse bool) []step {
	var steps []step
	for _, want := range space.ClusterRoleBindings {
		if !slices.Contains(r.config.Defaults.ClusterWideRoles, want.RoleRef.Name) {
			continue // The controller lost the right to restore it.
		}
		want.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Namespace", Name: namespace.Name, UID: namespace.UID,
		}}
		same := func(have *rbacv1.ClusterRoleBinding) bool {
			return have.RoleRef == want.RoleRef && equality.Semantic.DeepEqual(have.Subjects, want.Subjects) &&
				equality.Semantic.DeepEqual(have.OwnerReferences, want.OwnerReferences)
		}
		steps = append(steps, step{"ClusterRoleBinding " + want.Name, func() (bool, error) {
			changed, err := ensure(ctx, r.client, want, same, func(have *rbacv1.ClusterRoleBinding) {
				have.RoleRef, have.Subjects, have.OwnerReferences = want.RoleRef, want.Subjects, want.OwnerReferences
			})
			if err != nil || inUse {
				return changed, err
			}
			return changed, r.waitForRBAC(ctx, space.ServiceAccount, want.RoleRef.Name, metav1.NamespaceAll)
		}})
	}
	return steps
}

// limitSteps are for the objects that limit what is done in a space.
func (r *Reconciler) limitSteps(ctx context.Context, space resources.Objects, inUse bool) []step {
	var steps []step
	if want := space.ResourceQuota; want != nil {
		steps = append(steps, step{"ResourceQuota " + want.Name, func() (bool, error) {
			changed, err := ensure(ctx, r.client, want,
				func(have *corev1.ResourceQuota) bool { return equality.Semantic.DeepEqual(have.Spec, want.Spec) },
				func(have *corev1.ResourceQuota) { have.Spec = want.Spec })
			if err != nil || inUse {
				return changed, err
			}
			return changed, r.putQuotaInForce(ctx, want)
		}})
	}
	if want := space.LimitRange; want != nil {
		steps = append(steps, step{"LimitRange " + want.Name, func() (bool, error) {
			return ensure(ctx, r.client, want,
				func(have *corev1.LimitRange) bool { return equality.Semantic.DeepEqual(have.Spec, want.Spec) },
				func(have *corev1.LimitRange) { have.Spec = want.Spec })
		}})
	}
	if want := space.NetworkPolicy; want != nil {
		steps = append(steps, step{"NetworkPolicy " + want.Name, func() (bool, error) {
			moved := false
			changed, err := ensure(ctx, r.client, want,
				func(have *networkingv1.NetworkPolicy) bool {
					moved = space.DiffersInEnvironment(have)
					return equality.Semantic.DeepEqual(have.Spec, want.Spec)
				},
				func(have *networkingv1.NetworkPolicy) { have.Spec = want.Spec })
			// A changed address of DNS or the API server is not drift.
			return changed && !moved, err
		}})
	}
	return steps
}

// ensure creates an object, or restores one that is not the same, and returns whether it
// did. Usually that is one request. Of a created object, want is what the API server returned.
func ensure[T client.Object](ctx context.Context, c Clients, want T, same func(have T) bool, restore func(have T)) (bool, error) {
	key := client.ObjectKeyFromObject(want)
	have := want.DeepCopyObject().(T)
	err := c.Get(ctx, key, have)
	if err == nil && same(have) {
		return false, nil
	}
	if apierrors.IsNotFound(err) {
		if err = c.Create(ctx, want); err == nil {
			return true, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return false, fmt.Errorf("create %T %s: %w", want, key, err)
		}
	} else if err != nil {
		return false, err
	}
	restored := false
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if err := c.APIReader.Get(ctx, key, have); err != nil {
			return err
		}
		if same(have) {
			return nil
		}
		restore(have)
		restored = true
		return c.Update(ctx, have)
	})
	if err != nil {
		return false, fmt.Errorf("restore %T %s: %w", want, key, err)
	}
	return restored, nil
}

// putQuotaInForce sets the status of a new quota: nothing is used. Kubernetes does so some
// time later, and until then the quota limits nothing
// (k8s.io/apiserver, pkg/quota/v1/generic/evaluator.go).
func (r *Reconciler) putQuotaInForce(ctx context.Context, quota *corev1.ResourceQuota) error {
	key := client.ObjectKeyFromObject(quota)
	if quota.ResourceVersion == "" { // it existed
		if err := r.client.APIReader.Get(ctx, key, quota); err != nil {
			return fmt.Errorf("read ResourceQuota %s: %w", key, err)
		}
	}
	if len(quota.Status.Hard) > 0 {
		return nil
	}
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: corev1.ResourceList{}}
	for name := range quota.Spec.Hard {
		quota.Status.Used[name] = *resource.NewQuantity(0, resource.DecimalSI)
	}
	// A conflict means that Kubernetes was faster.
	if err := r.client.Status().Update(ctx, quota); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("put ResourceQuota %s in force: %w", key, err)
	}
	return nil
}

// createDefaultAccount creates the ServiceAccount that Kubernetes would create. It is not
// restored later: Kubernetes does that, and tenants may change it.
func (r *Reconciler) createDefaultAccount(ctx context.Context, want *corev1.ServiceAccount) error {
	err := r.client.Create(ctx, want)
	if apierrors.IsAlreadyExists(err) {
		if len(want.ImagePullSecrets) == 0 {
			return nil
		}
		var patch []byte
		if patch, err = json.Marshal(map[string]any{"imagePullSecrets": want.ImagePullSecrets}); err == nil {
			err = r.client.Patch(ctx, want, client.RawPatch(types.StrategicMergePatchType, patch))
		}
	}
	if err != nil {
		return fmt.Errorf("create ServiceAccount %s/%s: %w", want.Namespace, want.Name, err)
	}
	return nil
}

// createRootCA creates the ConfigMap that Kubernetes would create, and updates from then on.
// A cluster that has none in the controller's own namespace has none in spaces.
func (r *Reconciler) createRootCA(ctx context.Context, namespace string) error {
	source := &corev1.ConfigMap{}
	if err := r.client.Get(ctx, client.ObjectKey{Namespace: r.config.Namespace, Name: spaceapi.RootCAName}, source); err != nil {
		return client.IgnoreNotFound(err)
	}
	if err := r.client.Create(ctx, resources.RootCA(source, namespace)); client.IgnoreAlreadyExists(err) != nil {
		return fmt.Errorf("create ConfigMap %s/%s: %w", namespace, spaceapi.RootCAName, err)
	}
	return nil
}

// createCopy copies a Secret or ConfigMap, as it is now, into a space. The copy belongs to
// the tenants from then on.
func (r *Reconciler) createCopy(ctx context.Context, object resources.Copy) error {
	original := client.ObjectKey{Namespace: object.From, Name: object.Name}
	kind := "ConfigMap"
	var err error
	if object.Secret {
		kind = "Secret"
		// client-go logs the bodies of requests and responses at high verbosity. Not these.
		ctx = klog.NewContext(ctx, logr.Discard())
		secret := &corev1.Secret{}
		if err = r.client.APIReader.Get(ctx, original, secret); err == nil {
			err = r.client.Create(ctx, object.SecretOf(secret))
		}
	} else {
		config := &corev1.ConfigMap{}
		if err = r.client.APIReader.Get(ctx, original, config); err == nil {
			err = r.client.Create(ctx, object.ConfigMapOf(config))
		}
	}
	if client.IgnoreAlreadyExists(err) != nil {
		return fmt.Errorf("copy %s %s to namespace %s: %w", kind, original, object.Namespace, err)
	}
	return nil
}
