// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// pluginAudiences requests tokens for the API server and for others, on a node that uses the space.
func (f *policyFixture) pluginAudiences(t *testing.T) {
	const node, words = "policies-e", "for the audiences of the API server"
	p := f.pluginOn(t, node)
	pod := createPod(t, f.namespace, framework.NewPod("audiences"))
	reserve(t, f.claim, pod)
	pod = bind(t, pod, node)
	awaitUsedBy(t, f.keys, f.space, pod)

	request := func(audiences ...string) *authenticationv1.TokenRequest {
		return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			Audiences: audiences, BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: node},
		}}
	}
	mint := func(audiences ...string) framework.Call {
		return post(core(f.space, "serviceaccounts/space/token"), framework.JSON(request(audiences...)))
	}
	// The API server fills in its own audiences.
	admin, err := env.Client.CoreV1().ServiceAccounts(f.space).CreateToken(t.Context(), "space", request(), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	own := admin.Spec.Audiences
	framework.AwaitAllowed(t, "a token without audiences", mint().By(p))
	framework.AwaitAllowed(t, "a token for the API server", mint(own...).By(p))
	denied(t, p,
		denial{"a token for a cloud", mint("sts.amazonaws.com"), words},
		denial{"a token for a cloud, too", mint(append(own, "sts.amazonaws.com")...), words},
	)

	// A space that was provisioned by a controller that did not record them.
	space := framework.Namespace(env.Client, f.space)
	without := []byte(set("annotations", f.keys.TokenAudiences, "null"))
	if _, err := f.controller.CoreV1().Namespaces().Patch(t.Context(), f.space, types.MergePatchType, without, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	denied(t, p, denial{"a token while they are not recorded", mint(), words})
	release(t, f.claim, pod)
	framework.Await(t, space, framework.That("with the audiences of the API server", func(ns *corev1.Namespace) bool {
		return ns.Annotations[f.keys.TokenAudiences] != ""
	}))
}
