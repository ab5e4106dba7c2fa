// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceclient "github.com/space-dra/space-dra-driver/pkg/space/client"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
)

// provision creates or restores the objects of the spaces of an allocation, and reports the result in
// the claim's status. Any of the objects may exist already. It also records the nodes of pods. It
// returns the delay until the next reconcile, zero for never.
func (r *Reconciler) provision(ctx context.Context, desired *desiredClaim) (time.Duration, error) {
	if desired.rejected != nil {
		if desired.inUse && !desired.expired && !slices.ContainsFunc(desired.spaces, func(space *desiredSpace) bool { return space.namespace == nil }) {
			// A space in use does not change: if its recorded configuration is damaged, its desired
			// state is unknown.
			return r.recordNodes(ctx, desired)
		}
		return r.reportNotReady(ctx, desired, desired.rejected)
	}
	pod, err := r.checkContainers(ctx, desired)
	switch rejection := (*reasonError)(nil); {
	case errors.As(err, &rejection) && desired.inUse: // Other pods use it.
		r.events.Event(pod, corev1.EventTypeWarning, rejection.reason, rejection.Error())
	case errors.As(err, &rejection):
		return r.reportNotReady(ctx, desired, err)
	case err != nil:
		return 0, err
	}
	if !desired.inUse && len(desired.conditions) == 0 {
		klog.FromContext(ctx).V(2).Info("Claim allocated", logkeys.Allocation, desired.ID, "spaces", len(desired.spaces))
	}

	start := r.clock.Now()
	err = r.ensureNamespaces(ctx, desired)
	namespacesDone := r.clock.Now()
	var after time.Duration
	var nodesErr error // The space becomes ready nevertheless.
	if err == nil {
		var nodes sync.WaitGroup
		nodes.Go(func() { after, nodesErr = r.recordNodes(ctx, desired) })
		err = r.ensureObjects(ctx, desired)
		nodes.Wait()
	}
	if err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		r.metrics.Provision.Observe(r.clock.Since(start), metrics.Failed)
		after, reportErr := r.reportNotReady(ctx, desired, err)
		return after, errors.Join(err, reportErr)
	}
	if !desired.inUse {
		r.metrics.ProvisionSteps.Observe(namespacesDone.Sub(start), metrics.StepNamespace)
		r.metrics.ProvisionSteps.Observe(r.clock.Since(namespacesDone), metrics.StepObjects)
	}
	r.bindingFailures.Remove(desired.Claim)
	if desired.comparesAtIntervals() {
		after = soonest(after, r.config.ResyncPeriod)
	}
	return after, errors.Join(r.reportReady(ctx, desired, start), nodesErr)
}

// parallel calls functions concurrently. It joins the errors in the order of the functions, so that the
// same failures have the same message.
func parallel(steps []func() error) error {
	errs := make([]error, len(steps))
	var group sync.WaitGroup
	for i, step := range steps {
		group.Go(func() { errs[i] = step() })
	}
	group.Wait()
	return errors.Join(errs...)
}

// ensureNamespaces creates the namespaces of the spaces, or reads existing ones.
func (r *Reconciler) ensureNamespaces(ctx context.Context, desired *desiredClaim) error {
	var steps []func() error
	for _, space := range desired.spaces {
		steps = append(steps, func() error {
			if err := r.ensureNamespace(ctx, desired, space); err != nil {
				return err
			}
			return r.recordAudiences(ctx, space)
		})
	}
	return parallel(steps)
}

