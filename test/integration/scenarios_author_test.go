// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// withConfigs is the body of a claim with several parameters for the driver, each given as JSON fields.
func withConfigs(name string, fields ...string) string {
	claim := framework.OfClass(scenariosDriver, framework.NewClaim(name))
	for i, f := range fields {
		framework.WithParameters(claim, framework.ConfigJSON(spaceapi.SpaceClaimConfigKind, f))
		claim.Spec.Devices.Config[i].Opaque.Driver = scenariosDriver
	}
	return framework.JSON(claim)
}

var largeObjects = []scenario{
	{"Create more claims than the quota of its namespace allows", "", func(s *fixture) {
		author, claims := s.author(), claimPath(s.ns, "")
		s.asAdmin(post(core(s.ns, "resourcequotas"), `{"metadata":{"name":"spaces"},"spec":{"hard":{"`+scenariosDriver+`.deviceclass.resource.k8s.io/devices":"2"}}}`))
		two := framework.NewClaim("second", "a", "b")
		for i := range two.Spec.Devices.Requests {
			two.Spec.Devices.Requests[i].Exactly.DeviceClassName = scenariosDriver
		}
		// Quotas take effect when Kubernetes has counted existing objects.
		s.awaitDenied("the author creates a claim with two more spaces", author, post(claims, framework.JSON(two)), "exceeded quota: spaces")
		s.allow("the author creates a claim with one space", author, post(claims, withConfigs("second")))
		s.deny("the author creates a third claim", author, post(claims, withConfigs("third")), "exceeded quota: spaces")
		s.allow("the author deletes a claim", author, remove(claimPath(s.ns, "second")))
		s.allow("the author creates a third claim after that", author, post(claims, withConfigs("third")))
		s.deny("the author creates a fourth claim", author, post(claims, withConfigs("second")), "exceeded quota: spaces")
	}},
	{"Fill the controller's memory with the largest claims", "", func(s *fixture) {
		author, room := s.author(), resourceapi.DeviceConfigMaxSize*(framework.LargestConfig+200)
		for i := range 3 {
			name := fmt.Sprintf("largest-%d", i)
			s.allow("the author creates the largest claim", author, post(claimPath(s.ns, ""), framework.JSON(framework.LargestClaim(name, room))))
			allocateTo(s.T, scenariosDriver, s.ns, name, func(c *resourceapi.ResourceClaim) {
				c.Status.Allocation.Devices.Results = c.Status.Allocation.Devices.Results[:1]
			})
		}
		readySpace(s.T, s.ns, "largest-2")
		s.deallocate()
		s.awaitDenied("the token of another space is revoked in time", s.tenant, s.read())
	}},
	{"Hide an invalid parameter behind a valid one", "", func(s *fixture) {
		author := s.author()
		s.allow("the author creates a claim with two parameters", author, post(claimPath(s.ns, ""), withConfigs("two", `"podSecurity":{"enforce":"restricted"}`, `"podSecurity":{"enforce":"privileged"}`)))
		allocateTo(s.T, scenariosDriver, s.ns, "two", framework.WithClassConfig(""))
		claim := awaitLimit(s, framework.Claim(env.Client, s.ns, "two"), framework.NotReadyBecause(spaceapi.ReasonInvalidParameters, "the class allows baseline"))
		s.noSpaceOf(claim.UID)
	}},
	{"Change parameters after they were checked", "", func(s *fixture) {
		author, changed := s.author(), `{"spec":{"devices":{"config":[{"opaque":{"driver":"`+scenariosDriver+`","parameters":{"kind":"SpaceClassConfig"}}}]}}}`
		s.allow("the author creates a claim", author, post(claimPath(s.ns, ""), withConfigs("checked", `"podSecurity":{"enforce":"restricted"}`)))
		s.deny("the author changes its parameters to a SpaceClassConfig", author, patch(claimPath(s.ns, "checked"), changed), "field is immutable")
	}},
	{"Extend the lifetime of its space beyond its class", `"maxLifetime":"1h","maxExtension":"2h"`, func(s *fixture) {
		author, key := s.author(), spaceapi.KeysFor(scenariosDriver).Extension
		limit := func(extension string, remaining time.Duration) {
			s.allow("the author annotates the claim with "+extension, author, patch(claimPath(s.ns, "claim"), set("annotations", key, extension)))
			awaitLimit(s, framework.Claim(env.Client, s.ns, "claim"), extensibleBy(remaining))
		}
		limit("8760h", 0)
		limit("forever", 2*time.Hour)
	}},
	{"Delete an allocated claim without its finalizer", "", func(s *fixture) {
		author := s.author()
		s.allow("the author removes the finalizer", author, patch(claimPath(s.ns, "claim"), `{"metadata":{"finalizers":null}}`))
		s.allow("the author deletes the claim", author, remove(claimPath(s.ns, "claim")))
		s.awaitDenied("the token of its space reads", s.tenant, s.read())
		framework.AwaitDeleted[*corev1.Namespace](s, framework.Namespace(env.Client, s.space))
	}},
	{"Find the space of its claim, and access it", "", func(s *fixture) {
		author := s.author()
		s.allow("the author reads the status of the claim", author, get(claimPath(s.ns, "claim")))
		s.deny("the author reads Secrets in the space", author, get(core(s.space, "secrets")), byRBAC)
		s.deny("the author gets a token of the space", author, post(core(s.space, "serviceaccounts/space/token"), framework.TokenBody("", "", "")), byRBAC)
	}},
	{"Mark its own namespace as a space in several requests", "", func(s *fixture) {
		author, own := s.author(), namespacePath(s.ns)
		s.asAdmin(post(framework.RBACPath(s.ns, "roles"), `{"metadata":{"name":"owner"},"rules":[{"apiGroups":[""],"resources":["namespaces","namespaces/status"],"verbs":["patch"]}]}`),
			post(framework.RBACPath(s.ns, "rolebindings"), strings.Replace(framework.BindingBody("RoleBinding", "owner", "owner", s.ns, "author"), `"ClusterRole"`, `"Role"`, 1)))
		s.allow("the author annotates the namespace", author, patch(own, set("annotations", "example.com/nodes", "x")))
		mark := set("labels", spaceapi.KeysFor(scenariosDriver).ClaimUID, "x")
		s.deny("the author marks it", author, patch(own, mark), byPolicy("space-metadata"))
		s.deny("the author marks it through its status", author, patch(own+"/status", mark), byPolicy("space-metadata"))
	}},
	{"Add a second pod to an exclusive claim", `"exclusive":true`, func(s *fixture) {
		author := s.author()
		s.allow("the author creates a pod", author, newPod(s.ns, "first", ""))
		s.allow("the author creates a second one", author, newPod(s.ns, "second", ""))
		claim, err := env.Client.ResourceV1().ResourceClaims(s.ns).Get(s.Context(), "claim", metav1.GetOptions{})
		if err != nil {
			s.Fatal(err)
		}
		for _, pod := range []string{"first", "second"} {
			claim.Status.ReservedFor = append(claim.Status.ReservedFor, resourceapi.ResourceClaimConsumerReference{Resource: "pods", Name: pod, UID: types.UID(pod)})
		}
		reserve := framework.Put(claimPath(s.ns, "claim/status"), framework.JSON(claim))
		s.deny("the scheduler reserves the claim for both", env.Client, reserve, byPolicy("exclusive"))
	}},
}

