// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package resources_test

import (
	"strings"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

var environment = resources.Environment{Driver: "space.example.org", TokenAudiences: []string{"https://a.example.com", "b"}}

func allocated(t *testing.T) *allocation.Allocation {
	t.Helper()
	claim := &resourceapi.ResourceClaim{
		// Claim names can be longer than a label's value.
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: strings.Repeat("long.", 20) + "name", UID: "claim-uid"},
		Spec: resourceapi.ResourceClaimSpec{Devices: resourceapi.DeviceClaim{Requests: []resourceapi.DeviceRequest{
			{Name: "main", FirstAvailable: []resourceapi.DeviceSubRequest{{Name: "large", DeviceClassName: "large"}, {Name: "small", DeviceClassName: "small"}}},
			{Name: "other", Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: "exact"}},
		}}},
		Status: resourceapi.ResourceClaimStatus{Allocation: &resourceapi.AllocationResult{
			Devices: resourceapi.DeviceAllocationResult{Results: []resourceapi.DeviceRequestAllocationResult{
				{Driver: environment.Driver, Request: "main/small", Pool: "spaces", Device: "a"},
				{Driver: environment.Driver, Request: "other", Pool: "spaces", Device: "b"},
			}},
		}},
	}
	a := allocation.FromClaim(claim, environment.Driver)
	if a == nil {
		t.Fatal("the claim is not allocated")
	}
	return a
}

// space returns a configuration with a change.
func space(change func(*config.SpaceConfig)) config.SpaceConfig {
	out := config.SpaceConfig{PodSecurity: spaceapi.PodSecurity{Enforce: "baseline"}, MaxTerminationGracePeriod: 89500 * time.Millisecond}
	out.ClusterRoles, out.Network.Mode = []string{"view"}, spaceapi.NetworkOpen
	change(&out)
	return out
}

func unchanged(*config.SpaceConfig) {}

// spaceWith returns the objects of a space whose configuration has a change.
func spaceWith(t *testing.T, e resources.Environment, change func(*config.SpaceConfig)) resources.Objects {
	t.Helper()
	a := allocated(t)
	return e.Objects(a, a.Results[0], a.Results[0].NamespaceName("ns-"), space(change))
}

func TestObjects_doNotShareMaps(t *testing.T) {
	a := allocated(t)
	objects := environment.Objects(a, a.Results[0], a.Results[0].NamespaceName("ns-"), space(unchanged))
	objects.ServiceAccount.Labels["tenant"] = "x"
	objects.RoleBindings[0].Annotations["tenant"] = "x"
	for _, m := range []map[string]string{objects.Namespace.Labels, objects.Namespace.Annotations, objects.RoleBindings[0].Labels, objects.ServiceAccount.Annotations} {
		if _, ok := m["tenant"]; ok {
			t.Error("two objects share a map")
		}
	}
}
