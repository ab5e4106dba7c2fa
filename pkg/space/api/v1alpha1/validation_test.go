// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// entries returns a map with one entry more than the maximum.
func entries(value string) string {
	var out []string
	for i := range 65 {
		out = append(out, fmt.Sprintf(`"k%d":%s`, i, value))
	}
	return "{" + strings.Join(out, ",") + "}"
}

func TestValidate_rejectsInvalidFieldsOfBoth(t *testing.T) {
	for fields, want := range map[string]string{
		`"labels":{"a b":"c"}`:                                `labels: Invalid value: "a b"`,
		`"labels":{"a/b/c":"d"}`:                              `labels: Invalid value: "a/b/c"`,
		`"labels":{"a":"b c"}`:                                `labels[a]: Invalid value: "b c"`,
		`"labels":{"a":"` + strings.Repeat("v", 64) + `"}`:    `labels[a]: Invalid value`,
		`"labels":` + entries(`"v"`):                          `labels: Too many: 65: must have at most 64 items`,
		`"clusterRoles":["a/b"]`:                              `clusterRoles[0]: Invalid value: "a/b"`,
		`"clusterRoles":[".."]`:                               `clusterRoles[0]: Invalid value: ".."`,
		`"clusterRoles":["` + strings.Repeat("r", 254) + `"]`: `clusterRoles[0]: Too long`,
		`"podSecurity":{"enforce":"Restricted"}`:              `podSecurity.enforce: Unsupported value: "Restricted": supported values: "privileged", "baseline", "restricted"`,
		`"podSecurity":{"audit":"all"}`:                       `podSecurity.audit: Unsupported value: "all"`,
		`"podSecurity":{"warn":"none"}`:                       `podSecurity.warn: Unsupported value: "none"`,
		`"maxLifetime":"-1s"`:                                 `maxLifetime: Invalid value: "-1s": must be greater than zero`,
		`"maxLifetime":"0s"`:                                  `maxLifetime: Invalid value: "0s": must be greater than zero`,
		`"resourceQuota":{"hard":` + entries(`"1"`) + `}`:     `resourceQuota.hard: Too many: 65`,
		`"env":{"a-b":"c"}`:                                   `env: Invalid value: "a-b"`,
		`"env":{"a=b":"c"}`:                                   `env: Invalid value: "a=b"`,
		`"env":{"":"c"}`:                                      `env: Invalid value: ""`,
		`"env":{"a\n":"c"}`:                                   `env: Invalid value: "a\n"`,
		`"env":{"ä":"c"}`:                                     `env: Invalid value: "ä"`,
		`"env":{"` + strings.Repeat("k", 64) + `":"c"}`:       `env: Invalid value`,
		`"env":{"a":"b\u0000c"}`:                              `env[a]: Invalid value: "b\x00c": must not contain NUL`,
		`"env":` + entries(`"v"`):                             `env: Too many: 65`,
	} {
		t.Run(fields, func(t *testing.T) {
			wantErrors(t, decodeClass(object(spaceapi.SpaceClassConfigKind, fields)), want)
			wantErrors(t, decodeClaim(object(spaceapi.SpaceClaimConfigKind, fields)), want)
		})
	}
}

