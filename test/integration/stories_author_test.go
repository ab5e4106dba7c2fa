// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// withConfigs is the body of a claim with parameters for the driver, each as fields of a JSON object.
func withConfigs(name string, fields ...string) string {
	claim := framework.OfClass(storiesDriver, framework.NewClaim(name))
	for i, f := range fields {
		framework.WithParameters(claim, framework.ConfigJSON(spaceapi.SpaceClaimConfigKind, f))
		claim.Spec.Devices.Config[i].Opaque.Driver = storiesDriver
	}
	return framework.JSON(claim)
}

var largeObjects = []story{
	{"Create more claims than the quota of its namespace allows", "", func(s *scene) {
		author, claims := s.author(), claimPath(s.ns, "")
		s.given(post(core(s.ns, "resourcequotas"), `{"metadata":{"name":"spaces"},"spec":{"hard":{"`+storiesDriver+`.deviceclass.resource.k8s.io/devices":"2"}}}`))
		two := framework.NewClaim("second", "a", "b")
		for i := range two.Spec.Devices.Requests {
			two.Spec.Devices.Requests[i].Exactly.DeviceClassName = storiesDriver
		}
		// Quotas take effect when Kubernetes has counted what is there.
		s.loses("the author creates a claim with two more spaces", author, post(claims, framework.JSON(two)), "exceeded quota: spaces")
		s.can("the author creates one with one", author, post(claims, withConfigs("second")))
		s.cannot("the author creates a third claim", author, post(claims, withConfigs("third")), "exceeded quota: spaces")
		s.can("the author deletes a claim", author, remove(claimPath(s.ns, "second")))
		s.can("the author creates one in its place", author, post(claims, withConfigs("third")))
		s.cannot("the author creates one more", author, post(claims, withConfigs("second")), "exceeded quota: spaces")
	}},
	{"Fill the controller's memory with the largest claims", "", func(s *scene) {
		author, room := s.author(), resourceapi.DeviceConfigMaxSize*(largestConfig+200)
		for i := range 3 {
			name := fmt.Sprintf("largest-%d", i)
			s.can("the author creates the largest claim", author, post(claimPath(s.ns, ""), framework.JSON(largestClaim(name, room))))
			allocateTo(s.T, storiesDriver, s.ns, name, func(c *resourceapi.ResourceClaim) {
				c.Status.Allocation.Devices.Results = c.Status.Allocation.Devices.Results[:1]
			})
		}
		readySpace(s.T, s.ns, "largest-2")
		s.end()
		s.loses("the token of another space is revoked in time", s.tenant, s.read())
	}},
	{"Hide an invalid parameter behind a valid one", "", func(s *scene) {
		author := s.author()
		s.can("the author creates a claim with two parameters", author, post(claimPath(s.ns, ""), withConfigs("two", `"podSecurity":{"enforce":"restricted"}`, `"podSecurity":{"enforce":"privileged"}`)))
		allocateTo(s.T, storiesDriver, s.ns, "two", framework.WithClassConfig(""))
		claim := limits(s, framework.Claim(env.Client, s.ns, "two"), framework.NotReadyBecause(spaceapi.ReasonInvalidParameters, "the class allows baseline"))
		s.noSpaceOf(claim.UID)
	}},
	{"Change parameters after they were checked", "", func(s *scene) {
		author, changed := s.author(), `{"spec":{"devices":{"config":[{"opaque":{"driver":"`+storiesDriver+`","parameters":{"kind":"SpaceClassConfig"}}}]}}}`
		s.can("the author creates a claim", author, post(claimPath(s.ns, ""), withConfigs("checked", `"podSecurity":{"enforce":"restricted"}`)))
		s.cannot("the author speaks as the class in it", author, patch(claimPath(s.ns, "checked"), changed), "field is immutable")
	}},
	{"Delete an allocated claim without its finalizer", "", func(s *scene) {
		author := s.author()
		s.can("the author removes the finalizer", author, patch(claimPath(s.ns, "claim"), `{"metadata":{"finalizers":null}}`))
		s.can("the author deletes the claim", author, remove(claimPath(s.ns, "claim")))
		s.loses("the token of its space reads", s.tenant, s.read())
		framework.AwaitGone[*corev1.Namespace](s, framework.Namespace(env.Client, s.space))
	}},
	{"Find a space by its claim, and enter it", "", func(s *scene) {
		author := s.author()
		s.can("the author reads the status of the claim", author, get(claimPath(s.ns, "claim")))
		s.cannot("the author reads Secrets in the space", author, get(core(s.space, "secrets")), byRBAC)
		s.cannot("the author gets a token of the space", author, post(core(s.space, "serviceaccounts/space/token"), framework.TokenBody("", "", "")), byRBAC)
	}},
	{"Turn its own namespace into a space, in two writes", "", func(s *scene) {
		author, own := s.author(), namespacePath(s.ns)
		s.given(post(framework.RBACPath(s.ns, "roles"), `{"metadata":{"name":"owner"},"rules":[{"apiGroups":[""],"resources":["namespaces","namespaces/status"],"verbs":["patch"]}]}`),
			post(framework.RBACPath(s.ns, "rolebindings"), strings.Replace(framework.BindingBody("RoleBinding", "owner", "owner", s.ns, "author"), `"ClusterRole"`, `"Role"`, 1)))
		s.can("the author annotates the namespace", author, patch(own, set("annotations", "example.com/nodes", "x")))
		mark := set("labels", spaceapi.KeysFor(storiesDriver).ClaimUID, "x")
		s.cannot("the author marks it", author, patch(own, mark), byPolicy("space-metadata"))
		s.cannot("the author marks it through its status", author, patch(own+"/status", mark), byPolicy("space-metadata"))
	}},
	{"Add a second pod to an exclusive claim", `"exclusive":true`, func(s *scene) {
		author := s.author()
		s.can("the author creates a pod", author, newPod(s.ns, "first", ""))
		s.can("the author creates a second one", author, newPod(s.ns, "second", ""))
		claim, err := env.Client.ResourceV1().ResourceClaims(s.ns).Get(s.Context(), "claim", metav1.GetOptions{})
		if err != nil {
			s.Fatal(err)
		}
		for _, pod := range []string{"first", "second"} {
			claim.Status.ReservedFor = append(claim.Status.ReservedFor, resourceapi.ResourceClaimConsumerReference{Resource: "pods", Name: pod, UID: types.UID(pod)})
		}
		reserve := framework.Put(claimPath(s.ns, "claim/status"), framework.JSON(claim))
		s.cannot("the scheduler reserves the claim for both", env.Client, reserve, byPolicy("exclusive"))
	}},
}

