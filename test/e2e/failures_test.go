// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestInvalidParameters_areReportedToClaimAndPod(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, choosing(framework.NewClaim("test-claim"), `,"clusterRoles":["cluster-admin"]`))
	env.StartPod(t, ns, framework.NewPod("pod", "test-claim"))
	const words = `clusterRoles[0]: Invalid value: "cluster-admin"`

	framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.NotReadyBecause(spaceapi.ReasonInvalidParameters, words))
	events := env.Client.CoreV1().RESTClient()
	framework.AwaitAny(t, events, "events", ns, framework.About("ResourceClaim", "test-claim", spaceapi.ReasonInvalidParameters, words))
	framework.AwaitAny(t, events, "events", ns, framework.About("Pod", "pod", spaceapi.ReasonInvalidParameters, words))
	// The kubelet's event has the plugin's answer.
	framework.AwaitAny(t, events, "events", ns, framework.About("Pod", "pod", "FailedPrepareDynamicResources", words))

	claim := framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), allocated())
	env.NoSpaceOf(t, claim.UID)
	env.DeletePod(t, ns, "pod")
	framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.Deallocated())
}

func TestPrepare_reportsWhatItWaitsFor(t *testing.T) {
	// Not parallel: other tests need the controller.
	ns := env.Namespace(t)
	deployment := "deployment/space-dra-driver-controller"
	env.Kubectl(t, "scale", "-n", framework.DriverNamespace, deployment, "--replicas=0")
	env.Kubectl(t, "wait", "-n", framework.DriverNamespace, "--for=delete", "pod", "-l", "app.kubernetes.io/component=controller", "--timeout="+framework.Patience.String())
	restore := sync.OnceFunc(func() {
		env.Kubectl(t, "scale", "-n", framework.DriverNamespace, deployment, "--replicas=2")
	})
	defer restore()

	env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	env.StartPod(t, ns, framework.NewPod("pod", "test-claim"))
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("Pod", "pod", "FailedPrepareDynamicResources",
		"ResourceClaim "+ns+"/test-claim"))

	restore()
	if err := env.AwaitRollout(t.Context()); err != nil {
		t.Fatal(err)
	}
	framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.SpacesReady(1))
	framework.Await[*corev1.Pod](t, framework.Pod(env.Client, ns, "pod"), framework.PodReady())
	env.SpaceOf(t, ns, "pod", "TEST_CLAIM").Usable(t, ns, "pod")
}