func TestValidateClass_rejectsInvalidFields(t *testing.T) {
	for fields, want := range map[string]string{
		`"namespacePrefix":"CI-"`:                             `namespacePrefix: Invalid value: "CI-"`,
		`"namespacePrefix":"-ci-"`:                            `namespacePrefix: Invalid value: "-ci-"`,
		`"namespacePrefix":"ci."`:                             `namespacePrefix: Invalid value: "ci."`,
		`"namespacePrefix":"` + strings.Repeat("p", 54) + `"`: `namespacePrefix: Too long: may not be more than 53 bytes`,

		`"labels":{"space.resource.example.com/claim-uid":"x"}`:        `labels[space.resource.example.com/claim-uid]: Forbidden`,
		`"labels":{"a.space.resource.example.com/b":"x"}`:              `labels[a.space.resource.example.com/b]: Forbidden`,
		`"labels":{"pod-security.kubernetes.io/enforce":"privileged"}`: `labels[pod-security.kubernetes.io/enforce]: Forbidden: Pod Security Standards are set by podSecurity`,
		`"labels":{"kubernetes.io/metadata.name":"kube-system"}`:       `labels[kubernetes.io/metadata.name]: Forbidden`,
		`"annotations":{"space.resource.example.com/retain":"9999h"}`:  `annotations[space.resource.example.com/retain]: Forbidden`,
		`"annotations":{"SPACE.resource.example.com/retain":"9999h"}`:  `annotations[SPACE.resource.example.com/retain]: Forbidden`,
		`"annotations":{"a b":""}`:                                     `annotations: Invalid value: "a b"`,
		`"annotations":` + entries(`""`):                               `annotations: Too many: 65`,
		`"inheritLabels":["a","a b"]`:                                  `inheritLabels[1]: Invalid value: "a b"`,
		`"inheritLabels":["pod-security.kubernetes.io/enforce"]`:       `inheritLabels[0]: Forbidden`,
		`"inheritLabels":["space.resource.example.com/claim-uid"]`:     `inheritLabels[0]: Forbidden`,
		`"allowedLabels":["a","a b"]`:                                  `allowedLabels[1]: Invalid value: "a b"`,
		`"allowedLabels":["team-*"]`:                                   `allowedLabels[0]: Invalid value: "team-*"`,
		`"allowedLabels":["*/team"]`:                                   `allowedLabels[0]: Invalid value: "*/team"`,
		`"allowedLabels":["a","a"]`:                                    `allowedLabels[1]: Duplicate value: "a"`,
		`"allowedClusterRoles":["view",""]`:                            `allowedClusterRoles[1]: Required value`,
		`"allowedClusterRoles":["view","edit","view"]`:                 `allowedClusterRoles[2]: Duplicate value: "view"`,
		`"clusterWideRoles":["a%b"]`:                                   `clusterWideRoles[0]: Invalid value: "a%b"`,
		`"clusterWideRoles":["` + strings.Repeat("r", 254) + `"]`:      `clusterWideRoles[0]: Too long`,
		`"network":{"mode":"Closed"}`:                                  `network.mode: Unsupported value: "Closed": supported values: "Isolated", "Open"`,
		`"clusterRoles":["a","b","c","d","e","f","g","h","i"]`:         `clusterRoles: Too many: 9: must have at most 8 items`,
		`"podSecurity":{"enforceVersion":"1.34"}`:                      `podSecurity.enforceVersion: Invalid value: "1.34"`,
		`"retention":{}`: `retention.period: Invalid value: "0s"`,
		`"retention":{"period":"1h","when":"Never"}`:                              `retention.when: Unsupported value: "Never": supported values: "Always", "OnFailure"`,
		`"maxExtension":"0s"`:                                                     `maxExtension: Invalid value: "0s": must be greater than zero`,
		`"tokenLifetime":"9m59s"`:                                                 `tokenLifetime: Invalid value: "9m59s": must be between 10m and 1193046h`,
		`"maxTerminationGracePeriod":"0s"`:                                        `maxTerminationGracePeriod: Invalid value: "0s": must be greater than zero`,
		`"tokenLifetime":"-1h"`:                                                   `tokenLifetime: Invalid value: "-1h0m0s"`,
		`"tokenLifetime":"1999999h"`:                                              `tokenLifetime: Invalid value: "1999999h0m0s"`,
		`"retention":{"period":"0s"}`:                                             `retention.period: Invalid value: "0s": must be greater than zero`,
		`"copyFrom":{"secrets":[{"name":"a"}]}`:                                   `copyFrom.namespace: Required value`,
		`"copyFrom":{"namespace":"a.b","secrets":[{"name":"a"}]}`:                 `copyFrom.namespace: Invalid value: "a.b"`,
		`"copyFrom":{"namespace":"a","secrets":[]}`:                               `copyFrom: Required value: must have secrets, configMaps or imagePullSecrets`,
		`"copyFrom":{"namespace":"a","secrets":[{"name":"b"},{"name":"B"}]}`:      `copyFrom.secrets[1].name: Invalid value: "B"`,
		`"copyFrom":{"namespace":"a","imagePullSecrets":[{"name":"../b"}]}`:       `copyFrom.imagePullSecrets[0].name: Invalid value: "../b"`,
		`"copyFrom":{"namespace":"a","configMaps":[{"name":"b"},{"name":"b"}]}`:   `copyFrom.configMaps[1]: Duplicate value: "b"`,
		`"copyFrom":{"namespace":"a","configMaps":[{"name":"kube-root-ca.crt"}]}`: `copyFrom.configMaps[0].name: Forbidden`,
	} {
		t.Run(fields, func(t *testing.T) { wantErrors(t, decodeClass(object(spaceapi.SpaceClassConfigKind, fields)), want) })
	}
}