var viewer = []scenario{
	{"Use the kubeconfig in the status of a claim", "", func(s *fixture) {
		viewer := s.viewer()
		s.allow("the viewer reads the claim", viewer, get(claimPath(s.ns, "claim")))
		claim, err := viewer.ResourceV1().ResourceClaims(s.ns).Get(s.Context(), "claim", metav1.GetOptions{})
		if err != nil || strings.Contains(framework.JSON(claim), "eyJ") {
			s.Errorf("the claim cannot be read, or has a token in it (error: %v)", err)
		}
		s.deny("an anonymous user reads in the space", env.WithToken(s.T, ""), s.read(), "forbidden")
	}},
	{"Get the token of a pod in a space", "", func(s *fixture) {
		viewer := s.viewer()
		s.asAdmin(newPod(s.space, "pod", ""))
		s.allow("the viewer reads pods in the space", viewer, get(core(s.space, "pods/pod")))
		s.deny("the viewer runs a command in one", viewer, post(core(s.space, "pods/pod/exec?command=id&container=ctr&stdout=true"), ""), byRBAC)
		s.deny("the viewer reads Secrets", viewer, get(core(s.space, "secrets")), byRBAC)
		s.deny("the viewer gets a token", viewer, post(core(s.space, "serviceaccounts/space/token"), framework.TokenBody("", "", "")), byRBAC)
	}},
	{"Impersonate the tenant of a space", "", func(s *fixture) {
		viewer, as := s.viewer(), s.read()
		s.allow("the viewer reads the Namespace of the space", viewer, get(namespacePath(s.space)))
		as.As = "system:serviceaccount:" + s.space + ":" + spaceapi.ServiceAccountName
		s.deny("the viewer impersonates its ServiceAccount", viewer, as, "cannot impersonate")
		s.deny("the viewer adds itself to the metadata", viewer, patch(namespacePath(s.space), set("annotations", spaceapi.KeysFor(scenariosDriver).Nodes, "x")), byRBAC)
	}},
}
