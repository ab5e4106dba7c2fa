// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"path"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// claimBody is the body of a claim for one device of a class, with configs in JSON.
func claimBody(class string, configs ...string) string {
	return fmt.Sprintf(`{"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaim","metadata":{"name":"attempt"},
		"spec":{"devices":{"requests":[{"name":"space","exactly":{"deviceClassName":%q}}],"config":[%s]}}}`, class, strings.Join(configs, ","))
}

// parametersBody is the body of a claim with parameters for a driver.
func parametersBody(driver, kind, fields string) string {
	return claimBody(spaceapi.DefaultDriverName, fmt.Sprintf(`{"opaque":{"driver":%q,"parameters":{"apiVersion":%q,"kind":%q%s}}}`,
		driver, spaceapi.APIVersion, kind, fields))
}

// author has the ClusterRole admin in a namespace, and may change the namespace itself, as in clusters
// where users create namespaces.
func (s *fixture) author(t *actor) {
	env.Kubectl(t, "create", "serviceaccount", "author", "-n", s.ns)
	env.Kubectl(t, "create", "rolebinding", "author", "-n", s.ns, "--clusterrole=admin", "--serviceaccount="+s.ns+":author")
	env.Kubectl(t, "create", "role", "owner", "-n", s.ns, "--verb=patch", "--resource=namespaces")
	env.Kubectl(t, "create", "rolebinding", "owner", "-n", s.ns, "--role=owner", "--serviceaccount="+s.ns+":author")
	author := env.As(t, s.ns, "author")
	own := framework.NamespacePath(s.ns)
	for _, c := range []call{patch(own, touched), post(claims(s.ns, ""), claimBody(spaceapi.DefaultDriverName))} {
		framework.AwaitAllowed(t, c.String(), c.By(author))
	}

	const key, unreserved = spaceapi.DefaultDriverName + "/", `{"status":{"reservedFor":null}}`
	metadata := func(kind string) denial {
		return always(policy("space-metadata"), "namespace "+kind+" with prefix "+key)
	}
	podUsing := func(claim string) call {
		return post(core(s.ns, "pods"), podWith(`"resourceClaims":[{"name":"others","resourceClaimName":"`+claim+`"}],`, ""))
	}
	// The policy ignores parameters of other drivers.
	parameter := func(what, kind, fields, words string) attempt {
		return attempt{what: what, call: post(claims(s.ns, ""), parametersBody(spaceapi.DefaultDriverName, kind, fields)),
			by: always(policy("parameters"), words), instead: post(claims(s.ns, ""), parametersBody("another.example.com", kind, fields))}
	}
	asAdmin := post(claims(s.ns, ""), strings.Replace(claimBody(spaceapi.DefaultDriverName), `"exactly":{`, `"exactly":{"adminAccess":true,`, 1))
	t.testDenied(author, []attempt{
		{what: "Read objects in the space of a claim without its token", call: get(core(s.mine.Namespace, "secrets")), instead: get(core(s.ns, "secrets"))},
		{what: "Mark a namespace as a space", call: patch(own, `{"metadata":{"labels":{"`+key+`claim-uid":"x"}}}`), by: metadata("labels"),
			instead: patch(own, `{"metadata":{"labels":{"team":"x"}}}`)},
		{what: "Add a node to the metadata of a space", call: patch(own, `{"metadata":{"annotations":{"`+key+`nodes":"`+env.Node(0)+`=x"}}}`), by: metadata("annotations"), instead: patch(own, touched)},
		{what: "Write the status of a claim", call: patch(claims(s.ns, "mine/status"), unreserved), instead: patch(claims(s.ns, "mine"), touched)},
		{what: "Use a claim of another namespace", call: podUsing(s.elsewhere + "/others"), by: always("spec.resourceClaims[0].resourceClaimName: Invalid value"),
			instead: podUsing("others")},
		{what: "Reserve a claim of another user for a pod", call: patch(claims(s.elsewhere, "others/status"), unreserved)},
		{what: "Request `adminAccess`", call: asAdmin, by: always("resource.kubernetes.io/admin-access: true")},
		parameter("Set `network.mode: Open`", spaceapi.SpaceClaimConfigKind, `,"network":{"mode":"Open"}`, "network.mode"),
		parameter("Request copies of Secrets of other users", spaceapi.SpaceClaimConfigKind, `,"copyFrom":{"namespace":"kube-system","secrets":[{"name":"x"}]}`, "copyFrom"),
		parameter("Request cluster-wide roles", spaceapi.SpaceClaimConfigKind, `,"clusterWideRoles":["cluster-admin"]`, "clusterWideRoles"),
		parameter("Set parameters of kind SpaceClassConfig in a claim", spaceapi.SpaceClassConfigKind, `,"clusterRoles":["cluster-admin"]`, "must be a SpaceClaimConfig"),
	})
	s.testInvalidParameters(t)
	t.testRow("Write files outside the claim's directory with an annotation (path traversal)", s.testMounts)
}