func (r *Reconciler) ensureNamespace(ctx context.Context, desired *desiredClaim, space *desiredSpace) error {
	if space.namespace == nil && !desired.inUse {
		if len(space.config.InheritLabels) > 0 {
			claimNamespace := &corev1.Namespace{}
			if err := r.client.APIReader.Get(ctx, client.ObjectKey{Name: desired.Claim.Namespace}, claimNamespace); err != nil {
				return fmt.Errorf("read the labels of the claim's namespace: %w", err)
			}
			space.objects.Inherit(space.config.InheritLabels, claimNamespace.Labels)
		}
		switch err := r.create(ctx, space.objects.Namespace); {
		case err == nil:
			space.namespace = space.objects.Namespace
			klog.FromContext(ctx).V(2).Info("Namespace created", logkeys.Namespace, space.name)
		case !apierrors.IsAlreadyExists(err):
			return fmt.Errorf("create namespace %s: %w", space.name, err)
		}
	}
	if space.namespace == nil {
		// The cache may lag behind.
		ns := &corev1.Namespace{}
		err := r.client.APIReader.Get(ctx, client.ObjectKey{Name: space.name}, ns)
		if spaceclient.IsNotFound(err) && desired.inUse {
			// Clear Ready before recreating anything, so that after a crash the next leader
			// provisions the whole space.
			return &reasonError{spaceapi.ReasonNamespaceTerminating, errors.New("a namespace of the claim was deleted while in use: it is recreated")}
		}
		if err != nil {
			return fmt.Errorf("read the existing namespace %s: %w", space.name, err)
		}
		space.namespace = ns
	}
	switch ns := space.namespace; {
	case !desired.Owns(ns, r.keys):
		return &reasonError{spaceapi.ReasonNameConflict, fmt.Errorf("namespace %s exists and does not belong to this claim", ns.Name)}
	case ns.DeletionTimestamp != nil:
		return &reasonError{spaceapi.ReasonNamespaceTerminating, fmt.Errorf("namespace %s is being deleted although the claim is allocated: it is recreated when the deletion is complete", ns.Name)}
	case !r.retainedUntil(ns).IsZero():
		// Before Kubernetes 1.36, a claim that gets the same device again has the same allocation ID.
		if err := r.client.Delete(ctx, ns, client.Preconditions{UID: &ns.UID}); spaceclient.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete the retained namespace %s, whose name is needed: %w", ns.Name, err)
		}
		return &reasonError{spaceapi.ReasonNamespaceTerminating, fmt.Errorf("namespace %s was retained from an earlier use of the same device: it is recreated when its deletion is complete", ns.Name)}
	}
	return nil
}

// ensureObjects creates or restores the objects in the namespaces. For spaces that are not in use yet,
// it also creates the objects that kube-controller-manager creates later in each namespace, and waits
// until RBAC is in effect.
func (r *Reconciler) ensureObjects(ctx context.Context, desired *desiredClaim) error {
	var steps []func() error
	for _, space := range desired.spaces {
		ensure := func(want client.Object) {
			steps = append(steps, func() error { return r.ensure(ctx, desired, space, want) })
		}
		ensure(space.objects.ServiceAccount)
		for _, want := range space.objects.RoleBindings {
			ensure(want)
		}
		for _, want := range space.objects.ClusterRoleBindings {
			if !slices.Contains(r.config.Defaults.ClusterWideRoles, want.RoleRef.Name) {
				continue // The controller no longer has permission to restore it.
			}
			// The garbage collector deletes the binding when the driver does not.
			want.OwnerReferences = []metav1.OwnerReference{{
				APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Namespace", Name: space.name, UID: space.namespace.UID,
			}}
			ensure(want)
		}
		for _, want := range space.objects.AccessBindings {
			steps = append(steps, func() error { return r.ensureAccess(ctx, desired, space, want) })
		}
		if want := space.objects.ResourceQuota; want != nil {
			ensure(want)
		}
		if want := space.objects.LimitRange; want != nil {
			ensure(want)
		}
		if want := space.objects.NetworkPolicy; want != nil {
			ensure(want)
		}
		for _, want := range space.objects.Copies {
			steps = append(steps, func() error { return r.ensureCopy(ctx, desired, want) })
		}
		if desired.inUse {
			continue // The following objects are not restored.
		}
		steps = append(steps,
			func() error { return r.createDefaultServiceAccount(ctx, space.objects.DefaultServiceAccount) },
			func() error { return r.createRootCA(ctx, space) },
		)
	}
	return parallel(steps)
}

// ensure creates an object of a space, or restores one that differs. If the space is in use, it records
// an event about that. Otherwise it waits until the object is in effect. It makes no request if the
// object in the cache does not differ, and one request if the object does not exist.
func (r *Reconciler) ensure(ctx context.Context, desired *desiredClaim, space *desiredSpace, want client.Object) error {
	start := r.clock.Now()
	have, changed, err := r.createOrRestore(ctx, space, want)
	if err != nil {
		return err
	}
	if account, ok := have.(*corev1.ServiceAccount); ok {
		space.serviceAccountUID = account.UID
	}
	if desired.inUse {
		if changed {
			r.reportRestored(ctx, desired, want)
		}
		return nil
	}
	switch have := have.(type) {
	case *rbacv1.RoleBinding:
		if err := r.waitForRBAC(ctx, space, have.RoleRef.Name, space.name); err != nil {
			return err
		}
		r.metrics.ProvisionSteps.Observe(r.clock.Since(start), metrics.StepRBAC)
	case *rbacv1.ClusterRoleBinding:
		return r.waitForRBAC(ctx, space, have.RoleRef.Name, metav1.NamespaceAll)
	case *corev1.ResourceQuota:
		return r.setQuotaStatus(ctx, have, changed)
	}
	return nil
}

