// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package parameters_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/diff"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

const (
	ours    = spaceapi.DefaultDriverName
	foreign = "gpu.example.com"
	class   = resourceapi.AllocationConfigSourceClass
	claim   = resourceapi.AllocationConfigSourceClaim
)

func config(driver string, source resourceapi.AllocationConfigSource, raw string, requests ...string) resourceapi.DeviceAllocationConfiguration {
	c := resourceapi.DeviceAllocationConfiguration{Source: source, Requests: requests}
	c.Opaque = &resourceapi.OpaqueDeviceConfiguration{Driver: driver, Parameters: runtime.RawExtension{Raw: []byte(raw)}}
	return c
}

type configs = []resourceapi.DeviceAllocationConfiguration

var installation = parameters.Installation{Driver: ours, ClusterRole: "edit", PodSecurity: "baseline", Network: spaceapi.NetworkOpen}

// classJSON returns a SpaceClassConfig with these fields, written as in a JSON object.
func classJSON(fields string) string { return object("SpaceClassConfig", fields) }

// claimJSON returns a SpaceClaimConfig with these fields, written as in a JSON object.
func claimJSON(fields string) string { return object("SpaceClaimConfig", fields) }

func object(kind, fields string) string {
	if fields != "" {
		fields = "," + fields
	}
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q%s}`, spaceapi.APIVersion, kind, fields)
}

// Each field of a class, and each of a claim that such a class allows.
const (
	everyClassField = `"namespacePrefix":"ci-","labels":{"a":"b"},"annotations":{"c":"d"},"clusterRole":"edit","allowedLabels":["*","a","a.example/b","a.example/*"],"allowedClusterRoles":["view"],
		"clusterWideRoles":["crds"],"podSecurity":{"enforce":"privileged","audit":"baseline","warn":"restricted"},"resourceQuota":{"requests.cpu":"4","pods":10},"nestedSpaces":true,
		"limitRange":[{"type":"Container","default":{"cpu":"1"}}],"network":"Isolated","tokenLifetime":"10m","maxLifetime":"8h","retain":"30m",
		"copy":{"namespace":"a","secrets":["b"],"configMaps":["c"],"imagePullSecrets":["b"]},"adminAccess":true,"exclusive":true,"parameters":{"e":"f"}`
	everyClaimField = `"clusterRole":"view","labels":{"a":"b"},"podSecurity":{"enforce":"restricted","audit":"privileged"},
		"resourceQuota":{"pods":"0"},"network":"Isolated","maxLifetime":"1ns","variablePrefix":"A_1","mountPath":"/creds","inCluster":true,"kubeconfigEnv":true,"exclusive":true,"parameters":{"_":""}`
)

// plain is what the installation has, with changes.
func plain(changes ...func(*parameters.Effective)) parameters.Effective {
	out := parameters.Effective{ClusterRole: "edit", PodSecurity: spaceapi.PodSecurity{Enforce: "baseline"}, Network: spaceapi.NetworkOpen}
	for _, change := range changes {
		change(&out)
	}
	return out
}

func TestWhatIsSaidHolds(t *testing.T) {
	classOf := func(fields string, requests ...string) resourceapi.DeviceAllocationConfiguration {
		return config(ours, class, classJSON(fields), requests...)
	}
	claimOf := func(fields string, requests ...string) resourceapi.DeviceAllocationConfiguration {
		return config(ours, claim, claimJSON(fields), requests...)
	}
	for name, test := range map[string]struct {
		configs configs
		want    parameters.Effective
	}{
		"none at all":                          {nil, plain()},
		"none opaque":                          {configs{{Source: claim}}, plain()},
		"only those of others are passed over": {configs{config(foreign, claim, `not JSON`)}, plain()},
		"empty ones":                           {configs{classOf(``), claimOf(``)}, plain()},
		"those of another request are passed over": {configs{classOf(`"maxLifetime":"8h"`, "other"), claimOf(`"exclusive":true`, "other")}, plain()},
		"those of the request":                     {configs{classOf(`"maxLifetime":"8h"`, "other", "space")}, plain(func(e *parameters.Effective) { e.MaxLifetime = 8 * time.Hour })},
		"those of the subrequest":                  {configs{claimOf(`"exclusive":true`, "space/small")}, plain(func(e *parameters.Effective) { e.Exclusive = true })},
		"a class's": {configs{classOf(everyClassField)}, parameters.Effective{
			NamespacePrefix: "ci-", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"},
			ClusterRole: "edit", ClusterWideRoles: []string{"crds"},
			PodSecurity:   spaceapi.PodSecurity{Enforce: "privileged", Audit: "baseline", Warn: "restricted"},
			ResourceQuota: corev1.ResourceList{"requests.cpu": resource.MustParse("4"), "pods": resource.MustParse("10")},
			LimitRange:    []corev1.LimitRangeItem{{Type: "Container", Default: corev1.ResourceList{"cpu": resource.MustParse("1")}}},
			NestedSpaces:  true, Network: spaceapi.NetworkIsolated,
			Copy:          &spaceapi.Copy{Namespace: "a", Secrets: []string{"b"}, ConfigMaps: []string{"c"}, ImagePullSecrets: []string{"b"}},
			TokenLifetime: 10 * time.Minute, MaxLifetime: 8 * time.Hour, Retain: 30 * time.Minute,
			AdminAccess: true, Exclusive: true, AdminParameters: map[string]string{"e": "f"},
		}},
		"a claim's": {configs{classOf(`"allowedClusterRoles":["view"],"allowedLabels":["*"]`), claimOf(everyClaimField)}, parameters.Effective{
			Labels: map[string]string{"a": "b"}, ClusterRole: "view", PodSecurity: spaceapi.PodSecurity{Enforce: "restricted", Audit: "privileged"},
			ResourceQuota: corev1.ResourceList{"pods": resource.MustParse("0")}, Network: spaceapi.NetworkIsolated, MaxLifetime: 1,
			VariablePrefix: "A_1", MountPath: "/creds", InCluster: true, KubeconfigEnv: true, Exclusive: true,
			UserParameters: map[string]string{"_": ""},
		}},
		"later ones of classes win field by field": {configs{
			classOf(`"labels":{"a":"1","b":"1"},"podSecurity":{"enforce":"privileged","warn":"baseline"},"nestedSpaces":true,"clusterWideRoles":["x"],"retain":"1h","maxLifetime":"8h","copy":{"namespace":"a","secrets":["b"]},"resourceQuota":{"pods":"5","cpu":"1"},"exclusive":true,"adminAccess":true,"limitRange":[{"type":"Pod","max":{"cpu":"1"}}]`),
			classOf(`"labels":{"b":"2"},"podSecurity":{"warn":"restricted"},"nestedSpaces":false,"clusterWideRoles":[],"maxLifetime":"9h","copy":{"namespace":"c","configMaps":["d"]},"resourceQuota":{"pods":"6"},"adminAccess":null,"exclusive":false,"limitRange":[{"type":"Pod","max":{"memory":"1"}}]`),
		}, plain(func(e *parameters.Effective) {
			e.Labels = map[string]string{"a": "1", "b": "2"}
			e.PodSecurity = spaceapi.PodSecurity{Enforce: "privileged", Warn: "restricted"}
			e.ClusterWideRoles, e.Retain, e.MaxLifetime, e.Exclusive, e.AdminAccess = []string{}, time.Hour, 9*time.Hour, true, true
			e.Copy = &spaceapi.Copy{Namespace: "c", ConfigMaps: []string{"d"}}
			e.ResourceQuota = corev1.ResourceList{"pods": resource.MustParse("6"), "cpu": resource.MustParse("1")}
			e.LimitRange = []corev1.LimitRangeItem{{Type: "Pod", Max: corev1.ResourceList{"memory": resource.MustParse("1")}}}
		})},
		"later ones of claims win field by field": {configs{
			claimOf(`"labels":{"a":"1","b":"1"},"mountPath":"/a","inCluster":true,"exclusive":true,"kubeconfigEnv":true,"parameters":{"x":"1","y":"1"},"podSecurity":{"enforce":"restricted"},"maxLifetime":"1h"`),
			claimOf(`"labels":{"b":"2"},"mountPath":"/b","inCluster":false,"parameters":{"y":"2"},"podSecurity":{"warn":"restricted"},"maxLifetime":"2h"`),
			classOf(`"allowedLabels":["c"]`), classOf(`"allowedLabels":["a","b"]`),
		}, plain(func(e *parameters.Effective) {
			e.Labels, e.UserParameters = map[string]string{"a": "1", "b": "2"}, map[string]string{"x": "1", "y": "2"}
			e.MountPath, e.Exclusive, e.KubeconfigEnv, e.MaxLifetime = "/b", true, true, 2*time.Hour
			e.PodSecurity = spaceapi.PodSecurity{Enforce: "restricted", Warn: "restricted"}
		})},
		"a claim narrows its class, wherever it stands": {configs{
			claimOf(`"resourceQuota":{"pods":"1","secrets":"2"},"maxLifetime":"1h","labels":{"c":"d"},"network":"Isolated"`),
			classOf(`"resourceQuota":{"pods":"5","cpu":"1"},"maxLifetime":"8h","labels":{"a":"b"},"allowedLabels":["*"],"network":"Open","exclusive":true,"parameters":{"p":"q"}`),
		}, plain(func(e *parameters.Effective) {
			e.ResourceQuota = corev1.ResourceList{"pods": resource.MustParse("1"), "cpu": resource.MustParse("1"), "secrets": resource.MustParse("2")}
			e.MaxLifetime, e.Labels, e.Network, e.Exclusive = time.Hour, map[string]string{"a": "b", "c": "d"}, spaceapi.NetworkIsolated, true
			e.AdminParameters = map[string]string{"p": "q"}
		})},
		"a class can be laxer than the installation": {configs{classOf(`"podSecurity":{"enforce":"privileged"},"clusterRole":"admin"`)}, plain(func(e *parameters.Effective) {
			e.PodSecurity.Enforce, e.ClusterRole = "privileged", "admin"
		})},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parameters.For(installation, test.configs, "space/small", []string{"space/small"})
			if err != nil || !equality.Semantic.DeepEqual(got, test.want) {
				t.Errorf("got error %v, difference %s", err, diff.Diff(test.want, got))
			}
		})
	}
}

// A claim can't have more than its class gives. The installation has the ClusterRole edit,
// the Pod Security Standard baseline and an open network.
func TestFor_restrictsClaims(t *testing.T) {
	const notAllowed = "the ResourceClaim has parameters that its DeviceClass does not allow: "
	for _, test := range []struct{ class, claim, want string }{
		{``, `"clusterRole":"admin"`, `clusterRole: Invalid value: "admin": the class allows none`},
		{`"allowedClusterRoles":["view"]`, `"clusterRole":"edit"`, `clusterRole: Invalid value: "edit": the class allows view`},
		{`"clusterRole":"edit","allowedClusterRoles":["view","view-more"]`, `"clusterRole":"cluster-admin"`, `clusterRole: Invalid value: "cluster-admin": the class allows edit, view, view-more`},
		{`"clusterRole":"edit","clusterWideRoles":["crds"]`, `"clusterRole":"crds"`, `clusterRole: Invalid value: "crds": the class allows edit`},
		{`"labels":{"team":"a"}`, `"labels":{"team":"b"}`, `labels[team]: Forbidden: the class sets it to "a"`},
		{`"labels":{"team":"a"}`, `"labels":{"team":"a"}`, `labels[team]: Forbidden: the class sets it to "a"`},
		{`"labels":{"team":"a"}`, `"labels":{"branch":"b"}`, `labels[branch]: Forbidden: the class allows none`},
		{`"allowedLabels":["team","example.com/*"]`, `"labels":{"example.com/a":"b","example.com.evil/c":"d","teams":"e"}`,
			`labels[example.com.evil/c]: Forbidden: the class allows team, example.com/*; labels[teams]: Forbidden: the class allows team, example.com/*`},
		{`"podSecurity":{"enforce":"restricted"}`, `"podSecurity":{"enforce":"baseline"}`, `podSecurity.enforce: Invalid value: "baseline": the class allows restricted`},
		{``, `"podSecurity":{"enforce":"privileged"}`, `podSecurity.enforce: Invalid value: "privileged": the class allows baseline, restricted`},
		{`"podSecurity":{"audit":"baseline"}`, `"podSecurity":{"audit":"privileged"}`, `podSecurity.audit: Invalid value: "privileged": the class allows baseline, restricted`},
		{`"podSecurity":{"warn":"restricted"}`, `"podSecurity":{"warn":"baseline"}`, `podSecurity.warn: Invalid value: "baseline": the class allows restricted`},
		{`"resourceQuota":{"cpu":"1"}`, `"resourceQuota":{"cpu":"1001m","pods":"5"}`, `resourceQuota[cpu]: Invalid value: "1001m": the class allows at most 1`},
		{`"resourceQuota":{"pods":"0"}`, `"resourceQuota":{"pods":"1"}`, `resourceQuota[pods]: Invalid value: "1": the class allows at most 0`},
		{`"resourceQuota":{"memory":"1Gi"}`, `"resourceQuota":{"memory":"1100M"}`, `resourceQuota[memory]: Invalid value: "1100M": the class allows at most 1Gi`},
		{`"maxLifetime":"8h"`, `"maxLifetime":"8h1s"`, `maxLifetime: Invalid value: "8h0m1s": the class allows at most 8h0m0s`},
		{`"maxLifetime":"8h","resourceQuota":{"pods":"1"}`, `"maxLifetime":"9h","resourceQuota":{"pods":"2"}`,
			`resourceQuota[pods]: Invalid value: "2": the class allows at most 1; maxLifetime: Invalid value: "9h0m0s": the class allows at most 8h0m0s`},
	} {
		t.Run(test.class+" "+test.claim, func(t *testing.T) {
			got, err := parameters.For(installation, configs{config(ours, class, classJSON(test.class)), config(ours, claim, claimJSON(test.claim))}, "space", []string{"space"})
			if err == nil || err.Error() != notAllowed+test.want {
				t.Errorf("got  %v\nwant %s%s", err, notAllowed, test.want)
			}
			if got.MaxLifetime = 0; !reflect.DeepEqual(got, parameters.Effective{}) {
				t.Errorf("an error and %+v", got)
			}
		})
	}
	// All that the class gives.
	for _, fields := range []string{`"clusterRole":"admin"`, `"resourceQuota":{"cpu":"1000m"}`, `"maxLifetime":"480m"`, `"network":"Isolated"`, `"podSecurity":{"enforce":"privileged"}`} {
		const given = `"clusterRole":"admin","resourceQuota":{"cpu":"1"},"maxLifetime":"8h","network":"Isolated","podSecurity":{"enforce":"privileged"}`
		if _, err := parameters.For(installation, configs{config(ours, class, classJSON(given)), config(ours, claim, claimJSON(fields))}, "space", []string{"space"}); err != nil {
			t.Errorf("%s: %v", fields, err)
		}
	}
}

// Errors are shown on terminals and in events, which have room for 1024 bytes.
func TestFor_errorsAreShortAndPrintable(t *testing.T) {
	fields := []string{`"\u001b[31mred\u202e":1`}
	for i := range 20 {
		fields = append(fields, fmt.Sprintf(`"%s%d":1`, strings.Repeat("x", 200), i))
	}
	_, err := parameters.For(installation, configs{config(ours, claim, claimJSON(strings.Join(fields, ",")))}, "space", []string{"space"})
	wantError(t, err, `\x1b[31mred\u202e: Forbidden: unknown field`, "; and 1")
	if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\u001b\u202e") {
		t.Errorf("got %d bytes: %q", len(err.Error()), err)
	}
}

func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("not refused")
	}
	for _, part := range words {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q: %v", part, err)
		}
	}
}

func TestTheFirstWrongParametersAreRefused(t *testing.T) {
	good, unknown := classJSON(""), `{"apiVersion":"space.resource.example.com/v9","kind":"Whatever"}`
	for name, test := range map[string]struct {
		configs configs
		want    string
	}{
		"behind those of others": {configs{{Source: class}, config(foreign, class, unknown), config(ours, claim, unknown)}, "the ResourceClaim has"},
		"behind good ones":       {configs{config(ours, class, good), config(ours, class, unknown)}, "the DeviceClass has"},
		"before others":          {configs{config(ours, class, unknown), config(ours, claim, unknown)}, "the DeviceClass has"},
		"of no known source":     {configs{config(ours, "", good)}, `kind: Unsupported value: "SpaceClassConfig"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parameters.For(installation, test.configs, "space", []string{"space"})
			wantError(t, err, test.want)
		})
	}
}

func TestKeysOfAnotherDriverNameAreReserved(t *testing.T) {
	renamed := installation
	renamed.Driver = foreign
	for source, raw := range map[resourceapi.AllocationConfigSource]string{
		class: classJSON(`"labels":{"gpu.example.com/claim-uid":"x"}`),
		claim: claimJSON(`"labels":{"gpu.example.com/claim-uid":"x"}`),
	} {
		_, err := parameters.For(renamed, configs{config(foreign, source, raw)}, "space", []string{"space"})
		wantError(t, err, "gpu.example.com")
	}
}

func TestAVariablePrefixIsForOneSpace(t *testing.T) {
	raw := claimJSON(`"variablePrefix":"MINE"`)
	for name, test := range map[string]struct {
		requests []string
		all      []string
		refused  string
	}{
		"one request":                                 {nil, []string{"a"}, ""},
		"one of several requests":                     {[]string{"a"}, []string{"a", "b"}, ""},
		"several requests of which one is ours":       {[]string{"a", "gpu"}, []string{"a"}, ""},
		"all requests":                                {nil, []string{"a", "b"}, "several spaces would get variables of the same names: a, b"},
		"several requests":                            {[]string{"b", "a"}, []string{"a", "b", "c"}, "variablePrefix: Forbidden: "},
		"a request with several devices":              {[]string{"a"}, []string{"a", "a"}, "a, a"},
		"a request of which each subrequest is meant": {[]string{"a"}, []string{"a/one"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parameters.For(installation, configs{config(ours, claim, raw, test.requests...)}, test.all[0], test.all)
			if test.refused != "" {
				wantError(t, err, "the ResourceClaim has", test.refused)
			} else if err != nil || got.VariablePrefix != "MINE" {
				t.Errorf("got %q, error %v", got.VariablePrefix, err)
			}
		})
	}
}
