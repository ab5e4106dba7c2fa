// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package parameterstest

import (
	"fmt"
	"strings"
)

// claims are values that a claim cannot have, whatever its class says.
func claims() []Case {
	out := []Case{
		claim("an open network", `"network":"Open"`, `network: Unsupported value: "Open": supported values: "Isolated"`),
		claim("a long prefix for variables", fmt.Sprintf(`"variablePrefix":%q`, strings.Repeat("V", 64)), `variablePrefix: Invalid value`, "at most 63 characters"),
		claim("a quota of spaces by class", `"resourceQuota":{"space.deviceclass.resource.k8s.io/devices":"5"}`, `resourceQuota[space.deviceclass.resource.k8s.io/devices]: Forbidden`, "the class's to say"),
		claim("a quota of spaces by implicit resource", `"resourceQuota":{"requests.deviceclass.resource.kubernetes.io/space":"5"}`, `resourceQuota[requests.deviceclass.resource.kubernetes.io/space]: Forbidden`),
		claim("a quota of spaces by extended resource", `"resourceQuota":{"requests.space.resource.example.com/space":"5"}`, `resourceQuota[requests.space.resource.example.com/space]: Forbidden`),
	}
	for _, key := range []string{
		"kubernetes.io/metadata.name", "pod-security.kubernetes.io/enforce", "app.kubernetes.io/name", "k8s.io/a", "node.k8s.io/a",
		"space.resource.example.com/claim-uid", "a.space.resource.example.com/b",
	} {
		out = append(out, claim("a label of "+key, fmt.Sprintf(`"labels":{%q:"a"}`, key), "labels["+key+"]: Forbidden: keys of "))
	}
	for _, prefix := range []string{"test", "1ST", "_A", "A-B", "A ", "Ä", "A=B", "A\n"} {
		out = append(out, claim(fmt.Sprintf("variables with %q", prefix), fmt.Sprintf(`"variablePrefix":%q`, prefix),
			fmt.Sprintf(`variablePrefix: Invalid value: %q: must have capital letters, digits and underscores, with a letter first`, prefix)))
	}
	return out
}

func mountPaths() []Case {
	var out []Case
	for _, test := range []struct{ path, why string }{
		{"creds", "must be an absolute path"},
		{"./creds", "must be an absolute path"},
		{"/creds/", "must have no empty, . or .. parts"},
		{"//creds", "must have no empty, . or .. parts"},
		{"/a/../etc", "must have no empty, . or .. parts and no slash at the end"},
		{"/a/./b", "must have no empty, . or .. parts"},
		{"/..", "must have no empty, . or .. parts"},
		{"/a\nb", "must not contain control characters"},
		{"/a\x00b", "must not contain control characters"},
		{"/" + strings.Repeat("p", 253), "must have at most 253 characters"},
	} {
		shown := test.path
		if len(shown) > 100 {
			shown = shown[:100] + "…"
		}
		shown = strings.ReplaceAll(shown, "\x00", "\uFFFD")
		out = append(out, claim(fmt.Sprintf("mounted at %.20q", test.path), `"mountPath":`+quote(test.path), fmt.Sprintf("mountPath: Invalid value: %q: ", shown), test.why))
	}
	for _, path := range []string{
		"/", "/proc", "/proc/1", "/sys", "/sys/fs/cgroup", "/dev", "/dev/shm", "/bin", "/sbin/x", "/lib", "/lib64", "/boot", "/usr", "/usr/bin", "/usr/lib/x",
		"/etc", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/var", "/run", "/var/run", "/tmp", "/var/lib",
		"/var/run/claim-artifacts", "/var/run/claim-artifacts/x", "/run/claim-artifacts",
		"/var/run/secrets", "/var/run/secrets/kubernetes.io", "/var/run/secrets/kubernetes.io/serviceaccount", "/run/secrets/kubernetes.io/serviceaccount",
	} {
		out = append(out, claim("mounted at "+path, `"mountPath":`+quote(path), fmt.Sprintf("mountPath: Invalid value: %q: must not be a system directory: ", path)))
	}
	return out
}

// quote is as JSON wants it, for the few characters that occur here.
func quote(s string) string {
	return `"` + strings.NewReplacer("\n", `\n`, "\x00", `\u0000`).Replace(s) + `"`
}