// reportRestored reports that an object of a space in use was restored.
func (r *Reconciler) reportRestored(ctx context.Context, desired *desiredClaim, obj client.Object) {
	desired.restored.Store(true)
	object := kindOf(obj) + " " + obj.GetName()
	namespace := namespaceOf(obj)
	r.events.Event(desired.claim, corev1.EventTypeWarning, spaceapi.ReasonRestored,
		fmt.Sprintf("Restored %s in namespace %s after an external change", object, namespace))
	klog.FromContext(ctx).Info("Space restored", logkeys.Namespace, namespace, "object", object)
}

// createOrRestore creates an object of a space, or restores one that differs. It returns the object as
// it was read or written, and whether it was missing or changed by others.
func (r *Reconciler) createOrRestore(ctx context.Context, space *desiredSpace, want client.Object) (have client.Object, changed bool, err error) {
	key := client.ObjectKeyFromObject(want)
	have = want.DeepCopyObject().(client.Object)
	err = r.readerFor(want).Get(ctx, key, have)
	switch {
	case err == nil && r.matchesDesired(have, want):
		return have, false, nil
	case spaceclient.IsNotFound(err):
		if err = r.create(ctx, want); err == nil {
			return want, true, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return have, false, fmt.Errorf("create %s %s: %w", kindOf(want), key, err)
		}
	case err != nil:
		return have, false, fmt.Errorf("read %s %s: %w", kindOf(want), key, err)
	}
	// The cache may lag behind, and has only a part of the object.
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		err := r.client.APIReader.Get(ctx, key, have)
		if spaceclient.IsNotFound(err) {
			have, changed = want, true
			return r.create(ctx, want)
		}
		if err != nil || r.matchesDesired(have, want) {
			return err
		}
		// A new address of DNS or the API server is not a change by others.
		policy, ok := have.(*networkingv1.NetworkPolicy)
		changed = !ok || !space.objects.DiffersOnlyInEnvironment(policy)
		switch uid := have.GetUID(); want.(type) {
		case *corev1.ServiceAccount:
			return fmt.Errorf("it is being deleted, and has finalizers %v: it is recreated when the deletion is complete", have.GetFinalizers())
		case *rbacv1.RoleBinding, *rbacv1.ClusterRoleBinding:
			// The role of a binding is immutable.
			if err := r.client.Delete(ctx, have, client.Preconditions{UID: &uid}); spaceclient.IgnoreNotFound(err) != nil {
				return err
			}
			have = want
			return r.create(ctx, want)
		}
		before := have
		have = withDesiredFields(before, want)
		err = r.write(have, func() error { return r.client.Update(ctx, have) })
		// If admission changed it again, the update had no effect.
		changed = changed && withDesiredFields(before, have) != nil
		return err
	})
	if err != nil {
		return have, false, fmt.Errorf("restore %s %s: %w", kindOf(want), key, err)
	}
	return have, changed, nil
}

// create creates an object of a space.
func (r *Reconciler) create(ctx context.Context, obj client.Object) error {
	return r.write(obj, func() error { return r.client.Create(ctx, obj) })
}

// write creates or updates an object, and sets it to the response of the API server. It remembers and
// reports what admission plugins of the cluster changed. Administrators decide about these plugins, so
// that their changes are not restored.
func (r *Reconciler) write(obj client.Object, write func() error) error {
	sent := obj.DeepCopyObject().(client.Object)
	if err := write(); err != nil {
		return err
	}
	change := difference(obj, sent)
	if change == "" {
		r.admissionChanges.Remove(obj.GetUID())
		return nil
	}
	r.admissionChanges.Add(obj.GetUID(), change)
	message := fmt.Sprintf("Admission plugins of the cluster changed %s %s: %s", kindOf(sent), client.ObjectKeyFromObject(sent), change)
	r.events.Event(r.claimOfSpace(sent), corev1.EventTypeNormal, spaceapi.ReasonChangedByAdmission, shortened(message))
	return nil
}

// matchesDesired reports whether an object matches the desired object, apart from changes that admission
// made when the controller wrote it.
func (r *Reconciler) matchesDesired(have, want client.Object) bool {
	change := difference(have, want)
	admitted, _ := r.admissionChanges.Get(have.GetUID())
	return change == "" || change == admitted
}

// difference returns the difference between an object and the desired object as a JSON merge patch. It
// is empty if there is none.
func difference(have, want client.Object) string {
	restored := withDesiredFields(have, want)
	if restored == nil {
		return ""
	}
	patch, err := client.MergeFrom(restored).Data(have)
	utilruntime.Must(err)
	return string(patch)
}

