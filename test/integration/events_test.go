// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// One space meets all that can prevent its provisioning, use and deprovisioning, with events
// about the objects that users look at.
func TestEvents_reportFailures(t *testing.T) {
	const driver = "events.example.com"
	i := install(t, driver)
	i.start(t)
	ns := env.Namespace(t)
	newNode(t, env, "events-node", nil)
	pod := bind(t, createPod(t, ns, framework.NewPod("pod")), "events-node")
	refuse := func(verb, resource string) {
		i.proxy.Intercept(func(call faults.Call, _ func()) faults.Answer {
			if call.Verb == verb && call.Resource == resource && call.Subresource == "" {
				return faults.Refused
			}
			return faults.Real
		})
	}
	awaitEvent := func(namespace, kind, name, reason, words string) {
		t.Helper()
		framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", namespace, framework.About(kind, name, reason, words))
	}

	refuse("create", "rolebindings")
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	addFinalizer(t, ns, "claim")
	modify(t, env, ns, "claim", func(c *resourceapi.ResourceClaim) {
		allocationFor(driver)(c)
		usedBy(pod)(c)
	})
	const fault = "a fault that a test asked for"
	awaitEvent(ns, "ResourceClaim", "claim", spaceapi.ReasonProvisioningFailed, fault)
	awaitEvent(ns, "Pod", "pod", spaceapi.ReasonProvisioningFailed, "ResourceClaim claim: ")
	framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.NotReadyBecause(spaceapi.ReasonProvisioningFailed, fault))
	i.proxy.Intercept(nil)
	framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.SpacesReady(1))
	awaitEvent(ns, "ResourceClaim", "claim", spaceapi.ReasonProvisioned, "")

	space := spaceOf(t, driver, ns, "claim")
	letGo := hold(t, space)
	if err := env.Client.CoreV1().Namespaces().Delete(t.Context(), space, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitEvent(ns, "ResourceClaim", "claim", spaceapi.ReasonNamespaceTerminating, space)
	awaitEvent(ns, "Pod", "pod", spaceapi.ReasonNamespaceTerminating, space)
	letGo()
	framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.SpacesReady(1))

	refuse("delete", "rolebindings")
	deallocate(t, env, ns, "claim")
	awaitEvent(ns, "ResourceClaim", "claim", spaceapi.ReasonDeprovisioningFailed, space)
	awaitEvent(metav1.NamespaceDefault, "Namespace", space, spaceapi.ReasonDeprovisioningFailed, fault)
	i.proxy.Intercept(nil)
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, space))
	awaitEvent(ns, "ResourceClaim", "claim", spaceapi.ReasonDeprovisioned, space)
}
