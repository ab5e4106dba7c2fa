// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceconfig "github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

// These tests call single functions. They set objects in the cache and in the API server
// separately, because caches lag behind. test/integration runs the controller with a real API server.

const driver = spaceapi.DefaultDriverName

// key is the claim of claimFor.
var key = types.NamespacedName{Namespace: "team", Name: "claim"}

// cluster is a Reconciler with a fake API server and a fake cache.
type cluster struct {
	*Reconciler
	t      testing.TB
	api    client.WithWatch
	caches *fakeCache
	events *record.FakeRecorder
	now    *clocktesting.FakeClock
	queue  queue

	mutex    sync.Mutex
	calls    []string
	reactors []reactor
}

// reactor responds to requests in place of the API server, if it handles them.
type reactor struct {
	call  string
	react func(obj client.Object) (handled bool, err error)
}

func newCluster(t testing.TB, live ...client.Object) *cluster {
	t.Helper()
	return newClusterWith(t, func(*Config) {}, live...)
}

// newClusterWith is newCluster with changes to the configuration.
func newClusterWith(t testing.TB, change func(*Config), live ...client.Object) *cluster {
	t.Helper()
	c := &cluster{
		t:      t,
		events: record.NewFakeRecorder(1000),
		now:    clocktesting.NewFakeClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)),
		queue:  workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]()),
	}
	t.Cleanup(c.queue.ShutDown)
	config := Config{
		Defaults: spaceconfig.Defaults{Driver: driver, NamespacePrefix: "ns-", ClusterRole: "edit", PodSecurity: "baseline", Network: spaceapi.NetworkOpen},
		Server:   "https://10.96.0.1:443",

		Namespace:             "driver",
		ConcurrentClaimSyncs:  1,
		ResyncPeriod:          time.Minute,
		StuckTerminatingAfter: time.Minute,
	}
	change(&config)
	keys := spaceapi.KeysFor(driver)
	c.caches = &fakeCache{keys: keys, objects: map[cacheKey]client.Object{}}
	c.api = fake.NewClientBuilder().WithScheme(scheme.Scheme).
		WithStatusSubresource(&resourceapi.ResourceClaim{}, &corev1.ResourceQuota{}).
		WithInterceptorFuncs(c.interceptors()).Build()
	roles := map[string]client.Reader{}
	for _, name := range slices.Concat(config.Defaults.Roles(), config.Defaults.ClusterWideRoles) {
		roles[name] = c.caches
	}
	c.Reconciler = NewReconciler(config, Clients{splitClient{c.api, c.caches}, c.api, roles}, c.events,
		metrics.NewController(prometheus.NewRegistry(), "v0"), c.now)
	c.Reconciler.queue = c.queue
	c.putInCache(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "edit"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods/exec"}, Verbs: []string{"create"}},
	}})
	c.createInAPI(live...)
	return c
}

// splitClient reads from caches, and writes to the API server.
type splitClient struct {
	client.WithWatch
	cache client.Reader
}

func (s splitClient) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	return s.cache.Get(ctx, key, obj, opts...)
}

func (s splitClient) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	return s.cache.List(ctx, list, opts...)
}

// call records a request, and calls the reactors.
func (c *cluster) call(verb string, obj client.Object) (handled bool, err error) {
	call := verb + " " + resourceOf(obj)
	c.mutex.Lock()
	c.calls = append(c.calls, call)
	reactors := slices.Clone(c.reactors)
	c.mutex.Unlock()
	for _, r := range slices.Backward(reactors) {
		if r.call == call {
			if handled, err := r.react(obj); handled {
				return true, err
			}
		}
	}
	return false, nil
}

func resourceOf(obj runtime.Object) string {
	gvk, err := apiutil.GVKForObject(obj, scheme.Scheme)
	if err != nil {
		panic(err)
	}
	plural, _ := meta.UnsafeGuessKindToResource(gvk)
	return plural.Resource
}

