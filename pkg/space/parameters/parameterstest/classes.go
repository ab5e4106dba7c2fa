// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package parameterstest

import (
	"fmt"
	"strings"
)

// classes are values that a class cannot have, and such that neither can have.
func classes() []Case {
	out := []Case{
		class("a prefix with capitals", `"namespacePrefix":"CI-"`, `namespacePrefix: Invalid value: "CI-": must have at most 53 small letters, digits and hyphens, with a letter or digit first`),
		class("a prefix that starts with a hyphen", `"namespacePrefix":"-ci-"`, `namespacePrefix: Invalid value: "-ci-"`),
		class("a prefix that leaves no room", fmt.Sprintf(`"namespacePrefix":%q`, strings.Repeat("p", 54)), "namespacePrefix: Invalid value: ", "53"),
		class("a prefix with a dot", `"namespacePrefix":"ci."`, `namespacePrefix: Invalid value: "ci."`),

		class("a label of the driver", `"labels":{"space.resource.example.com/claim-uid":"x"}`, `labels[space.resource.example.com/claim-uid]: Forbidden: keys of space.resource.example.com are the driver's own`),
		class("a label below the driver's domain", `"labels":{"a.space.resource.example.com/b":"x"}`, `labels[a.space.resource.example.com/b]: Forbidden`),
		class("a label of Pod Security", `"labels":{"pod-security.kubernetes.io/enforce":"privileged"}`, `labels[pod-security.kubernetes.io/enforce]: Forbidden`, "podSecurity"),
		class("the label of the namespace's name", `"labels":{"kubernetes.io/metadata.name":"kube-system"}`, `labels[kubernetes.io/metadata.name]: Forbidden`),

		class("an annotation of the driver", `"annotations":{"space.resource.example.com/retain":"9999h"}`, `annotations[space.resource.example.com/retain]: Forbidden`),
		class("an annotation of the driver in capitals", `"annotations":{"SPACE.resource.example.com/retain":"9999h"}`, `annotations: Invalid value: "SPACE.resource.example.com/retain"`),
		class("an annotation's key with a space", `"annotations":{"a b":""}`, `annotations: Invalid value: "a b"`),
		class("too many annotations", `"annotations":`+many(`""`), `annotations: Too many: 65: must have at most 64 items`),

		class("an allowed label that cannot be", `"allowedLabels":["a","a b"]`, `allowedLabels[1]: Invalid value: "a b"`),
		class("an allowed label with a star at the end", `"allowedLabels":["team-*"]`, `allowedLabels[0]: Invalid value: "team-*"`),
		class("an allowed label with a star for the domain", `"allowedLabels":["*/team"]`, `allowedLabels[0]: Invalid value: "*/team"`),
		class("an allowed label that is empty", `"allowedLabels":[""]`, `allowedLabels[0]: Invalid value: ""`),
		class("an allowed label twice", `"allowedLabels":["a","a"]`, `allowedLabels[1]: Duplicate value: "a"`),
		class("an allowed ClusterRole without a name", `"allowedClusterRoles":["view",""]`, `allowedClusterRoles[1]: Required value`),
		class("an allowed ClusterRole twice", `"allowedClusterRoles":["view","edit","view"]`, `allowedClusterRoles[2]: Duplicate value: "view"`),
		class("a ClusterRole for the cluster with a percent sign", `"clusterWideRoles":["a%b"]`, `clusterWideRoles[0]: Invalid value: "a%b"`),
		class("a ClusterRole with a long name", fmt.Sprintf(`"clusterWideRoles":[%q]`, strings.Repeat("r", 254)), `clusterWideRoles[0]: Invalid value`, "at most 253 characters"),

		class("an unknown network", `"network":"Closed"`, `network: Unsupported value: "Closed": supported values: "Isolated", "Open"`),

		class("a token that lives for too short", `"tokenLifetime":"9m59s"`, `tokenLifetime: Invalid value: "9m59s": must be at least 10m`),
		class("a token that never lives", `"tokenLifetime":"-1h"`, `tokenLifetime: Invalid value: "-1h"`),
		class("a token that lives for too long", `"tokenLifetime":"1999999h"`, `tokenLifetime: Invalid value: "1999999h": must be at most`),
		class("no retention", `"retain":"0s"`, `retain: Invalid value: "0s": must be more than zero`),
		class("a negative retention", `"retain":"-1s"`, `retain: Invalid value: "-1s": must be more than zero`),

		class("a copy from nowhere", `"copy":{"secrets":["a"]}`, `copy.namespace: Required value`),
		class("a copy from a namespace that cannot be", `"copy":{"namespace":"a.b","secrets":["a"]}`, `copy.namespace: Invalid value: "a.b"`),
		class("a copy of nothing", `"copy":{"namespace":"a","secrets":[]}`, `copy: Required value: must list secrets, configMaps or imagePullSecrets`),
		class("a copy of a Secret that cannot be", `"copy":{"namespace":"a","secrets":["b","B"]}`, `copy.secrets[1]: Invalid value: "B"`),
		class("a copy of a Secret without a name", `"copy":{"namespace":"a","secrets":[""]}`, `copy.secrets[0]: Invalid value: ""`),
		class("a copy of a pull secret with a path", `"copy":{"namespace":"a","imagePullSecrets":["../b"]}`, `copy.imagePullSecrets[0]: Invalid value: "../b"`),
		class("a copy of a ConfigMap twice", `"copy":{"namespace":"a","configMaps":["b","b"]}`, `copy.configMaps[1]: Duplicate value: "b"`),
		class("a copy of what each namespace has", `"copy":{"namespace":"a","configMaps":["kube-root-ca.crt"]}`, `copy.configMaps[0]: Invalid value: "kube-root-ca.crt"`),

		class("many problems", `"labels":{"-":"","+":"","=":"","!":""}`, `labels: Invalid value: "!"`, "; and 1 more"),
	}
	for _, c := range [][]Case{
		either("a label's key that cannot be", `"labels":{"a b":"c"}`, `labels: Invalid value: "a b"`),
		either("a label's key with two slashes", `"labels":{"a/b/c":"d"}`, `labels: Invalid value: "a/b/c"`),
		either("a label's value that cannot be", `"labels":{"a":"b c"}`, `labels[a]: Invalid value: "b c"`),
		either("a label's value that is too long", fmt.Sprintf(`"labels":{"a":%q}`, strings.Repeat("v", 64)), "labels[a]: Invalid value", "63"),
		either("too many labels", `"labels":`+many(`"v"`), `labels: Too many: 65: must have at most 64 items`),
		either("a ClusterRole with a slash", `"clusterRole":"a/b"`, `clusterRole: Invalid value: "a/b"`),
		either("a ClusterRole of two dots", `"clusterRole":".."`, `clusterRole: Invalid value: ".."`),
		either("an unknown Pod Security Standard", `"podSecurity":{"enforce":"Restricted"}`, `podSecurity.enforce: Unsupported value: "Restricted": supported values: "privileged", "baseline", "restricted"`),
		either("an unknown standard to audit", `"podSecurity":{"audit":"all"}`, `podSecurity.audit: Unsupported value: "all"`),
		either("an unknown standard to warn about", `"podSecurity":{"warn":"none"}`, `podSecurity.warn: Unsupported value: "none"`),
		either("a negative lifetime", `"maxLifetime":"-1s"`, `maxLifetime: Invalid value: "-1s": must be more than zero`),
		either("a lifetime of zero", `"maxLifetime":"0s"`, `maxLifetime: Invalid value: "0s": must be more than zero`),
		either("a parameter with a hyphen", `"parameters":{"a-b":"c"}`, `parameters: Invalid value: "a-b": a key must have letters, digits and underscores only`),
		either("a parameter with an equals sign", `"parameters":{"a=b":"c"}`, `parameters: Invalid value: "a=b"`),
		either("a parameter without a name", `"parameters":{"":"c"}`, `parameters: Invalid value: ""`),
		either("a parameter with a line's end", `"parameters":{"a\n":"c"}`, `Invalid value: "a\n"`),
		either("a parameter of foreign letters", `"parameters":{"ä":"c"}`, `parameters: Invalid value: "ä"`),
		either("a parameter with a long name", fmt.Sprintf(`"parameters":{%q:"c"}`, strings.Repeat("k", 64)), "must have at most 63 characters"),
		either("a parameter with NUL", `"parameters":{"a":"b\u0000c"}`, `parameters[a]: Invalid value: "b�c": must not contain NUL`),
		either("too many parameters", `"parameters":`+many(`"v"`), `parameters: Too many: 65: must have at most 64 items`),
		either("a quota of what Kubernetes does not know", `"resourceQuota":{"pod":"1"}`, `resourceQuota: Invalid value: "pod"`),
		either("a quota with a name that cannot be", `"resourceQuota":{"requests cpu":"1"}`, `resourceQuota: Invalid value: "requests cpu"`),
		either("a negative quota", `"resourceQuota":{"cpu":"-1"}`, `resourceQuota[cpu]: Invalid value: "-1": must not be negative`),
		either("half a pod", `"resourceQuota":{"pods":"500m"}`, `resourceQuota[pods]: Invalid value: "500m": must be an integer`),
		either("half a Deployment", `"resourceQuota":{"count/deployments.apps":"1500m"}`, `resourceQuota[count/deployments.apps]: Invalid value: "1500m": must be an integer`),
		either("too many quotas", `"resourceQuota":`+many(`"1"`), `resourceQuota: Too many: 65: must have at most 64 items`),
	} {
		out = append(out, c...)
	}
	return out
}

