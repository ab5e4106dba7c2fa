// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"fmt"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// conflicts is the back-off of changes of a claim that conflict with
// other changes.
var conflicts = wait.Backoff{Duration: 10 * time.Millisecond, Factor: 1.3, Jitter: 0.5, Steps: 25}

// Modify changes the status of a claim.
func Modify(t testing.TB, env *Env, namespace, name string, change func(*resourceapi.ResourceClaim)) *resourceapi.ResourceClaim {
	t.Helper()
	api := env.Client.ResourceV1().ResourceClaims(namespace)
	var claim *resourceapi.ResourceClaim
	if err := retry.RetryOnConflict(conflicts, func() (err error) {
		if claim, err = api.Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			return err
		}
		change(claim)
		claim, err = api.UpdateStatus(t.Context(), claim, metav1.UpdateOptions{})
		return err
	}); err != nil {
		t.Fatalf("change ResourceClaim %s: %v", name, err)
	}
	return claim
}

// Allocate does what the scheduler does: the built-in finalizer, then an
// allocation with a share of the driver's device for each request.
func Allocate(t testing.TB, env *Env, namespace, name string) *resourceapi.ResourceClaim {
	t.Helper()
	finalizers := fmt.Appendf(nil, `{"metadata":{"finalizers":[%q]}}`, resourceapi.Finalizer)
	if _, err := env.Client.ResourceV1().ResourceClaims(namespace).Patch(t.Context(), name, types.MergePatchType, finalizers, metav1.PatchOptions{}); err != nil {
		t.Fatalf("add the finalizer to ResourceClaim %s: %v", name, err)
	}
	return Modify(t, env, namespace, name, SetAllocation)
}

// AllocatedLater returns a claim with an allocation that has not been written.
func AllocatedLater(t testing.TB, env *Env, namespace, name string) *resourceapi.ResourceClaim {
	t.Helper()
	claim, err := env.Client.ResourceV1().ResourceClaims(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	SetAllocation(claim)
	return claim
}

// SetAllocation gives a claim a new allocation with a share of the driver's device
// for each request.
func SetAllocation(claim *resourceapi.ResourceClaim) {
	allocation := &resourceapi.AllocationResult{AllocationTimestamp: ptr.To(metav1.NewTime(time.Now().Truncate(time.Second)))}
	for _, request := range claim.Spec.Devices.Requests {
		allocation.Devices.Results = append(allocation.Devices.Results, resourceapi.DeviceRequestAllocationResult{
			Request: request.Name,
			Driver:  spaceapi.DefaultDriverName,
			Pool:    "spaces",
			Device:  "space",
			ShareID: ptr.To(uuid.NewUUID()),
		})
	}
	for _, config := range claim.Spec.Devices.Config {
		allocation.Devices.Config = append(allocation.Devices.Config, resourceapi.DeviceAllocationConfiguration{
			Source: resourceapi.AllocationConfigSourceClaim, Requests: config.Requests, DeviceConfiguration: config.DeviceConfiguration,
		})
	}
	claim.Status.Allocation = allocation
}

// Deallocate does what kube-controller-manager does when the last pod has terminated.
func Deallocate(t testing.TB, env *Env, namespace, name string) {
	t.Helper()
	Modify(t, env, namespace, name, func(claim *resourceapi.ResourceClaim) {
		claim.Status.Allocation = nil
		claim.Status.ReservedFor = nil
	})
}

// Standing creates a claim with the requests, allocates it, and waits for its spaces.
func Standing(t testing.TB, env *Env, namespace, name string, requests ...string) (*resourceapi.ResourceClaim, []spaceapi.SpaceStatus) {
	t.Helper()
	env.CreateClaim(t, namespace, NewClaim(name, requests...))
	Allocate(t, env, namespace, name)
	return SpacesOf(t, env, namespace, name, max(1, len(requests)))
}

// SpacesOf waits for a claim's spaces.
func SpacesOf(t testing.TB, env *Env, namespace, name string, n int) (*resourceapi.ResourceClaim, []spaceapi.SpaceStatus) {
	t.Helper()
	claim := Await(t, Claim(env.Client, namespace, name), SpacesReady(n))
	var spaces []spaceapi.SpaceStatus
	for i := range n {
		spaces = append(spaces, SpaceStatus(t, claim, i))
	}
	return claim, spaces
}
