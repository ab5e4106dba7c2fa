// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestEvents_reportFailures provisions and deprovisions one space with all failures that users see as
// events.
func TestEvents_reportFailures(t *testing.T) {
	const driver = "events.example.com"
	i := install(t, driver)
	i.start(t)
	ns := env.Namespace(t)
	newNode(t, env, "events-node", nil)
	pod := bind(t, createPod(t, ns, framework.NewPod("pod")), "events-node")

	i.failRequests("create", "rolebindings")
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	allocateTo(t, driver, ns, "claim", reservedFor(pod))
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonProvisioningFailed, faults.Fault)
	awaitEvent(t, ns, "Pod", "pod", spaceapi.ReasonProvisioningFailed, "ResourceClaim claim: ")
	framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.NotReadyBecause(spaceapi.ReasonProvisioningFailed, faults.Fault))
	i.proxy.Intercept(nil)
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonProvisioned, "")
	space := readySpace(t, ns, "claim")
	unblock := blockDeletion(t, env, space)
	if err := env.Client.CoreV1().Namespaces().Delete(t.Context(), space, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonNamespaceTerminating, space)
	awaitEvent(t, ns, "Pod", "pod", spaceapi.ReasonNamespaceTerminating, space)
	framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.NotReadyBecause(spaceapi.ReasonNamespaceTerminating, space))
	unblock()
	framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.SpacesReady(1))

	i.failRequests("delete", "rolebindings")
	deallocate(t, env, ns, "claim")
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonDeprovisioningFailed, space)
	awaitEvent(t, metav1.NamespaceDefault, "Namespace", space, spaceapi.ReasonDeprovisioningFailed, faults.Fault)
	for _, args := range [][]string{{"why", "namespace/" + space}, {"list", "-o", "wide"}, {"describe", "claim"}} {
		out, _, _ := env.Admin().TryKubectlSpace(t.Context(), append(args, "-n", ns, "--driver-name", driver)...)
		if !strings.Contains(out, faults.Fault) || strings.Contains(out, "credentials are revoked") || args[0] != "why" && !strings.Contains(out, spaceapi.ReasonDeprovisioningFailed) {
			t.Errorf("kubectl space %v while the credentials cannot be revoked:\n%s", args, out)
		}
	}
	i.proxy.Intercept(nil)
	env.AwaitNamespaceDeleted(t, space)
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonDeprovisioned, space)
}

func TestEvents_reportTheCauseOfDeprovisioning(t *testing.T) {
	const driver = "ended.example.com"
	i := install(t, driver)
	i.start(t)
	ns := env.Namespace(t)
	for claim, want := range map[string]struct {
		end   func()
		words string
	}{
		"deallocated": {func() { deallocate(t, env, ns, "deallocated") }, "no pod uses it any more"},
		"deleted": {func() {
			framework.SetFinalizers(t, env.Client.ResourceV1().RESTClient(), "resourceclaims", ns, "deleted")
			env.Kubectl(t, "delete", "resourceclaim", "deleted", "-n", ns)
		}, "Claim deleted: "},
	} {
		provision(t, driver, ns, claim)
		want.end()
		awaitEvent(t, ns, "ResourceClaim", claim, spaceapi.ReasonDeprovisioned, want.words)
	}
}