// limits are LimitRanges that cannot be.
func limits() []Case {
	limit := func(name, item string, words ...string) Case {
		return class(name, `"limitRange":[`+item+`]`, words...)
	}
	return []Case{
		limit("limits of no type", `{"max":{"cpu":"1"}}`, `limitRange[0].type: Unsupported value: ""`),
		limit("limits of an unknown type", `{"type":"Node","max":{"cpu":"1"}}`, `limitRange[0].type: Unsupported value: "Node": supported values: "Container", "Pod", "PersistentVolumeClaim"`),
		limit("limits of a type twice", `{"type":"Pod"},{"type":"Pod"}`, `limitRange[1].type: Duplicate value: "Pod"`),
		limit("a minimum above the maximum", `{"type":"Container","min":{"cpu":"2"},"max":{"cpu":"1"}}`, `limitRange[0].min[cpu]: Invalid value: "2": must not be more than the maximum, 1`),
		limit("a default above the maximum", `{"type":"Container","default":{"cpu":"2"},"max":{"cpu":"1"}}`, `limitRange[0].default[cpu]: Invalid value: "2": must not be more than the maximum, 1`),
		limit("a default below the minimum", `{"type":"Container","min":{"cpu":"2"},"default":{"cpu":"1"}}`, `limitRange[0].min[cpu]: Invalid value: "2": must not be more than the default limit, 1`),
		limit("a default request above the default limit", `{"type":"Container","defaultRequest":{"memory":"2Gi"},"default":{"memory":"1Gi"}}`, `limitRange[0].defaultRequest[memory]: Invalid value: "2Gi": must not be more than the default limit, 1Gi`),
		limit("a default request below the minimum", `{"type":"Container","min":{"cpu":"2"},"defaultRequest":{"cpu":"1"}}`, `limitRange[0].min[cpu]: Invalid value: "2": must not be more than the default request, 1`),
		limit("a default for pods", `{"type":"Pod","default":{"cpu":"1"}}`, `limitRange[0].default: Forbidden: must not be given for type Pod`),
		limit("a default request for pods", `{"type":"Pod","defaultRequest":{"cpu":"1"}}`, `limitRange[0].defaultRequest: Forbidden`),
		limit("a negative limit", `{"type":"Pod","max":{"cpu":"-1"}}`, `limitRange[0].max[cpu]: Invalid value: "-1": must not be negative`),
		limit("a limit of what containers do not have", `{"type":"Container","max":{"pods":"1"}}`, `limitRange[0].max: Invalid value: "pods"`),
		limit("a limit of volumes' CPU", `{"type":"PersistentVolumeClaim","max":{"cpu":"1","storage":"1Gi"}}`, `limitRange[0].max: Invalid value: "cpu"`),
		limit("no limit of volumes", `{"type":"PersistentVolumeClaim"}`, `limitRange[0]: Required value`),
		limit("a ratio below one", `{"type":"Container","maxLimitRequestRatio":{"cpu":"500m"}}`, `limitRange[0].maxLimitRequestRatio[cpu]: Invalid value: "500m": must be at least 1`),
		limit("a ratio that cannot be reached", `{"type":"Container","min":{"cpu":"1"},"max":{"cpu":"2"},"maxLimitRequestRatio":{"cpu":"3"}}`, `limitRange[0].maxLimitRequestRatio[cpu]: Invalid value: "3": must not be more than the maximum by the minimum, 2 / 1`),
		limit("a device that is requested less than limited", `{"type":"Container","defaultRequest":{"example.com/gpu":"1"},"default":{"example.com/gpu":"2"}}`, `limitRange[0].defaultRequest[example.com/gpu]: Invalid value: "1": must equal the default limit, 2`),
	}
}
