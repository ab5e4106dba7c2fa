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

// asks is the body of a claim with parameters for a driver.
func asks(driver, kind, fields string) string {
	return claimBody(spaceapi.DefaultDriverName, fmt.Sprintf(`{"opaque":{"driver":%q,"parameters":{"apiVersion":%q,"kind":%q%s}}}`,
		driver, spaceapi.APIVersion, kind, fields))
}

// author has the ClusterRole admin in a namespace, and may
// change the namespace itself, as in clusters where users create their own.
func (s *stage) author(t *testing.T) {
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
	// The same parameters for another driver are not looked at.
	parameter := func(what, kind, fields, words string) attempt {
		return attempt{what: what, call: post(claims(s.ns, ""), asks(spaceapi.DefaultDriverName, kind, fields)),
			by: always(policy("parameters"), words), instead: post(claims(s.ns, ""), asks("another.example.com", kind, fields))}
	}
	asAdmin := post(claims(s.ns, ""), strings.Replace(claimBody(spaceapi.DefaultDriverName), `"exactly":{`, `"exactly":{"adminAccess":true,`, 1))
	refusedTo(t, author, []attempt{
		{what: "read what is in the space of a claim without its token", call: get(core(s.mine.Namespace, "secrets")), instead: get(core(s.ns, "secrets"))},
		{what: "mark a namespace as a space", call: patch(own, `{"metadata":{"labels":{"`+key+`claim-uid":"x"}}}`), by: metadata("labels"),
			instead: patch(own, `{"metadata":{"labels":{"team":"x"}}}`)},
		{what: "record a node on a namespace", call: patch(own, `{"metadata":{"annotations":{"`+key+`nodes":"`+env.Node(0)+`=x"}}}`), by: metadata("annotations"), instead: patch(own, touched)},
		{what: "write the status of a claim", call: patch(claims(s.ns, "mine/status"), unreserved), instead: patch(claims(s.ns, "mine"), touched)},
		{what: "use a claim of another namespace", call: podUsing(s.elsewhere + "/others"), by: always("spec.resourceClaims[0].resourceClaimName: Invalid value"),
			instead: podUsing("others")},
		{what: "reserve somebody else's claim for a pod", call: patch(claims(s.elsewhere, "others/status"), unreserved)},
		{what: "ask for access as an administrator", call: asAdmin, by: always("resource.kubernetes.io/admin-access: true")},
		parameter("open the network of a space", spaceapi.SpaceClaimConfigKind, `,"network":{"mode":"Open"}`, "network.mode"),
		parameter("ask for copies of others' Secrets", spaceapi.SpaceClaimConfigKind, `,"copyFrom":{"namespace":"kube-system","secrets":[{"name":"x"}]}`, "copyFrom"),
		parameter("ask for rights in the whole cluster", spaceapi.SpaceClaimConfigKind, `,"clusterWideRoles":["cluster-admin"]`, "clusterWideRoles"),
		parameter("speak as a class", spaceapi.SpaceClassConfigKind, `,"clusterRoles":["cluster-admin"]`, "must be a SpaceClaimConfig"),
	})
	s.parametersRefusedLater(t)
	s.annotationLeadsNowhere(t)
}

// parametersRefusedLater are invalid, or not allowed by the class: the driver says
// so when it has been chosen for the claim.
func (s *stage) parametersRefusedLater(t *testing.T) {
	createClass(t, classOf("threats", spaceapi.DefaultDriverName,
		`,"resourceQuota":{"hard":{"pods":"5"}},"maxLifetime":"1h","clusterRoles":["view"],"allowedClusterRoles":["edit"],"podSecurity":{"enforce":"restricted"}`))
	attempts := []struct{ what, fields, words string }{
		{what: "mount files over an image's programs", fields: `,"mountPath":"/usr/bin"`, words: "mountPath: Invalid value"},
		{what: "mount files over a pod's own token", fields: `,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"`, words: "mountPath: Invalid value"},
		{what: "mount files by a way through other directories", fields: `,"mountPath":"/home/../etc"`, words: "mountPath: Invalid value"},
		{what: "set another variable by the prefix", fields: `,"envPrefix":"PATH=/tmp:"`, words: "envPrefix: Invalid value"},
		{what: "set another variable by a parameter's name", fields: `,"env":{"a=b\nPATH":"/tmp"}`, words: "env: Invalid value"},
		{what: "set Pod Security by a label", fields: `,"labels":{"pod-security.kubernetes.io/enforce":"privileged"}`, words: "labels[pod-security.kubernetes.io/enforce]: Forbidden"},
		{what: "write the record of a space by a label", fields: `,"labels":{"space.resource.example.com/claim-uid":"x"}`, words: "labels[space.resource.example.com/claim-uid]: Forbidden"},
		{what: "take a role that the class does not allow", fields: `,"clusterRoles":["cluster-admin"]`, words: "clusterRoles[0]: Invalid value"},
		{what: "take a label that the class does not allow", fields: `,"labels":{"team":"x"}`, words: "labels[team]: Forbidden"},
		{what: "take a laxer Pod Security Standard", fields: `,"podSecurity":{"enforce":"baseline"}`, words: "the class allows restricted"},
		{what: "take a larger quota", fields: `,"resourceQuota":{"hard":{"pods":"6"}}`, words: "resourceQuota.hard[pods]: Invalid value"},
		{what: "take a longer life", fields: `,"maxLifetime":"2h"`, words: "maxLifetime: Invalid value"},
	}
	var names []string
	for i, a := range attempts {
		names = append(names, fmt.Sprintf("refused-%d", i))
		env.CreateClaim(t, s.ns, choosing(claimOf(names[i], "threats"), a.fields))
	}
	env.CreateClaim(t, s.ns, choosing(claimOf("allowed", "threats"), `,"clusterRoles":["edit"],"resourceQuota":{"hard":{"pods":"5"}},"maxLifetime":"1h"`))
	env.StartPod(t, s.ns, framework.NewPod("refused", append(names, "allowed")...))
	for i, a := range attempts {
		t.Run(a.what, func(t *testing.T) {
			claim := framework.Await(t, framework.Claim(env.Client, s.ns, names[i]), framework.NotReadyBecause(spaceapi.ReasonInvalidParameters, a.words))
			env.NoSpaceOf(t, claim.UID)
		})
	}
	// The same class gives what it allows.
	framework.Await(t, framework.Claim(env.Client, s.ns, "allowed"), framework.SpacesReady(1))
	env.DeletePod(t, s.ns, "refused")
	framework.Await(t, framework.Claim(env.Client, s.ns, "allowed"), framework.Deallocated())
}

// annotationLeadsNowhere looks where pod mine has the files of its claim, which bears
// an annotation that would be a directory's name, were it one.
func (s *stage) annotationLeadsNowhere(t *testing.T) {
	t.Run("lead files elsewhere by an annotation", func(t *testing.T) {
		usual := sets.New("/etc/mine", path.Dir(s.mine.Kubeconfig))
		mounts := sets.New(strings.Fields(env.Exec(t, s.ns, "mine", "awk", "{print $2}", "/proc/mounts"))...)
		if !mounts.IsSuperset(usual) {
			t.Errorf("the files are not at the usual places %v, but there are mounts at %v", usual, mounts)
		}
		for at := range mounts.Difference(usual.Insert("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")) {
			if strings.HasPrefix(at, "/etc") {
				t.Errorf("there is a mount at %s", at)
			}
		}
	})
}