// testInvalidParameters creates claims with parameters that only the controller rejects, after the
// claims are allocated.
func (s *fixture) testInvalidParameters(t *actor) {
	createClass(t.T, classOf("threats", spaceapi.DefaultDriverName,
		`,"resourceQuota":{"hard":{"pods":"5"}},"maxLifetime":"1h","clusterRoles":["view"],"allowedClusterRoles":["edit"],"podSecurity":{"enforce":"restricted"}`))
	attempts := []struct{ what, fields, words string }{
		{what: "Mount files over an image's programs", fields: `,"mountPath":"/usr/bin"`, words: "mountPath: Invalid value"},
		{what: "Mount files over a pod's own token", fields: `,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"`, words: "mountPath: Invalid value"},
		{what: "Mount files at a path that contains `..`", fields: `,"mountPath":"/home/../etc"`, words: "mountPath: Invalid value"},
		{what: "Set an unrelated environment variable with `envPrefix`", fields: `,"envPrefix":"PATH=/tmp:"`, words: "envPrefix: Invalid value"},
		{what: "Set an unrelated environment variable with a key of `env`", fields: `,"env":{"a=b\nPATH":"/tmp"}`, words: "env: Invalid value"},
		{what: "Set the Pod Security Standard with a label", fields: `,"labels":{"pod-security.kubernetes.io/enforce":"privileged"}`, words: "labels[pod-security.kubernetes.io/enforce]: Forbidden"},
		{what: "Set the metadata of a space with a label", fields: `,"labels":{"space.resource.example.com/claim-uid":"x"}`, words: "labels[space.resource.example.com/claim-uid]: Forbidden"},
		{what: "Request a role that the class does not allow", fields: `,"clusterRoles":["cluster-admin"]`, words: "clusterRoles[0]: Invalid value"},
		{what: "Set a label that the class does not allow", fields: `,"labels":{"team":"x"}`, words: "labels[team]: Forbidden"},
		{what: "Request a less strict Pod Security Standard", fields: `,"podSecurity":{"enforce":"baseline"}`, words: "the class allows restricted"},
		{what: "Request a larger quota", fields: `,"resourceQuota":{"hard":{"pods":"6"}}`, words: "resourceQuota.hard[pods]: Invalid value"},
		{what: "Request a longer lifetime", fields: `,"maxLifetime":"2h"`, words: "maxLifetime: Invalid value"},
	}
	var names []string
	for i, a := range attempts {
		names = append(names, fmt.Sprintf("invalid-%d", i))
		env.CreateClaim(t, s.ns, withClaimConfig(claimOf(names[i], "threats"), a.fields))
	}
	env.CreateClaim(t, s.ns, withClaimConfig(claimOf("allowed", "threats"), `,"clusterRoles":["edit"],"resourceQuota":{"hard":{"pods":"5"}},"maxLifetime":"1h"`))
	env.StartPod(t, s.ns, framework.NewPod("invalid", append(names, "allowed")...))
	for i, a := range attempts {
		t.testRow(a.what, func(t *testing.T) {
			claim := framework.Await(t, framework.Claim(env.Client, s.ns, names[i]), framework.NotReadyBecause(spaceapi.ReasonInvalidParameters, a.words))
			env.CheckNoSpaceOf(t, claim.UID)
		})
	}
	// The class allows these parameters.
	framework.Await(t, framework.Claim(env.Client, s.ns, "allowed"), framework.SpacesReady(1))
	env.DeletePod(t, s.ns, "invalid")
	framework.Await(t, framework.Claim(env.Client, s.ns, "allowed"), framework.Deallocated())
}

// testMounts checks the mounts in pod mine. An annotation of its claim contains "../".
func (s *fixture) testMounts(t *testing.T) {
	want := sets.New("/etc/mine", path.Dir(s.mine.Kubeconfig))
	mounts := sets.New(strings.Fields(env.Exec(t, s.ns, "mine", "awk", "{print $2}", "/proc/mounts"))...)
	if !mounts.IsSuperset(want) {
		t.Errorf("the pod has mounts at %v, want at least %v", mounts, want)
	}
	for at := range mounts.Difference(want.Insert("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")) {
		if strings.HasPrefix(at, "/etc") {
			t.Errorf("the pod has a mount at %s", at)
		}
	}
}