// readerFor returns the reader for an object in a space. Only the first RoleBinding of a space is in the
// cache.
func (r *Reconciler) readerFor(obj client.Object) client.Reader {
	if _, ok := obj.(*rbacv1.RoleBinding); ok && obj.GetName() != spaceapi.RoleBindingName {
		return r.client.APIReader
	}
	return r.client
}

// withDesiredFields returns an object with its fields set to those of the desired object, or nil if they are equal.
func withDesiredFields(have, want client.Object) client.Object {
	restored := have.DeepCopyObject().(client.Object)
	switch want := want.(type) {
	case *corev1.Namespace:
		// Other clients may add labels and annotations.
		restored := restored.(*corev1.Namespace)
		restored.Labels = labels.Merge(restored.Labels, want.Labels)
		restored.Annotations = labels.Merge(restored.Annotations, want.Annotations)
	case *corev1.ServiceAccount:
		// One that is being deleted differs: its tokens become invalid.
		restored.SetDeletionTimestamp(nil)
	case *rbacv1.RoleBinding:
		restored := restored.(*rbacv1.RoleBinding)
		restored.DeletionTimestamp, restored.RoleRef, restored.Subjects = nil, want.RoleRef, want.Subjects
	case *rbacv1.ClusterRoleBinding:
		restored := restored.(*rbacv1.ClusterRoleBinding)
		restored.OwnerReferences, restored.RoleRef, restored.Subjects = want.OwnerReferences, want.RoleRef, want.Subjects
	case *corev1.ResourceQuota:
		restored.(*corev1.ResourceQuota).Spec = want.Spec
	case *corev1.LimitRange:
		restored.(*corev1.LimitRange).Spec = want.Spec
	case *networkingv1.NetworkPolicy:
		restored.(*networkingv1.NetworkPolicy).Spec = want.Spec
	}
	if equality.Semantic.DeepEqual(have, restored) {
		return nil
	}
	return restored
}

// kindOf returns the kind of an object.
func kindOf(obj client.Object) string {
	gvk, err := apiutil.GVKForObject(obj, scheme.Scheme)
	utilruntime.Must(err)
	return gvk.Kind
}

// setQuotaStatus sets the status of a new quota, by which nothing is used. Kubernetes sets it later, and
// until then the quota is not enforced (k8s.io/apiserver, pkg/quota/v1/generic/evaluator.go).
func (r *Reconciler) setQuotaStatus(ctx context.Context, quota *corev1.ResourceQuota, changed bool) error {
	if len(quota.Status.Hard) > 0 {
		return nil
	}
	key := client.ObjectKeyFromObject(quota)
	if !changed { // The cache has only a part of the quota.
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

// createDefaultServiceAccount creates the ServiceAccount default before Kubernetes does. It is not restored
// later: Kubernetes recreates it, and tenants may change it.
func (r *Reconciler) createDefaultServiceAccount(ctx context.Context, want *corev1.ServiceAccount) error {
	err := r.client.Create(ctx, want)
	if client.IgnoreAlreadyExists(err) != nil {
		return fmt.Errorf("create ServiceAccount %s: %w", client.ObjectKeyFromObject(want), err)
	}
	if err == nil || len(want.ImagePullSecrets) == 0 {
		return nil
	}
	patch := client.StrategicMergeFrom(&corev1.ServiceAccount{ObjectMeta: want.ObjectMeta})
	if err := r.client.Patch(ctx, want, patch); err != nil {
		return fmt.Errorf("add imagePullSecrets to ServiceAccount %s: %w", client.ObjectKeyFromObject(want), err)
	}
	return nil
}

// createRootCA creates the ConfigMap kube-root-ca.crt before Kubernetes does, which also updates it. If
// there is none in the controller's own namespace, it creates none.
func (r *Reconciler) createRootCA(ctx context.Context, space *desiredSpace) error {
	source := &corev1.ConfigMap{}
	if err := r.client.Get(ctx, client.ObjectKey{Namespace: r.config.Namespace, Name: spaceapi.RootCAName}, source); err != nil {
		return spaceclient.IgnoreNotFound(err)
	}
	err := r.client.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: spaceapi.RootCAName, Namespace: space.name, Annotations: source.Annotations},
		Data:       source.Data,
	})
	if client.IgnoreAlreadyExists(err) != nil {
		return fmt.Errorf("create ConfigMap %s/%s: %w", space.name, spaceapi.RootCAName, err)
	}
	return nil
}