func TestValidateClaim_rejectsInvalidFields(t *testing.T) {
	cases := map[string]string{
		`"network":{"mode":"Open"}`: `network.mode: Unsupported value: "Open": supported values: "Isolated"`,
	}
	for _, key := range []string{
		"kubernetes.io/metadata.name", "pod-security.kubernetes.io/enforce", "app.kubernetes.io/name", "k8s.io/a", "node.k8s.io/a",
		"space.resource.example.com/claim-uid", "a.space.resource.example.com/b",
	} {
		cases[fmt.Sprintf(`"labels":{%q:"a"}`, key)] = "labels[" + key + "]: Forbidden: claims cannot set labels of "
	}
	for _, prefix := range []string{"test", "1ST", "_A", "A-B", "A ", "Ä", "A=B", "A\n", strings.Repeat("V", 64), "KUBERNETES", "KUBERNETES_SERVICE", "LD", "LD_LIBRARY", "POD"} {
		cases[fmt.Sprintf(`"envPrefix":%q`, prefix)] = fmt.Sprintf("envPrefix: Invalid value: %q", prefix)
	}
	for fields, want := range cases {
		t.Run(fields, func(t *testing.T) { wantErrors(t, decodeClaim(object(spaceapi.SpaceClaimConfigKind, fields)), want) })
	}
}

func TestValidateClaim_rejectsReservedMountPaths(t *testing.T) {
	mountedAt := func(path string) string {
		quoted, err := json.Marshal(path)
		if err != nil {
			t.Fatal(err)
		}
		return object(spaceapi.SpaceClaimConfigKind, `"mountPath":`+string(quoted))
	}
	for _, path := range []string{"creds", "./creds", "/creds/", "//creds", "/a/../etc", "/a/./b", "/..", "/a\nb", "/a\x00b"} {
		wantErrors(t, decodeClaim(mountedAt(path)), fmt.Sprintf("mountPath: Invalid value: %q: must ", path))
	}
	wantErrors(t, decodeClaim(mountedAt("/"+strings.Repeat("p", 253))), "mountPath: Too long")
	for _, path := range []string{
		"/", "/proc", "/proc/1", "/sys", "/sys/fs/cgroup", "/dev", "/dev/shm", "/bin", "/sbin/x", "/lib", "/lib64", "/boot", "/usr", "/usr/bin", "/usr/lib/x",
		"/etc", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/passwd", "/etc/passwd/x", "/etc/ssl", "/etc/ssl/certs", "/etc/nginx", "/var", "/run", "/var/run", "/tmp", "/var/lib",
		"/var/run/claim-artifacts", "/var/run/claim-artifacts/x", "/run/claim-artifacts",
		"/var/run/secrets", "/var/run/secrets/kubernetes.io", "/var/run/secrets/kubernetes.io/serviceaccount", "/run/secrets/kubernetes.io/serviceaccount",
	} {
		wantErrors(t, decodeClaim(mountedAt(path)), fmt.Sprintf("mountPath: Invalid value: %q: must not be a system directory: ", path))
	}
	for _, path := range []string{
		"/creds", "/etc/creds", "/etc/nginx/space", "/etc/ssl/space", "/var/lib/app/space", "/home/user/.kube", "/usr/share/app", "/usr/local/etc", "/procedures", "/var/run/secrets/space", "/tmp/space", "/with space", "/...",
	} {
		wantErrors(t, decodeClaim(mountedAt(path)))
	}
}

func TestValidate_acceptsValidFields(t *testing.T) {
	for _, fields := range []string{
		``,
		`"labels":null,"podSecurity":{},"maxLifetime":null,"clusterRoles":[],"limitRange":{"limits":[]},"allowNestedSpaces":null`,
		`"namespacePrefix":"` + strings.Repeat("p", 53) + `"`,
		`"labels":{"kubernetes.io/a":"","example.com/b":"c","notspace.resource.example.com/x":"y"},"annotations":{"a":"anything\nat all"}`,
		`"clusterRoles":["system:aggregate-to-view"],"clusterWideRoles":["a:b"]`,
		`"allowedLabels":["*","a","a.example/b","a.example/*"]`,
	} {
		wantErrors(t, decodeClass(object(spaceapi.SpaceClassConfigKind, fields)))
	}
	for _, fields := range []string{``, `"labels":{},"mountPath":""`, `"envPrefix":"KUBERNETESX"`, `"envPrefix":"LDAP"`, `"envPrefix":"POD_A"`, `"labels":{"team":"a","resource.example.com/x":"y","notk8s.io/z":""}`} {
		wantErrors(t, decodeClaim(object(spaceapi.SpaceClaimConfigKind, fields)))
	}
}
