// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
)

const driver = spaceapi.DefaultDriverName

var (
	now  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	keys = spaceapi.KeysFor(driver)
)

// claim returns a claim that requests a space of a class.
func claim(name, class string) *resourceapi.ResourceClaim {
	return &resourceapi.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(now.Add(-time.Hour))},
		Spec: resourceapi.ResourceClaimSpec{Devices: resourceapi.DeviceClaim{Requests: []resourceapi.DeviceRequest{{
			Name: "space", Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: class},
		}}}},
	}
}

// allocated allocates a claim from a pool, and reserves it for pods.
func allocated(c *resourceapi.ResourceClaim, pool string, pods ...string) *resourceapi.ResourceClaim {
	c.Status.Allocation = &resourceapi.AllocationResult{
		AllocationTimestamp: ptr.To(metav1.NewTime(now.Add(-10 * time.Minute))),
		Devices: resourceapi.DeviceAllocationResult{Results: []resourceapi.DeviceRequestAllocationResult{{
			Driver: driver, Request: "space", Pool: pool, Device: "space", ShareID: ptr.To(types.UID("share-" + c.Name)),
			ConsumedCapacity: map[resourceapi.QualifiedName]resource.Quantity{"spaces": resource.MustParse("1"), "cpu": resource.MustParse("2")},
		}}},
	}
	for _, pod := range pods {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resourceapi.ResourceClaimConsumerReference{Resource: "pods", Name: pod, UID: types.UID("uid-" + pod)})
	}
	return c
}

// spaceName returns the name of the namespace of an allocated claim.
func spaceName(c *resourceapi.ResourceClaim) string {
	return allocation.FromClaim(c, driver).Results[0].NamespaceName("ephemeral-ns-")
}

// withCondition sets the Ready condition of an allocated claim, and data if the reason is Provisioned.
func withCondition(t *testing.T, c *resourceapi.ResourceClaim, reason, message string) *resourceapi.ResourceClaim {
	t.Helper()
	a := allocation.FromClaim(c, driver)
	entry := claimstatus.Entry{Result: a.Results[0], Ready: metav1.Condition{Status: metav1.ConditionFalse, Reason: reason, Message: message}}
	if reason == spaceapi.ReasonProvisioned {
		entry.Ready.Status = metav1.ConditionTrue
		entry.Data = &spaceapi.SpaceStatus{
			TypeMeta:     metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: spaceapi.SpaceStatusKind},
			AllocationID: a.ID, Namespace: spaceName(c), ServiceAccount: "space", ServiceAccountUID: "account", Server: "https://10.96.0.1:443",
		}
	}
	if _, err := claimstatus.Apply(c, driver, []claimstatus.Entry{entry}, metav1.NewTime(now)); err != nil {
		t.Fatal(err)
	}
	return c
}

// ready returns a claim whose space is ready.
func ready(t *testing.T, name string, pods ...string) *resourceapi.ResourceClaim {
	t.Helper()
	return withCondition(t, allocated(claim(name, driver), "spaces", pods...), spaceapi.ReasonProvisioned, "fine")
}

// pod returns a pod that uses claims, on a node, or not scheduled yet.
func pod(name, node string, claims ...string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID("uid-" + name)},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "ctr"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, c := range claims {
		p.Spec.ResourceClaims = append(p.Spec.ResourceClaims, corev1.PodResourceClaim{Name: c, ResourceClaimName: ptr.To(c)})
		p.Spec.Containers[0].Resources.Claims = append(p.Spec.Containers[0].Resources.Claims, corev1.ResourceClaim{Name: c})
	}
	return p
}

func running(name string, claims ...string) *corev1.Pod {
	p := pod(name, "n", claims...)
	p.Status.Phase = corev1.PodRunning
	return p
}

// namespace returns the Namespace of a claim's space.
func namespace(c *resourceapi.ResourceClaim) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: spaceName(c), CreationTimestamp: metav1.NewTime(now.Add(-9 * time.Minute)),
		Labels:      map[string]string{keys.ClaimUID: string(c.UID), keys.AllocationID: allocation.FromClaim(c, driver).ID},
		Annotations: map[string]string{keys.ClaimNamespace: c.Namespace, keys.ClaimName: c.Name, keys.Request: "space", keys.Nodes: "node-a=uid-pod"},
	}}
}

func quota(namespace string) *corev1.ResourceQuota {
	list := func(pods, secrets string) corev1.ResourceList {
		return corev1.ResourceList{"pods": resource.MustParse(pods), "secrets": resource.MustParse(secrets), "services.loadbalancers": resource.MustParse("0")}
	}
	return &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "space"},
		Spec:       corev1.ResourceQuotaSpec{Hard: list("4", "10")}, Status: corev1.ResourceQuotaStatus{Hard: list("4", "10"), Used: list("3", "1")},
	}
}

