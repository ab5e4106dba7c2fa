// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// conflicts is the backoff after a conflict with another change of a claim.
var conflicts = wait.Backoff{Duration: 10 * time.Millisecond, Factor: 1.3, Jitter: 0.5, Steps: 25}

// UpdateClaimStatus changes the status of a claim, and retries after conflicts.
func UpdateClaimStatus(t testing.TB, env *Env, namespace, name string, change func(*resourceapi.ResourceClaim)) *resourceapi.ResourceClaim {
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
		t.Fatalf("update the status of ResourceClaim %s: %v", name, err)
	}
	return claim
}

// Allocate allocates a claim as the scheduler does: it adds Kubernetes' finalizer, then an allocation
// with a share of the driver's device for each request. The changes are part of the second write.
func Allocate(t testing.TB, env *Env, namespace, name string, changes ...func(*resourceapi.ResourceClaim)) *resourceapi.ResourceClaim {
	t.Helper()
	SetFinalizers(t, env.Client.ResourceV1().RESTClient(), "resourceclaims", namespace, name, resourceapi.Finalizer)
	return UpdateClaimStatus(t, env, namespace, name, func(claim *resourceapi.ResourceClaim) {
		env.SetAllocation(claim)
		for _, change := range changes {
			change(claim)
		}
	})
}

// WithClassConfig adds a SpaceClassConfig with these JSON fields to an allocation.
func WithClassConfig(fields string) func(*resourceapi.ResourceClaim) {
	return func(claim *resourceapi.ResourceClaim) {
		allocated := &claim.Status.Allocation.Devices
		config := resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClass}
		config.Opaque = &resourceapi.OpaqueDeviceConfiguration{
			Driver: allocated.Results[0].Driver, Parameters: runtime.RawExtension{Raw: []byte(ConfigJSON(spaceapi.SpaceClassConfigKind, fields))},
		}
		allocated.Config = append(allocated.Config, config)
	}
}

// ConfigJSON returns parameters of a kind with these JSON fields.
func ConfigJSON(kind, fields string) string {
	if fields != "" {
		fields = "," + fields
	}
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q%s}`, spaceapi.APIVersion, kind, fields)
}

// SetFinalizers replaces the finalizers of an object.
func SetFinalizers(t testing.TB, api rest.Interface, resource, namespace, name string, finalizers ...string) {
	t.Helper()
	body := JSON(map[string]any{"metadata": map[string]any{"finalizers": finalizers}})
	if err := api.Patch(types.MergePatchType).Namespace(namespace).Resource(resource).Name(name).Body([]byte(body)).Do(t.Context()).Error(); err != nil {
		t.Fatalf("set the finalizers of %s/%s: %v", resource, name, err)
	}
}

// AllocateWithConflict creates a namespace with the name of a claim's future space, then allocates the
// claim, which has one request, to a driver. It waits until the controller reports the conflict.
func AllocateWithConflict(t testing.TB, env *Env, driver, namespace, name string, foreign func(name string) *corev1.Namespace) (*resourceapi.ResourceClaim, *corev1.Namespace) {
	t.Helper()
	claim, err := env.Client.ResourceV1().ResourceClaims(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	env.SetAllocation(claim)
	claim.Status.Allocation.Devices.Results[0].Driver = driver
	// The name is derived from the allocation.
	space := allocation.FromClaim(claim, driver).Results[0].NamespaceName(spaceapi.DefaultNamespacePrefix)
	created, err := env.Client.CoreV1().Namespaces().Create(t.Context(), foreign(space), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := env.Client.ResourceV1().ResourceClaims(namespace).UpdateStatus(t.Context(), claim, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return Await(t, Claim(env.Client, namespace, name), NotReadyBecause(spaceapi.ReasonNameConflict, space)), created
}

// SetAllocation sets an allocation with a new share of the driver's device for each request. Before
// Kubernetes 1.36, each request gets another device.
func (e *Env) SetAllocation(claim *resourceapi.ResourceClaim) {
	allocation := &resourceapi.AllocationResult{}
	shareable := e.AtLeast("1.36")
	if shareable {
		allocation.AllocationTimestamp = ptr.To(metav1.NewTime(time.Now().Truncate(time.Second)))
	}
	for _, request := range claim.Spec.Devices.Requests {
		result := resourceapi.DeviceRequestAllocationResult{Request: request.Name, Driver: spaceapi.DefaultDriverName, Pool: "spaces"}
		if shareable {
			result.Device, result.ShareID = "space", ptr.To(uuid.NewUUID())
		} else {
			result.Device = "space-" + rand.String(10)
		}
		allocation.Devices.Results = append(allocation.Devices.Results, result)
	}
	for _, config := range claim.Spec.Devices.Config {
		allocation.Devices.Config = append(allocation.Devices.Config, resourceapi.DeviceAllocationConfiguration{
			Source: resourceapi.AllocationConfigSourceClaim, Requests: config.Requests, DeviceConfiguration: config.DeviceConfiguration,
		})
	}
	claim.Status.Allocation = allocation
}

// Deallocate deallocates a claim, as kube-controller-manager does when the last pod has terminated.
func Deallocate(t testing.TB, env *Env, namespace, name string) {
	t.Helper()
	UpdateClaimStatus(t, env, namespace, name, func(claim *resourceapi.ResourceClaim) {
		claim.Status.Allocation = nil
		claim.Status.ReservedFor = nil
	})
}

// ReadyClaim creates and allocates a claim with these requests, or one, and waits until its spaces are
// ready.
func ReadyClaim(t testing.TB, env *Env, namespace, name string, requests ...string) (*resourceapi.ResourceClaim, []spaceapi.SpaceStatus) {
	t.Helper()
	env.CreateClaim(t, namespace, NewClaim(name, requests...))
	Allocate(t, env, namespace, name)
	return SpacesOf(t, env, namespace, name, max(1, len(requests)))
}

// SpacesOf waits until all n spaces of a claim are ready, and returns the claim and the spaces.
func SpacesOf(t testing.TB, env *Env, namespace, name string, n int) (*resourceapi.ResourceClaim, []spaceapi.SpaceStatus) {
	t.Helper()
	claim := Await(t, Claim(env.Client, namespace, name), SpacesReady(n))
	var spaces []spaceapi.SpaceStatus
	for i := range n {
		spaces = append(spaces, SpaceStatus(t, claim, i))
	}
	return claim, spaces
}