func (c *cluster) interceptors() interceptor.Funcs {
	return interceptor.Funcs{
		Get: func(ctx context.Context, w client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if handled, err := c.call("get", obj); handled {
				return err
			}
			return w.Get(ctx, key, obj, opts...)
		},
		List: func(ctx context.Context, w client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if roleBindings, ok := list.(*rbacv1.RoleBindingList); ok {
				if handled, err := c.call("list", &rbacv1.RoleBinding{}); handled {
					roleBindings.Items = []rbacv1.RoleBinding{{ObjectMeta: metav1.ObjectMeta{Name: "tenant"}}}
					return err
				}
			}
			return w.List(ctx, list, opts...)
		},
		Create: func(ctx context.Context, w client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			if handled, err := c.call("create", obj); handled {
				return err
			}
			if review, ok := obj.(*authorizationv1.SubjectAccessReview); ok {
				review.Status.Allowed = true
				return nil
			}
			if obj.GetUID() == "" {
				obj.SetUID(types.UID(obj.GetName() + "-uid"))
			}
			return w.Create(ctx, obj, opts...)
		},
		Update: func(ctx context.Context, w client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			if handled, err := c.call("update", obj); handled {
				return err
			}
			return w.Update(ctx, obj, opts...)
		},
		Patch: func(ctx context.Context, w client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			if handled, err := c.call("patch", obj); handled {
				return err
			}
			return w.Patch(ctx, obj, patch, opts...)
		},
		Delete: func(ctx context.Context, w client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			if handled, err := c.call("delete", obj); handled {
				return err
			}
			// The fake client ignores this precondition.
			options := (&client.DeleteOptions{}).ApplyOptions(opts)
			if options.Preconditions != nil && options.Preconditions.UID != nil {
				existing := obj.DeepCopyObject().(client.Object)
				if err := w.Get(ctx, client.ObjectKeyFromObject(obj), existing); err == nil && existing.GetUID() != *options.Preconditions.UID {
					return apierrors.NewConflict(schema.GroupResource{Resource: resourceOf(obj)}, obj.GetName(), fmt.Errorf("UID in precondition is %s", *options.Preconditions.UID))
				}
			}
			return w.Delete(ctx, obj, opts...)
		},
		SubResourceUpdate: func(ctx context.Context, w client.Client, subResource string, obj client.Object, opts ...client.SubResourceUpdateOption) error {
			if handled, err := c.call("update", obj); handled {
				return err
			}
			return w.SubResource(subResource).Update(ctx, obj, opts...)
		},
	}
}

// react adds a function that responds to requests, such as "create namespaces".
func (c *cluster) react(call string, react func(obj client.Object) (handled bool, err error)) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.reactors = append(c.reactors, reactor{call, react})
}

// fail makes requests, such as "create namespaces", fail.
func (c *cluster) fail(call string, err error) {
	c.react(call, func(client.Object) (bool, error) { return true, err })
}

// requests returns the requests since the last call.
func (c *cluster) requests() []string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	calls := c.calls
	c.calls = nil
	return calls
}

// writes returns the requests since the last call that write.
func (c *cluster) writes() []string {
	var out []string
	for _, call := range c.requests() {
		if verb := call[:3]; verb != "get" && verb != "lis" {
			out = append(out, call)
		}
	}
	return out
}

