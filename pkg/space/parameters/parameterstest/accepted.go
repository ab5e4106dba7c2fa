// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package parameterstest

import (
	"fmt"
	"strings"
)

// Accepted returns cases that are accepted, some just so.
func Accepted() []Case {
	out := []Case{
		{Name: "nothing at all"},
		{Name: "two that say nothing", Class: Class(""), Claim: Claim("")},
		{Name: "nothing, said in so many words", Class: Class(`"labels":null,"podSecurity":{},"maxLifetime":null,"clusterRole":"","limitRange":[],"nestedSpaces":null`), Claim: Claim(`"labels":{},"mountPath":""`)},
		{Name: "a long prefix", Class: Class(fmt.Sprintf(`"namespacePrefix":%q`, strings.Repeat("p", 53)))},
		{Name: "labels of others", Class: Class(`"labels":{"kubernetes.io/a":"","example.com/b":"c","notspace.resource.example.com/x":"y"},"annotations":{"a":"anything\nat all"}`)},
		{Name: "labels of a claim", Class: Class(`"allowedLabels":["team","notk8s.io/*","resource.example.com/x"]`), Claim: Claim(`"labels":{"team":"a","resource.example.com/x":"y","notk8s.io/z":""}`)},
		{Name: "names with colons", Class: Class(`"clusterRole":"system:aggregate-to-view","clusterWideRoles":["a:b"]`)},
		{Name: "each field of a class", Class: Class(`"namespacePrefix":"ci-","labels":{"a":"b"},"annotations":{"c":"d"},"clusterRole":"edit","allowedLabels":["*","a","a.example/b","a.example/*"],"allowedClusterRoles":["view"],
			"clusterWideRoles":["crds"],"podSecurity":{"enforce":"privileged","audit":"baseline","warn":"restricted"},"resourceQuota":{"requests.cpu":"4","pods":10},"nestedSpaces":true,
			"limitRange":[{"type":"Container","default":{"cpu":"1"}}],"network":"Isolated","tokenLifetime":"10m","maxLifetime":"8h","retain":"30m",
			"copy":{"namespace":"a","secrets":["b"],"configMaps":["c"],"imagePullSecrets":["b"]},"adminAccess":true,"exclusive":true,"parameters":{"e":"f"}`)},
		{Name: "each field of a claim", Class: Class(`"allowedClusterRoles":["view"],"allowedLabels":["*"]`), Claim: Claim(`"clusterRole":"view","labels":{"a":"b"},"podSecurity":{"enforce":"restricted","audit":"privileged"},
			"resourceQuota":{"pods":"0"},"network":"Isolated","maxLifetime":"1ns","variablePrefix":"A_1","mountPath":"/creds","inCluster":true,"kubeconfigEnv":true,"exclusive":true,"parameters":{"_":""}`)},
		{Name: "quotas of many kinds", Class: Class(`"resourceQuota":{"limits.memory":"1.5Gi","requests.nvidia.com/gpu":"4","count/deployments.apps":"3","hugepages-2Mi":"4Mi","requests.hugepages-1Gi":"1Gi",
			"gold.storageclass.storage.k8s.io/requests.storage":"10Gi","services.nodeports":0,"cpu":"1e3","space.deviceclass.resource.k8s.io/devices":"0"}`)},
		{Name: "limits that just fit", Class: Class(`"limitRange":[
			{"type":"Container","min":{"cpu":"100m"},"defaultRequest":{"cpu":"100m"},"default":{"cpu":"300m"},"max":{"cpu":"300m"},"maxLimitRequestRatio":{"cpu":"3"}},
			{"type":"Pod","max":{"memory":"1Gi"}},{"type":"PersistentVolumeClaim","max":{"storage":"1Ti"}}]`)},
		{Name: "words that look like large quantities elsewhere", Class: Class(`"annotations":{"a":"1e1000000000"},"parameters":{"resourceQuota":"1e1000000000"}`)},
		{Name: "a claim that asks for all that there is", Class: Class(`"clusterRole":"admin","resourceQuota":{"cpu":"1"},"maxLifetime":"8h","network":"Isolated","podSecurity":{"enforce":"privileged"}`),
			Claim: Claim(`"clusterRole":"admin","resourceQuota":{"cpu":"1000m"},"maxLifetime":"480m","network":"Isolated","podSecurity":{"enforce":"privileged"}`)},
	}
	for _, path := range []string{"/creds", "/etc/creds", "/var/lib/app/space", "/home/user/.kube", "/usr/share/app", "/usr/local/etc", "/procedures", "/var/run/secrets/space", "/tmp/space", "/with space", "/..."} {
		out = append(out, Case{Name: "mounted at " + path, Claim: Claim(`"mountPath":` + quote(path))})
	}
	return out
}
