// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package uninstall

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

const driver = "mine.example.com"

// allocated returns a claim with a device of a driver, for pod pod-<name>.
func allocated(name, driver string) *resourceapi.ResourceClaim {
	claim := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID("uid-" + name)}}
	claim.Status.Allocation = &resourceapi.AllocationResult{Devices: resourceapi.DeviceAllocationResult{
		Results: []resourceapi.DeviceRequestAllocationResult{{Driver: driver, Request: "space", Pool: "spaces", Device: "space", ShareID: ptr.To(types.UID(name))}},
	}}
	claim.Status.ReservedFor = []resourceapi.ResourceClaimConsumerReference{{Resource: "pods", Name: "pod-" + name, UID: "pod"}}
	return claim
}

// namespace returns that of a claim's space or, if the claim is not allocated, of an earlier space.
func namespace(claim *resourceapi.ResourceClaim, changes ...func(*corev1.Namespace)) *corev1.Namespace {
	keys, id, name := spaceapi.KeysFor(driver), "earlier", "ns-earlier"
	if a := allocation.FromClaim(claim, driver); a != nil {
		id, name = a.ID, a.Results[0].NamespaceName("ns-")
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{keys.ClaimUID: string(claim.UID), keys.AllocationID: id},
		Annotations: map[string]string{keys.ClaimNamespace: claim.Namespace, keys.ClaimName: claim.Name},
	}}
	for _, change := range changes {
		change(ns)
	}
	return ns
}

func TestCheck_listsSpaces(t *testing.T) {
	inUse, released := allocated("a", driver), allocated("a", driver)
	released.Status = resourceapi.ResourceClaimStatus{}
	retained := func(ns *corev1.Namespace) {
		ns.Annotations[spaceapi.KeysFor(driver).RetainedUntil] = "2026-03-01T13:00:00Z"
	}
	terminating := func(ns *corev1.Namespace) {
		ns.DeletionTimestamp, ns.Finalizers = ptr.To(metav1.NewTime(time.Unix(0, 0))), []string{"example.com/hold"}
	}
	for name, test := range map[string]struct {
		objects []runtime.Object
		words   []string
	}{
		"nothing":                   {nil, nil},
		"another driver's":          {[]runtime.Object{allocated("a", "gpu.example.com")}, nil},
		"a claim without a space":   {[]runtime.Object{released}, nil},
		"a space in use":            {[]runtime.Object{inUse, namespace(inUse)}, []string{"ResourceClaim team/a with namespaces " + namespace(inUse).Name + " and pods pod-a.", "--no-hooks"}},
		"an allocation only":        {[]runtime.Object{inUse}, []string{"ResourceClaim team/a with namespaces <none> and pods pod-a."}},
		"a retained namespace":      {[]runtime.Object{namespace(released, retained)}, []string{"Namespace ns-earlier of deallocated ResourceClaim team/a, retained until 2026-03-01T13:00:00Z."}},
		"one of a claim in use":     {[]runtime.Object{inUse, namespace(released, retained)}, []string{"namespaces <none>", "Namespace ns-earlier of deallocated"}},
		"one that is being deleted": {[]runtime.Object{namespace(released, terminating)}, nil},
	} {
		err := Check(t.Context(), fake.NewClientset(test.objects...), driver)
		if (err != nil) != (test.words != nil) {
			t.Errorf("%s: got error %v", name, err)
			continue
		}
		for _, words := range test.words {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("%s: got %v\nwant %s", name, err, words)
			}
		}
	}
}

func TestCheck_limitsTheList(t *testing.T) {
	var objects []runtime.Object
	for i := range maxListed + 3 {
		objects = append(objects, allocated(fmt.Sprintf("c%02d", i), driver))
	}
	err := Check(t.Context(), fake.NewClientset(objects...), driver)
	if err == nil || strings.Count(err.Error(), "ResourceClaim team/") != maxListed || !strings.Contains(err.Error(), "and 3 more") {
		t.Errorf("got %v", err)
	}
}

func TestCheck_failsIfItCannotList(t *testing.T) {
	for _, resource := range []string{"namespaces", "resourceclaims"} {
		api, cause := fake.NewClientset(), errors.New("no")
		api.PrependReactor("list", resource, func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, cause })
		if err := Check(t.Context(), api, driver); !errors.Is(err, cause) {
			t.Errorf("%s: got error %v", resource, err)
		}
	}
}
