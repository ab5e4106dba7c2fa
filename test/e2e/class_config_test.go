// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// classOf returns a DeviceClass of a driver, with JSON fields of a SpaceClassConfig. It selects the pool
// without a limit, as the chart's DeviceClass does. Other pools are for the examples.
func classOf(name, driver, fields string) *resourceapi.DeviceClass {
	return &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourceapi.DeviceClassSpec{
		Selectors: []resourceapi.DeviceSelector{{CEL: &resourceapi.CELDeviceSelector{
			Expression: fmt.Sprintf("device.driver == %[1]q && device.attributes[%[1]q].pool == \"spaces\"", driver),
		}}},
		Config: []resourceapi.DeviceClassConfiguration{{DeviceConfiguration: resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
			Driver: driver, Parameters: runtime.RawExtension{Raw: fmt.Appendf(nil, `{"apiVersion":%q,"kind":%q%s}`, spaceapi.APIVersion, spaceapi.SpaceClassConfigKind, fields)},
		}}}},
	}}
}

// createClass creates a DeviceClass for one test.
func createClass(t *testing.T, class *resourceapi.DeviceClass) {
	t.Helper()
	classes := env.Client.ResourceV1().DeviceClasses()
	if _, err := classes.Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
		t.Fatalf("create DeviceClass %s: %v", class.Name, err)
	}
	t.Cleanup(func() {
		if err := classes.Delete(context.Background(), class.Name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete DeviceClass %s: %v", class.Name, err)
		}
	})
}

// claimOf returns a claim for one space of a class.
func claimOf(name, class string) *resourceapi.ResourceClaim {
	return framework.OfClass(class, framework.NewClaim(name))
}

func TestBindingConditions_bindPodsToReadySpaces(t *testing.T) {
	t.Parallel()
	env.Requires(t, "1.36", "a binding condition")
	const driver = "binding.space.example.com"
	env.InstallAnotherRelease(t, "binding", "driverName="+driver, "poolDefaults.bindingConditions=true", "controller.replicas=1")
	ns := env.Namespace(t)
	createClass(t, classOf("binding", driver, `,"clusterRoles":["unlisted"]`))
	env.CreateClaim(t, ns, claimOf("claim", "binding"))
	env.StartPod(t, ns, framework.NewPod("pod", "claim"))

	framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.NotReadyBecause(spaceapi.ReasonInvalidParameters, "space.allowedClusterRoles"))
	if pod, err := env.Client.CoreV1().Pods(ns).Get(t.Context(), "pod", metav1.GetOptions{}); err != nil || pod.Spec.NodeName != "" {
		t.Errorf("the pod is bound to node %q (error: %v)", pod.Spec.NodeName, err)
	}
	claim := framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.That("failed", func(c *resourceapi.ResourceClaim) bool {
		return len(c.Status.Devices) > 0 && meta.IsStatusConditionTrue(c.Status.Devices[0].Conditions, spaceapi.ConditionBindingFailed)
	}))
	first, conditions := *claim.Status.Allocation.Devices.Results[0].ShareID, claim.Status.Devices[0].Conditions
	ready, failed := meta.FindStatusCondition(conditions, spaceapi.ConditionReady), meta.FindStatusCondition(conditions, spaceapi.ConditionBindingFailed)
	if !failed.LastTransitionTime.After(ready.LastTransitionTime.Time) {
		t.Errorf("the controller reported the failure to the scheduler immediately: %v", conditions)
	}

	// The next attempt uses the changed class.
	env.Kubectl(t, "patch", "deviceclass", "binding", "--type=merge", "-p", `{"spec":{"config":null}}`)
	framework.Await(t, framework.Pod(env.Client, ns, "pod"), framework.PodReady())
	claim = framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.SpacesReady(1))
	if second := *claim.Status.Allocation.Devices.Results[0].ShareID; second == first {
		t.Error("the pod uses the failed allocation")
	}
	s := env.SpaceOf(t, ns, "pod", "claim")
	s.CheckUsable(t, ns, "pod")
	env.DeletePod(t, ns, "pod")
	env.AwaitNamespaceDeleted(t, s.Namespace)
}
