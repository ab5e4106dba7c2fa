// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
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
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

// provisioned is the result of provisioning a space.
type provisioned struct {
	serviceAccountUID types.UID
	// changed lists what was created or restored.
	changed []string
}

// step provisions a part of a space.
type step struct {
	// object is what is created, or restored later. It is nil for what is not restored later.
	object client.Object
	// run returns whether it created or restored the object.
	run func() (bool, error)
}

// once returns a step for what is not restored later.
func once(run func() error) step {
	return step{run: func() (bool, error) { return false, run() }}
}

// provision creates what is missing of a space, and restores what was changed. Any part may
// exist already. A space that is not in use yet also gets what kube-controller-manager
// creates in each namespace some time later, and is complete only when its RBAC is in effect.
func (r *Reconciler) provision(ctx context.Context, a *allocation.Allocation, desired desiredSpace, consumers *consumers, inUse bool) (provisioned, error) {
	objects, err := r.objects(ctx, a, desired)
	if err != nil {
		return provisioned{}, err
	}
	start := r.clock.Now()
	namespace, created, err := r.ensureNamespace(ctx, a, desired.existing, objects.Namespace)
	if err != nil {
		return provisioned{}, err
	}
	namespaceDone := r.clock.Now()

	var account *corev1.ServiceAccount
	steps := []step{
		once(func() error {
			consumers.recordNodes(ctx, namespace)
			return nil
		}),
		{objects.ServiceAccount, func() (changed bool, err error) {
			account, changed, err = r.ensureServiceAccount(ctx, objects.ServiceAccount)
			return changed, err
		}},
	}
	for _, binding := range objects.RoleBindings {
		steps = append(steps, step{binding, func() (bool, error) {
			changed, err := r.ensureRoleBinding(ctx, binding)
			if err != nil || inUse {
				return changed, err
			}
			if err := r.waitForRBAC(ctx, objects.ServiceAccount, binding.RoleRef.Name, namespace.Name); err != nil {
				return changed, err
			}
			r.metrics.ProvisionSteps.Observe(r.clock.Since(namespaceDone), metrics.StepRBAC)
			return changed, nil
		}})
	}
	for _, binding := range objects.ClusterRoleBindings {
		if !slices.Contains(r.config.Defaults.ClusterWideRoles, binding.RoleRef.Name) {
			continue // The controller no longer has permission to restore it.
		}
		steps = append(steps, step{binding, func() (bool, error) {
			changed, err := r.ensureClusterRoleBinding(ctx, binding, namespace)
			if err != nil || inUse {
				return changed, err
			}
			return changed, r.waitForRBAC(ctx, objects.ServiceAccount, binding.RoleRef.Name, metav1.NamespaceAll)
		}})
	}
	steps = append(steps, r.limitSteps(ctx, objects, inUse)...)
	if !inUse {
		steps = append(steps,
			once(func() error { return r.createDefaultAccount(ctx, objects.DefaultAccount) }),
			once(func() error { return r.createRootCA(ctx, namespace.Name) }),
		)
		for _, object := range objects.Copies {
			steps = append(steps, once(func() error { return r.createCopy(ctx, object) }))
		}
	}

	changed := make([]bool, len(steps))
	if err := parallel(len(steps), func(i int) (err error) {
		changed[i], err = steps[i].run()
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
			out.changed = append(out.changed, kindOf(step.object)+" "+step.object.GetName())
		}
	}
	slices.Sort(out.changed)
	return out, nil
}