// serve starts an API server with these objects, which forbids requests for some resources. It returns its URL.
func serve(t *testing.T, objects []runtime.Object, denied ...string) string {
	t.Helper()
	path := regexp.MustCompile(`^/(?:api/v1|apis/[^/]+/[^/]+)/(?:namespaces/([^/]+)/)?([^/]+)(?:/([^/]+))?$`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		match := path.FindStringSubmatch(request.URL.Path)
		if match == nil {
			http.NotFound(w, request)
			return
		}
		namespace, resource, name := match[1], match[2], match[3]
		items := []runtime.Object{}
		for _, object := range objects {
			kinds, _, err := scheme.Scheme.ObjectKinds(object)
			if err != nil {
				t.Error(err)
				return
			}
			plural, _ := meta.UnsafeGuessKindToResource(kinds[0])
			accessor, err := meta.Accessor(object)
			if err == nil && plural.Resource == resource && (namespace == "" || namespace == accessor.GetNamespace()) && (name == "" || name == accessor.GetName()) {
				items = append(items, object)
			}
		}
		var answer any = map[string]any{"items": items}
		switch {
		case slices.Contains(denied, resource):
			w.WriteHeader(http.StatusForbidden)
			answer = apierrors.NewForbidden(schema.GroupResource{Resource: resource}, name, nil).ErrStatus
		case name != "" && len(items) == 0:
			w.WriteHeader(http.StatusNotFound)
			status := apierrors.NewNotFound(schema.GroupResource{Resource: resource}, name).ErrStatus
			status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"} // otherwise the kind is not served
			answer = status
		case name != "":
			answer = items[0]
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// snapshotOf returns a snapshot of objects. A string is a permission that is missing. The class of the driver exists.
func snapshotOf(objects ...any) *snapshot {
	s := &snapshot{driver: driver, now: now, classes: []resourceapi.DeviceClass{*class(driver, "")}}
	for _, o := range objects {
		switch o := o.(type) {
		case *resourceapi.ResourceClaim:
			s.claims = append(s.claims, *o)
		case *corev1.Pod:
			s.pods = append(s.pods, *o)
		case *corev1.Namespace:
			s.namespaces = append(s.namespaces, *o)
		case *corev1.ResourceQuota:
			s.quotas = append(s.quotas, *o)
		case *corev1.Event:
			s.events = append(s.events, *o)
		case *resourceapi.ResourceSlice:
			s.slices = append(s.slices, *o)
		case *resourceapi.DeviceClass:
			s.classes = append(s.classes, *o)
		case string:
			s.forbidden = append(s.forbidden, o)
		}
	}
	return s
}

func event(name, reason, message string) *corev1.Event {
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "team", Name: name + "." + reason},
		InvolvedObject: corev1.ObjectReference{Namespace: "team", Name: name, UID: types.UID("uid-" + name)}, Type: corev1.EventTypeWarning,
		Reason: reason, Message: message, LastTimestamp: metav1.NewTime(now.Add(-time.Minute)),
	}
}

// slice returns a ResourceSlice of a pool with limits for spaces and CPUs. A space uses one CPU by default.
func slice(pool string, spaces, cpu int64) *resourceapi.ResourceSlice {
	capacity := map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{}
	if spaces > 0 {
		capacity["spaces"] = resourceapi.DeviceCapacity{Value: *resource.NewQuantity(spaces, resource.DecimalSI)}
	}
	if cpu > 0 {
		capacity["cpu"] = resourceapi.DeviceCapacity{Value: *resource.NewQuantity(cpu, resource.DecimalSI), RequestPolicy: &resourceapi.CapacityRequestPolicy{Default: resource.NewQuantity(1, resource.DecimalSI)}}
	}
	return &resourceapi.ResourceSlice{Spec: resourceapi.ResourceSliceSpec{
		Driver: driver, Pool: resourceapi.ResourcePool{Name: pool, Generation: 1},
		Devices: []resourceapi.Device{{Name: "space", AllowMultipleAllocations: ptr.To(true), Capacity: capacity, Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
			spaceapi.PoolAttribute: {StringValue: ptr.To(pool)},
		}}},
	}}
}

func class(name, pool string) *resourceapi.DeviceClass {
	return &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourceapi.DeviceClassSpec{Selectors: []resourceapi.DeviceSelector{{
		CEL: &resourceapi.CELDeviceSelector{Expression: `device.driver == "` + driver + `" && device.attributes["` + driver + `"].pool == "` + pool + `"`},
	}}}}
}