var viewer = []story{
	{"Use the kubeconfig in the status of a claim", "", func(s *scene) {
		viewer := s.viewer()
		s.can("the viewer reads the claim", viewer, get(claimPath(s.ns, "claim")))
		claim, err := viewer.ResourceV1().ResourceClaims(s.ns).Get(s.Context(), "claim", metav1.GetOptions{})
		if err != nil || strings.Contains(framework.JSON(claim), "eyJ") {
			s.Errorf("the claim cannot be read, or has a token in it (error: %v)", err)
		}
		s.cannot("somebody without a token reads in the space", env.WithToken(s.T, ""), s.read(), "forbidden")
	}},
	{"Take the token of a pod in a space", "", func(s *scene) {
		viewer := s.viewer()
		s.given(newPod(s.space, "pod", ""))
		s.can("the viewer reads pods in the space", viewer, get(core(s.space, "pods/pod")))
		s.cannot("the viewer runs a command in one", viewer, post(core(s.space, "pods/pod/exec?command=id&container=ctr&stdout=true"), ""), byRBAC)
		s.cannot("the viewer reads Secrets", viewer, get(core(s.space, "secrets")), byRBAC)
		s.cannot("the viewer gets a token", viewer, post(core(s.space, "serviceaccounts/space/token"), framework.TokenBody("", "", "")), byRBAC)
	}},
	{"Become a tenant whom the metadata name", "", func(s *scene) {
		viewer, as := s.viewer(), s.read()
		s.can("the viewer reads the Namespace of the space", viewer, get(namespacePath(s.space)))
		as.As = "system:serviceaccount:" + s.space + ":" + spaceapi.ServiceAccountName
		s.cannot("the viewer impersonates its ServiceAccount", viewer, as, "cannot impersonate")
		s.cannot("the viewer adds itself to the metadata", viewer, patch(namespacePath(s.space), set("annotations", spaceapi.KeysFor(storiesDriver).Nodes, "x")), byRBAC)
	}},
}
