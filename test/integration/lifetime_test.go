// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// end sets the phase of a pod, as the kubelet does when its containers have exited. kube-controller-manager
// then removes the pod from the reservations of its claim, and deallocates the claim after the last one.
func end(t *testing.T, pod *corev1.Pod, phase corev1.PodPhase) {
	t.Helper()
	status := fmt.Sprintf(`{"status":{"phase":%q}}`, phase)
	if err := patch(core(pod.Namespace, "pods/"+pod.Name+"/status"), status).Stored().By(env.Client)(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestRetention_onFailureNeedsAFailedPod(t *testing.T) {
	t.Parallel()
	const driver, node = "failures.example.com", "failures"
	ns, keys := env.Namespace(t), spaceapi.KeysFor(driver)
	i := install(t, driver, "--resync-period=1h")
	i.start(t)
	newNode(t, env, node, nil)
	// use provisions the space of a claim, which pods use.
	use := func(claim string, names ...string) (space string, pods []*corev1.Pod) {
		t.Helper()
		space = provision(t, driver, ns, claim, framework.WithClassConfig(`"retention":{"period":"1h","when":"OnFailure"}`))
		for _, name := range names {
			pod := createPod(t, ns, framework.NewPod(name, claim))
			reserve(t, claim, pod) // kube-controller-manager reserves it for a pod that is bound before.
			pods = append(pods, bind(t, pod, node))
		}
		framework.Await(t, framework.Namespace(env.Client, space), framework.That("used", func(n *corev1.Namespace) bool { return n.Annotations[keys.Nodes] != "" }))
		return space, pods
	}
	awaitRetained := func(space, pod string) {
		t.Helper()
		framework.Await(t, framework.Namespace(env.Client, space), framework.That("retained", func(n *corev1.Namespace) bool {
			return n.DeletionTimestamp == nil && n.Annotations[keys.RetainedUntil] != "" && n.Annotations[keys.FailedPod] == pod
		}))
		env.Kubectl(t, "delete", "namespace", space)
	}

	space, pods := use("failed", "fails")
	end(t, pods[0], corev1.PodFailed)
	awaitEvent(t, ns, "ResourceClaim", "failed", spaceapi.ReasonNamespaceRetained, "because pod fails failed")
	awaitRetained(space, "fails")

	space, pods = use("succeeded", "succeeds")
	end(t, pods[0], corev1.PodSucceeded)
	awaitEvent(t, ns, "ResourceClaim", "succeeded", spaceapi.ReasonDeprovisioned, "because no pod is known to have failed")
	env.AwaitNamespaceDeleted(t, space)

	space, pods = use("deleted", "is-deleted")
	if err := env.ForceDelete(t.Context(), ns, pods[0].Name); err != nil {
		t.Fatal(err)
	}
	env.AwaitNamespaceDeleted(t, space)

	// The controller restarts after a first pod has failed, and before the last one succeeds.
	space, pods = use("shared", "first", "last")
	end(t, pods[0], corev1.PodFailed)
	framework.Await(t, framework.Namespace(env.Client, space), framework.That("with a failed pod", func(n *corev1.Namespace) bool { return n.Annotations[keys.FailedPod] == "first" }))
	i.kill(t)
	i.start(t)
	end(t, pods[1], corev1.PodSucceeded)
	awaitRetained(space, "first")

	// What no controller has seen is not known to have failed.
	space, pods = use("unknown", "unseen")
	i.kill(t)
	end(t, pods[0], corev1.PodFailed)
	framework.Await(t, framework.Claim(env.Client, ns, "unknown"), framework.Deallocated())
	i.start(t)
	env.AwaitNamespaceDeleted(t, space)
}

// extensibleBy matches a claim whose space can be extended by a duration, and not by more.
func extensibleBy(d time.Duration) framework.Predicate[*resourceapi.ResourceClaim] {
	return framework.That("extensible by "+d.String(), func(c *resourceapi.ResourceClaim) bool {
		if !framework.SpacesReadyNow(c) {
			return false
		}
		var status spaceapi.SpaceStatus
		err := json.Unmarshal(c.Status.Devices[0].Data.Raw, &status)
		return err == nil && status.ExpirationTimestamp != nil && status.MaxExpirationTimestamp.Sub(status.ExpirationTimestamp.Time) == d
	})
}

// annotate sets the extension of a claim.
func annotate(t *testing.T, driver, namespace, claim, extension string) {
	t.Helper()
	request := patch(claimPath(namespace, claim), set("annotations", spaceapi.KeysFor(driver).Extension, extension))
	if err := request.Stored().By(env.Client)(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestExtension_isLimitedByTheClass(t *testing.T) {
	t.Parallel()
	const driver = "extensions.example.com"
	ns := env.Namespace(t)
	install(t, driver, "--resync-period=1h").start(t)
	provision(t, driver, ns, "claim", framework.WithClassConfig(`"maxLifetime":"1h","maxExtension":"2h"`))
	claim := framework.Claim(env.Client, ns, "claim")
	framework.Await(t, claim, extensibleBy(2*time.Hour))
	annotate(t, driver, ns, "claim", "30m")
	framework.Await(t, claim, extensibleBy(90*time.Minute))
	annotate(t, driver, ns, "claim", "3h")
	framework.Await(t, claim, extensibleBy(0))
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonInvalidExtension, "the class allows at most 2h0m0s, which applies")
	annotate(t, driver, ns, "claim", "null")
	framework.Await(t, claim, extensibleBy(2*time.Hour))
	deallocate(t, env, ns, "claim")
}

// TestExtension_keepsASpaceThatExpiresSoon extends a space after the event, and waits until its first
// lifetime is over.
func TestExtension_keepsASpaceThatExpiresSoon(t *testing.T) {
	t.Parallel()
	const driver = "expiring.example.com"
	ns := env.Namespace(t)
	install(t, driver, "--resync-period=1h").start(t)
	framework.WithLongerLifetimes(t, 20*time.Second, func(lifetime time.Duration) bool {
		name := "claim-" + lifetime.String()
		env.CreateClaim(t, ns, framework.NewClaim(name))
		allocateTo(t, driver, ns, name, framework.WithClassConfig(fmt.Sprintf(`"maxLifetime":%q,"maxExtension":"1h"`, lifetime)))
		expired := framework.NotReadyBecause(spaceapi.ReasonExpired, "")
		claim := framework.Claim(env.Client, ns, name)
		if expired.Holds(framework.Await(t, claim, framework.SpacesReady(1).Or(expired))) {
			return false
		}
		awaitEvent(t, ns, "ResourceClaim", name, spaceapi.ReasonExpiresSoon, "kubectl space extend "+name+" DURATION --namespace "+ns)
		annotate(t, driver, ns, name, "10s")
		extended := framework.Await(t, claim, extensibleBy(time.Hour-10*time.Second).Or(expired))
		if expired.Holds(extended) {
			return false
		}
		end := framework.SpaceStatus(t, extended, 0).ExpirationTimestamp
		awaitEvent(t, ns, "ResourceClaim", name, spaceapi.ReasonExpiresSoon, end.UTC().Format(time.RFC3339))
		framework.Await(t, claim, expired)
		events, err := env.Client.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=ExpiresSoon,involvedObject.name=" + name})
		if err != nil || len(events.Items) != 2 || events.Items[0].Count != 1 || events.Items[1].Count != 1 {
			t.Errorf("got the events %v, error %v, want one before each end", events.Items, err)
		}
		deallocate(t, env, ns, name)
		return true
	})
}