// recordedEvents returns the events since the last call.
func (c *cluster) recordedEvents() []string {
	var out []string
	for {
		select {
		case e := <-c.events.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}

// createInAPI creates objects in the API server.
func (c *cluster) createInAPI(objs ...client.Object) {
	c.t.Helper()
	for _, obj := range objs {
		obj := obj.DeepCopyObject().(client.Object)
		deleted := obj.GetDeletionTimestamp() != nil
		obj.SetResourceVersion("")
		if err := c.api.Create(c.t.Context(), obj); err != nil {
			c.t.Fatal(err)
		}
		if deleted {
			if err := c.api.Delete(c.t.Context(), obj); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	c.requests()
}

// deleteInAPI deletes an object in the API server.
func (c *cluster) deleteInAPI(obj client.Object) {
	c.t.Helper()
	if err := c.api.Delete(c.t.Context(), obj); err != nil {
		c.t.Fatal(err)
	}
	c.requests()
}

// putInCache transforms objects as the controller does, and puts them into the cache.
func (c *cluster) putInCache(objs ...client.Object) {
	c.t.Helper()
	for _, obj := range objs {
		obj := obj.DeepCopyObject().(client.Object)
		transform := c.transformOf(obj)
		for range 2 { // informers may call a transform again
			stripped, err := transform(obj)
			if err != nil {
				c.t.Fatal(err)
			}
			obj = stripped.(client.Object)
		}
		c.caches.put(obj)
	}
}

func (c *cluster) transformOf(obj client.Object) func(any) (any, error) {
	options := c.config.cacheOptions()
	for kind, by := range options.ByObject {
		if reflect.TypeOf(kind) == reflect.TypeOf(obj) && by.Transform != nil {
			return by.Transform
		}
	}
	return options.DefaultTransform
}

// syncCache updates objects in the cache.
func (c *cluster) syncCache(objs ...client.Object) {
	c.t.Helper()
	for _, obj := range objs {
		if c.read(obj) {
			c.putInCache(obj)
		} else {
			c.caches.remove(obj)
		}
	}
}

// read reads an object from the API server, and returns whether it exists.
func (c *cluster) read(obj client.Object) bool {
	c.t.Helper()
	err := c.api.Get(c.t.Context(), client.ObjectKeyFromObject(obj), obj)
	if client.IgnoreNotFound(err) != nil {
		c.t.Fatal(err)
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.calls = c.calls[:len(c.calls)-1]
	return err == nil
}

// currentClaim returns the claim of claimFor in the API server.
func (c *cluster) currentClaim() *resourceapi.ResourceClaim {
	c.t.Helper()
	claim := claimKey()
	if !c.read(claim) {
		c.t.Fatal("the claim does not exist")
	}
	return claim
}

// desired returns the desired state of a claim.
func (c *cluster) desired(claim *resourceapi.ResourceClaim) *desiredClaim {
	c.t.Helper()
	desired, err := c.newDesiredClaim(c.t.Context(), claim, c.cachedNamespaces())
	if err == nil && desired != nil {
		err = c.setDesiredObjects(c.t.Context(), desired)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return desired
}

// cachedNamespaces returns the cached namespaces of the claim of claimFor.
func (c *cluster) cachedNamespaces() []corev1.Namespace {
	c.t.Helper()
	namespaces, err := c.namespaces(c.t.Context(), client.MatchingFields{claimIndex: key.String()})
	if err != nil {
		c.t.Fatal(err)
	}
	return namespaces
}

// provisionClaim provisions the spaces of a claim.
func (c *cluster) provisionClaim(claim *resourceapi.ResourceClaim) error {
	_, err := c.provision(c.t.Context(), c.desired(claim))
	return err
}

// deprovisionAll deprovisions all cached namespaces of the claim of claimFor.
func (c *cluster) deprovisionAll() error {
	_, err := c.deprovisionStale(c.t.Context(), key, nil, c.cachedNamespaces())
	return err
}

// queued returns the names of the claims in the queue, and empties it.
func (c *cluster) queued() []string {
	var names []string
	for range c.queue.Len() {
		request, _ := c.queue.Get()
		c.queue.Done(request)
		names = append(names, request.Name)
	}
	slices.Sort(names)
	return names
}

func claimFor(requests ...string) *resourceapi.ResourceClaim {
	claim := &resourceapi.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: "claim-uid", Finalizers: []string{resourceapi.Finalizer}},
		Status: resourceapi.ResourceClaimStatus{
			Allocation:  &resourceapi.AllocationResult{},
			ReservedFor: []resourceapi.ResourceClaimConsumerReference{{Resource: "pods", Name: "pod", UID: "pod-uid"}},
		},
	}
	for _, request := range requests {
		claim.Spec.Devices.Requests = append(claim.Spec.Devices.Requests, resourceapi.DeviceRequest{
			Name: request, Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: driver},
		})
		claim.Status.Allocation.Devices.Results = append(claim.Status.Allocation.Devices.Results, resourceapi.DeviceRequestAllocationResult{
			Driver: driver, Request: request, Pool: "spaces", Device: "space", ShareID: ptr.To(types.UID("share-" + request)),
		})
	}
	return claim
}

func allocationOf(t testing.TB, claim *resourceapi.ResourceClaim) *allocation.Allocation {
	t.Helper()
	a := allocation.FromClaim(claim, driver)
	if a == nil {
		t.Fatal("the claim is not allocated")
	}
	return a
}

// spaceWith returns the objects of the space of claimFor("a"), with changes to its configuration.
func (c *cluster) spaceWith(changes ...func(*spaceconfig.SpaceConfig)) resources.Objects {
	c.t.Helper()
	return c.spaceFor(claimFor("a"), changes...)
}

// spaceFor returns the objects of the first space of a claim.
func (c *cluster) spaceFor(claim *resourceapi.ResourceClaim, changes ...func(*spaceconfig.SpaceConfig)) resources.Objects {
	c.t.Helper()
	d, err := c.newDesiredClaim(c.t.Context(), claim, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, change := range changes {
		change(&d.spaces[0].config)
	}
	if err := c.setDesiredObjects(c.t.Context(), d); err != nil {
		c.t.Fatal(err)
	}
	return d.spaces[0].objects
}

// namespaceFor returns the namespace of the first space of a claim.
func (c *cluster) namespaceFor(claim *resourceapi.ResourceClaim) *corev1.Namespace {
	c.t.Helper()
	ns := c.spaceFor(claim).Namespace
	ns.UID = types.UID(ns.Name + "-uid")
	return ns
}

// fakeCache is a client.Reader of the objects that tests put into it.
type fakeCache struct {
	keys    spaceapi.Keys
	mutex   sync.Mutex
	objects map[cacheKey]client.Object
}

type cacheKey struct {
	kind reflect.Type
	name types.NamespacedName
}

func cacheKeyOf(obj client.Object) cacheKey {
	return cacheKey{reflect.TypeOf(obj), client.ObjectKeyFromObject(obj)}
}

func (f *fakeCache) put(obj client.Object) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.objects[cacheKeyOf(obj)] = obj
}

func (f *fakeCache) remove(obj client.Object) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	delete(f.objects, cacheKeyOf(obj))
}

// Get implements client.Reader.
func (f *fakeCache) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	found := f.objects[cacheKey{reflect.TypeOf(obj), key}]
	if found == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: resourceOf(obj)}, key.String())
	}
	reflect.ValueOf(obj).Elem().Set(reflect.ValueOf(found.DeepCopyObject()).Elem())
	return nil
}

