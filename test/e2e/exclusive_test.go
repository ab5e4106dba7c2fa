// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestAnExclusiveClaimIsForOnePodAtATime(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.WithParameters(framework.NewClaim("test-claim"),
		`{"apiVersion": "space.resource.example.com/v1alpha1", "kind": "SpaceClaimConfig", "exclusive": true}`))
	env.CreatePod(t, ns, framework.NewPod("first", "test-claim"))
	s := env.SpaceOf(t, ns, "first", "TEST_CLAIM")
	s.Usable(t, ns, "first")

	pods := env.Client.CoreV1().Pods(ns)
	if _, err := pods.Create(t.Context(), framework.NewPod("second", "test-claim"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns,
		framework.About("Pod", "second", "FailedScheduling", "ResourceClaim test-claim is exclusive and in use by pod first"))
	second, err := pods.Get(t.Context(), "second", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if second.Spec.NodeName != "" {
		t.Errorf("the second pod has node %s while the first one uses the claim", second.Spec.NodeName)
	}
	// Refusing the second pod leaves the first one its space.
	s.Kubectl(t, ns, "first", "get", "configmap", "from-first")

	env.DeletePod(t, ns, "first")
	framework.Await(t, framework.Pod(env.Client, ns, "second"), framework.PodReady())
	env.SpaceOf(t, ns, "second", "TEST_CLAIM").Usable(t, ns, "second")
}
