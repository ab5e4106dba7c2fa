// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// Another finalizer keeps the object of a claim that is being deleted.
func TestController_deprovisionsADeletingClaimWithoutTheBuiltInFinalizer(t *testing.T) {
	startController(t, env)
	ns := env.Namespace(t)
	_, spaces := standing(t, env, ns, "claim")
	finalizers := func(finalizers ...string) {
		t.Helper()
		framework.SetFinalizers(t, env.Client.ResourceV1().RESTClient(), "resourceclaims", ns, "claim", finalizers...)
	}
	finalizers("example.com/wait")
	if err := env.Client.ResourceV1().ResourceClaims(ns).Delete(t.Context(), "claim", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	env.AwaitNamespaceGone(t, spaces[0].Namespace)
	framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.That("still there and allocated", func(c *resourceapi.ResourceClaim) bool { return c.Status.Allocation != nil }))
	finalizers()
}