// List implements client.Reader.
func (f *fakeCache) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	options := (&client.ListOptions{}).ApplyOptions(opts)
	f.mutex.Lock()
	defer f.mutex.Unlock()
	items := reflect.ValueOf(list).Elem().FieldByName("Items")
	for k, obj := range f.objects {
		if k.kind.Elem() != items.Type().Elem() {
			continue
		}
		if options.FieldSelector != nil {
			claim, byClaim := options.FieldSelector.RequiresExactMatch(claimIndex)
			consumer, byConsumer := options.FieldSelector.RequiresExactMatch(consumerIndex)
			if byClaim && !slices.Contains(indexByClaim(f.keys)(obj), claim) || byConsumer && !slices.Contains(indexByConsumer(obj), consumer) || !byClaim && !byConsumer {
				continue
			}
		}
		items.Set(reflect.Append(items, reflect.ValueOf(obj.DeepCopyObject()).Elem()))
	}
	return nil
}

// withClassConfig adds parameters of a class to the allocation of a claim.
func withClassConfig(claim *resourceapi.ResourceClaim, fields string, requests ...string) *resourceapi.ResourceClaim {
	config := parametersOf(driver, fmt.Sprintf(`{"apiVersion":%q,"kind":%q,%s}`, spaceapi.APIVersion, spaceapi.SpaceClassConfigKind, fields))
	config.Requests = requests
	claim.Status.Allocation.Devices.Config = append(claim.Status.Allocation.Devices.Config, config)
	return claim
}

// newClusterWithSpace returns a cluster with the namespace of claimFor("a"), and that namespace.
func newClusterWithSpace(t *testing.T, change func(*corev1.Namespace)) (*cluster, *corev1.Namespace) {
	t.Helper()
	c := newCluster(t)
	ns := c.namespaceFor(claimFor("a"))
	change(ns)
	c.createInAPI(ns)
	c.syncCache(ns)
	return c, ns
}

func unchanged(*corev1.Namespace) {}

func terminating(ns *corev1.Namespace) {
	ns.DeletionTimestamp, ns.Finalizers = ptr.To(metav1.Now()), []string{"example.com/pending"}
}