// pairs are claims that ask for more than their class gives. The installation has
// the ClusterRole edit, the Pod Security Standard baseline and an open network.
func pairs() []Case {
	pair := func(name, class, claim string, words ...string) Case {
		return Case{Name: "both: " + name, Class: Class(class), Claim: Claim(claim),
			Words: append([]string{"the ResourceClaim has parameters for driver space.resource.example.com that its DeviceClass does not allow: "}, words...)}
	}
	return []Case{
		pair("a ClusterRole without a choice", ``, `"clusterRole":"admin"`, `clusterRole: Invalid value: "admin": the class allows no choice`),
		pair("the installation's ClusterRole, which the class does not name", `"allowedClusterRoles":["view"]`, `"clusterRole":"edit"`, `clusterRole: Invalid value: "edit": the class allows view`),
		pair("a ClusterRole that is not allowed", `"clusterRole":"edit","allowedClusterRoles":["view","view-more"]`, `"clusterRole":"cluster-admin"`, `clusterRole: Invalid value: "cluster-admin": the class allows edit, view, view-more`),
		pair("a ClusterRole for the whole cluster", `"clusterRole":"edit","clusterWideRoles":["crds"]`, `"clusterRole":"crds"`, `the class allows edit`),
		pair("a label of the class", `"labels":{"team":"a"}`, `"labels":{"team":"b"}`, `labels[team]: Invalid value: "b": the class sets "a"`),
		pair("a label of the class with its value", `"labels":{"team":"a"}`, `"labels":{"team":"a"}`, `labels[team]: Invalid value: "a": the class sets "a"`),
		pair("a label where none is allowed", `"labels":{"team":"a"}`, `"labels":{"branch":"b"}`, `labels[branch]: Forbidden: the class allows no labels`),
		pair("a label that is not allowed", `"allowedLabels":["team","example.com/*"]`, `"labels":{"example.com/a":"b","example.com.evil/c":"d","teams":"e"}`,
			`labels[example.com.evil/c]: Forbidden: the class allows team, example.com/*; labels[teams]: Forbidden: the class allows team, example.com/*`),
		{Name: "both: a label of Kubernetes where all are allowed", Class: Class(`"allowedLabels":["*","kubernetes.io/*"]`), Claim: Claim(`"labels":{"kubernetes.io/a":"b"}`),
			Words: []string{`labels[kubernetes.io/a]: Forbidden: keys of kubernetes.io and k8s.io are not a claim's to set`}},
		pair("a standard below the class's", `"podSecurity":{"enforce":"restricted"}`, `"podSecurity":{"enforce":"baseline"}`, `podSecurity.enforce: Invalid value: "baseline": the class allows restricted`),
		pair("a standard below the installation's", ``, `"podSecurity":{"enforce":"privileged"}`, `podSecurity.enforce: Invalid value: "privileged": the class allows baseline, restricted`),
		pair("a standard to audit below the class's", `"podSecurity":{"audit":"baseline"}`, `"podSecurity":{"audit":"privileged"}`, `podSecurity.audit: Invalid value: "privileged": the class allows baseline, restricted`),
		pair("a standard to warn about below the class's", `"podSecurity":{"warn":"restricted"}`, `"podSecurity":{"warn":"baseline"}`, `podSecurity.warn: Invalid value: "baseline": the class allows restricted`),
		pair("a larger quota", `"resourceQuota":{"cpu":"1"}`, `"resourceQuota":{"cpu":"1001m","pods":"5"}`, `resourceQuota[cpu]: Invalid value: "1001m": the class allows at most 1`),
		pair("a quota where nothing is allowed", `"resourceQuota":{"pods":"0"}`, `"resourceQuota":{"pods":"1"}`, `resourceQuota[pods]: Invalid value: "1": the class allows at most 0`),
		pair("a quota in other units", `"resourceQuota":{"memory":"1Gi"}`, `"resourceQuota":{"memory":"1100M"}`, `resourceQuota[memory]: Invalid value: "1100M": the class allows at most 1Gi`),
		pair("a longer life", `"maxLifetime":"8h"`, `"maxLifetime":"8h1s"`, `maxLifetime: Invalid value: "8h0m1s": the class allows at most 8h0m0s`),
		pair("several at once", `"maxLifetime":"8h","resourceQuota":{"pods":"1"}`, `"maxLifetime":"9h","resourceQuota":{"pods":"2"}`, `resourceQuota[pods]: `, `; maxLifetime: `),
	}
}