// objects describes the objects of a space.
func (r *Reconciler) objects(ctx context.Context, a *allocation.Allocation, desired desiredSpace) (resources.Objects, error) {
	environment := resources.Environment{Driver: r.config.Defaults.Driver, DNS: r.config.DNS}
	var err error
	if environment.APIServer, err = r.apiServer(ctx); err != nil {
		return resources.Objects{}, err
	}
	if desired.existing == nil && len(desired.config.InheritLabels) > 0 {
		claims := &corev1.Namespace{}
		if err := r.client.APIReader.Get(ctx, client.ObjectKey{Name: a.Claim.Namespace}, claims); err != nil {
			return resources.Objects{}, fmt.Errorf("read the labels of the claim's namespace: %w", err)
		}
		desired.config.Inherit(claims.Labels)
	}
	return environment.Objects(a, desired.result, desired.name, desired.config), nil
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
		return nil, false, &reasonError{spaceapi.ReasonNameConflict, fmt.Errorf("namespace %s exists and does not belong to this claim", want.Name)}
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

// ensure creates an object, or restores one that is not the same. It returns the object, and
// whether it was created or restored. The reader usually reads from the caches, so that an
// object that is the same costs no request, and one that is missing costs one.
func ensure[T client.Object](ctx context.Context, c Clients, reader client.Reader, want T, same func(have T) bool, restore func(have T) error) (T, bool, error) {
	key := client.ObjectKeyFromObject(want)
	have := want.DeepCopyObject().(T)
	err := reader.Get(ctx, key, have)
	switch {
	case err == nil && same(have):
		return have, false, nil
	case apierrors.IsNotFound(err):
		if err = c.Create(ctx, want); err == nil {
			return want, true, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return have, false, fmt.Errorf("create %s %s: %w", kindOf(want), key, err)
		}
	case err != nil:
		return have, false, err
	}
	changed := false
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		err := c.APIReader.Get(ctx, key, have)
		if err == nil && same(have) {
			return nil
		}
		changed = true
		switch {
		case apierrors.IsNotFound(err):
			have = want
			return c.Create(ctx, want)
		case err != nil:
			return err
		}
		return restore(have)
	})
	if err != nil {
		return have, false, fmt.Errorf("restore %s %s: %w", kindOf(want), key, err)
	}
	return have, changed, nil
}

// kindOf returns the kind of an object.
func kindOf(obj client.Object) string {
	gvk, err := apiutil.GVKForObject(obj, scheme.Scheme)
	utilruntime.Must(err)
	return gvk.Kind
}

// ensureServiceAccount returns the space's ServiceAccount, and whether it was created.
func (r *Reconciler) ensureServiceAccount(ctx context.Context, want *corev1.ServiceAccount) (*corev1.ServiceAccount, bool, error) {
	return ensure(ctx, r.client, r.client, want,
		func(have *corev1.ServiceAccount) bool { return have.DeletionTimestamp == nil },
		func(have *corev1.ServiceAccount) error {
			return fmt.Errorf("it is being deleted, and has finalizers %v: it is recreated when the deletion is complete", have.Finalizers)
		})
}

// roleBindings reads RoleBindings of spaces. Only the first of each is in the cache.
func (r *Reconciler) roleBindings(name string) client.Reader {
	if name == spaceapi.RoleBindingName {
		return r.client
	}
	return r.client.APIReader
}

// ensureRoleBinding returns whether it created or replaced a RoleBinding.
func (r *Reconciler) ensureRoleBinding(ctx context.Context, want *rbacv1.RoleBinding) (bool, error) {
	_, changed, err := ensure(ctx, r.client, r.roleBindings(want.Name), want,
		func(have *rbacv1.RoleBinding) bool {
			return have.DeletionTimestamp == nil && have.RoleRef == want.RoleRef && equality.Semantic.DeepEqual(have.Subjects, want.Subjects)
		},
		func(have *rbacv1.RoleBinding) error { return r.replace(ctx, have, want) })
	return changed, err
}

// ensureClusterRoleBinding sets the namespace as the owner of the binding, so that the garbage
// collector deletes the binding when the driver does not.
func (r *Reconciler) ensureClusterRoleBinding(ctx context.Context, want *rbacv1.ClusterRoleBinding, namespace *corev1.Namespace) (bool, error) {
	want.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Namespace", Name: namespace.Name, UID: namespace.UID,
	}}
	_, changed, err := ensure(ctx, r.client, r.client, want,
		func(have *rbacv1.ClusterRoleBinding) bool {
			return have.RoleRef == want.RoleRef && equality.Semantic.DeepEqual(have.Subjects, want.Subjects) &&
				equality.Semantic.DeepEqual(have.OwnerReferences, want.OwnerReferences)
		},
		func(have *rbacv1.ClusterRoleBinding) error { return r.replace(ctx, have, want) })
	return changed, err
}

// replace replaces a binding, because its role is immutable.
func (r *Reconciler) replace(ctx context.Context, have, want client.Object) error {
	uid := have.GetUID()
	if err := r.client.Delete(ctx, have, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
		return err
	}
	return r.client.Create(ctx, want)
}