// newClusterWithClusterWideRole returns a cluster with a space that has a cluster-wide role, and its
// namespace.
func newClusterWithClusterWideRole(t *testing.T) (*cluster, *corev1.Namespace) {
	t.Helper()
	c := newClusterWith(t, func(config *Config) { config.Defaults.ClusterWideRoles = []string{"reader"} })
	ns := c.spaceWith(func(s *spaceconfig.SpaceConfig) { s.ClusterWideRoles = []string{"reader"} }).Namespace
	ns.UID = "namespace-uid"
	c.createInAPI(ns)
	c.putInCache(ns)
	return c, ns
}

// clusterRoleBinding creates the ClusterRoleBinding of the space, with an owner of this UID.
func (c *cluster) clusterRoleBinding(owner types.UID) *rbacv1.ClusterRoleBinding {
	c.t.Helper()
	binding := c.spaceWith(func(s *spaceconfig.SpaceConfig) { s.ClusterWideRoles = []string{"reader"} }).ClusterRoleBindings[0]
	binding.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Namespace", Name: "space", UID: owner}}
	c.createInAPI(binding)
	return binding
}

// claimKey returns the claim of claimFor with its name only.
func claimKey() *resourceapi.ResourceClaim {
	return &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
}

// updateClaim changes the claim and its status in the API server and in the cache.
func (c *cluster) updateClaim(change func(*resourceapi.ResourceClaim)) {
	c.t.Helper()
	claim := c.currentClaim()
	change(claim)
	if err := c.api.Status().Update(c.t.Context(), claim); err != nil {
		c.t.Fatal(err)
	}
	c.syncCache(claim)
	c.requests()
}

// reconcile reconciles the claim of claimFor.
func (c *cluster) reconcile() (reconcile.Result, error) {
	return c.Reconcile(c.t.Context(), reconcile.Request{NamespacedName: key})
}

// mustReconcile is reconcile, and fails the test on an error.
func (c *cluster) mustReconcile() {
	c.t.Helper()
	if _, err := c.reconcile(); err != nil {
		c.t.Fatal(err)
	}
}

// reconcileAndSyncCache reconciles the claim of claimFor, and updates the cache.
func (c *cluster) reconcileAndSyncCache(t *testing.T) {
	t.Helper()
	c.mustReconcile()
	space := c.spaceWith()
	objects := []client.Object{claimKey(), space.Namespace, space.ServiceAccount, space.RoleBindings[0]}
	if space.ResourceQuota != nil {
		objects = append(objects, space.ResourceQuota)
	}
	if space.NetworkPolicy != nil {
		objects = append(objects, space.NetworkPolicy)
	}
	c.syncCache(objects...)
}

// delayRestores delays the next restore of a claim's spaces, as after many restores.
func (c *cluster) delayRestores(claim *resourceapi.ResourceClaim) {
	c.t.Helper()
	for range 10 {
		c.restores.Next(allocationOf(c.t, claim).ID, c.now.Now())
	}
}

// deallocate removes the allocation from the status of a claim.
func deallocate(claim *resourceapi.ResourceClaim) {
	claim.Status.Allocation, claim.Status.ReservedFor, claim.Status.Devices = nil, nil, nil
}

// parametersOf returns an entry of an allocation's configuration.
func parametersOf(driver, raw string) resourceapi.DeviceAllocationConfiguration {
	return resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClass, DeviceConfiguration: resourceapi.DeviceConfiguration{
		Opaque: &resourceapi.OpaqueDeviceConfiguration{Driver: driver, Parameters: runtime.RawExtension{Raw: []byte(raw)}},
	}}
}

func podOn(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: name, UID: types.UID(name + "-uid")},
		Spec:       corev1.PodSpec{NodeName: node},
	}
}

// claimUsedBy returns claimFor("a") with these pods as its consumers.
func claimUsedBy(pods ...*corev1.Pod) *resourceapi.ResourceClaim {
	claim := claimFor("a")
	claim.Status.ReservedFor = nil
	for _, pod := range pods {
		claim.Status.ReservedFor = append(claim.Status.ReservedFor, resourceapi.ResourceClaimConsumerReference{Resource: "pods", Name: pod.Name, UID: pod.UID})
	}
	return claim
}