// limitSteps are for the objects that limit what is done in a space.
func (r *Reconciler) limitSteps(ctx context.Context, objects resources.Objects, inUse bool) []step {
	var steps []step
	if want := objects.ResourceQuota; want != nil {
		steps = append(steps, step{want, func() (bool, error) {
			quota, changed, err := ensure(ctx, r.client, r.client, want,
				func(have *corev1.ResourceQuota) bool { return equality.Semantic.DeepEqual(have.Spec, want.Spec) },
				func(have *corev1.ResourceQuota) error {
					have.Spec = want.Spec
					return r.client.Update(ctx, have)
				})
			if err != nil || inUse {
				return changed, err
			}
			return changed, r.putQuotaInForce(ctx, quota, changed)
		}})
	}
	if want := objects.LimitRange; want != nil {
		steps = append(steps, step{want, func() (bool, error) {
			_, changed, err := ensure(ctx, r.client, r.client, want,
				func(have *corev1.LimitRange) bool { return equality.Semantic.DeepEqual(have.Spec, want.Spec) },
				func(have *corev1.LimitRange) error {
					have.Spec = want.Spec
					return r.client.Update(ctx, have)
				})
			return changed, err
		}})
	}
	if want := objects.NetworkPolicy; want != nil {
		steps = append(steps, step{want, func() (bool, error) {
			moved := false
			_, changed, err := ensure(ctx, r.client, r.client, want,
				func(have *networkingv1.NetworkPolicy) bool { return equality.Semantic.DeepEqual(have.Spec, want.Spec) },
				func(have *networkingv1.NetworkPolicy) error {
					moved = objects.DiffersInEnvironment(have)
					have.Spec = want.Spec
					return r.client.Update(ctx, have)
				})
			// A changed address of DNS or the API server is not drift.
			return changed && !moved, err
		}})
	}
	return steps
}

// putQuotaInForce sets the status of a new quota: nothing is used. Kubernetes does so some
// time later, and until then the quota limits nothing
// (k8s.io/apiserver, pkg/quota/v1/generic/evaluator.go).
func (r *Reconciler) putQuotaInForce(ctx context.Context, quota *corev1.ResourceQuota, changed bool) error {
	if len(quota.Status.Hard) > 0 {
		return nil
	}
	key := client.ObjectKeyFromObject(quota)
	if !changed { // The cache has only a part of it.
		if err := r.client.APIReader.Get(ctx, key, quota); err != nil {
			return fmt.Errorf("read ResourceQuota %s: %w", key, err)
		}
	}
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: corev1.ResourceList{}}
	for name := range quota.Spec.Hard {
		quota.Status.Used[name] = *resource.NewQuantity(0, resource.DecimalSI)
	}
	// A conflict means that Kubernetes was faster.
	if err := r.client.Status().Update(ctx, quota); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("set the status of ResourceQuota %s: %w", key, err)
	}
	return nil
}

// create creates an object, and returns whether it existed.
func (r *Reconciler) create(ctx context.Context, obj client.Object) (existed bool, err error) {
	err = r.client.Create(ctx, obj)
	if client.IgnoreAlreadyExists(err) != nil {
		return false, fmt.Errorf("create %s %s: %w", kindOf(obj), client.ObjectKeyFromObject(obj), err)
	}
	return err != nil, nil
}

// createDefaultAccount creates the ServiceAccount that Kubernetes would create. It is not
// restored later: Kubernetes does that, and tenants may change it.
func (r *Reconciler) createDefaultAccount(ctx context.Context, want *corev1.ServiceAccount) error {
	existed, err := r.create(ctx, want)
	if err != nil || !existed || len(want.ImagePullSecrets) == 0 {
		return err
	}
	patch, err := json.Marshal(map[string]any{"imagePullSecrets": want.ImagePullSecrets})
	if err != nil {
		return err
	}
	if err := r.client.Patch(ctx, want, client.RawPatch(types.StrategicMergePatchType, patch)); err != nil {
		return fmt.Errorf("add imagePullSecrets to ServiceAccount %s: %w", client.ObjectKeyFromObject(want), err)
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
	_, err := r.create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: spaceapi.RootCAName, Namespace: namespace, Annotations: source.Annotations},
		Data:       source.Data,
	})
	return err
}

// createCopy copies a Secret or ConfigMap, as it is now, into a space. The copy belongs to
// the tenants from then on.
func (r *Reconciler) createCopy(ctx context.Context, object resources.Copy) error {
	original := client.ObjectKey{Namespace: object.From, Name: object.Name}
	kind := "ConfigMap"
	var err error
	if object.Secret {
		kind = "Secret"
		// At high verbosity, client-go would log the Secret.
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
