// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

const (
	own     = spaceapi.DefaultDriverName
	foreign = "gpu.example.com"
	class   = resourceapi.AllocationConfigSourceClass
	claim   = resourceapi.AllocationConfigSourceClaim
)

func opaque(driver string, source resourceapi.AllocationConfigSource, raw string, requests ...string) resourceapi.DeviceAllocationConfiguration {
	c := resourceapi.DeviceAllocationConfiguration{Source: source, Requests: requests}
	c.Opaque = &resourceapi.OpaqueDeviceConfiguration{Driver: driver, Parameters: runtime.RawExtension{Raw: []byte(raw)}}
	return c
}

type configs = []resourceapi.DeviceAllocationConfiguration

var settings = config.Defaults{Driver: own, NamespacePrefix: "ns-", ClusterRole: "edit", PodSecurity: "baseline", Network: spaceapi.NetworkOpen}

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

// All fields of a class, and all fields of a claim that this class allows.
const (
	everyClassField = `"namespacePrefix":"ci-","labels":{"a":"b"},"annotations":{"c":"d"},"clusterRoles":["edit"],"inheritLabels":["i"],"allowedLabels":["*","a","a.example/b","a.example/*"],"allowedClusterRoles":["view"],
		"clusterWideRoles":["crds"],"podSecurity":{"enforce":"privileged","audit":"baseline","warn":"restricted"},"resourceQuota":{"hard":{"requests.cpu":"4","pods":10}},"allowNestedSpaces":true,
		"limitRange":{"limits":[{"type":"Container","default":{"cpu":"1"}}]},"network":{"mode":"Isolated"},"tokenLifetime":"10m","maxLifetime":"8h","maxExtension":"4h","maxTerminationGracePeriod":"1m","retention":{"period":"30m","when":"OnFailure"},
		"copyFrom":{"namespace":"a","secrets":[{"name":"b"}],"configMaps":[{"name":"c"}],"imagePullSecrets":[{"name":"b"}]},"allowAdminAccess":true,"disableEtcMount":true,"exclusive":true,"env":{"e":"f"}`
	everyClaimField = `"clusterRoles":["view"],"labels":{"a":"b"},"podSecurity":{"enforce":"restricted","audit":"privileged"},
		"resourceQuota":{"hard":{"pods":"0"}},"network":{"mode":"Isolated"},"maxLifetime":"1ns","envPrefix":"A_1","mountPath":"/creds","inCluster":true,"kubeconfigEnv":true,"embedToken":true,"exclusive":true,"env":{"_":""}`
)

func resultOf(request string) (result allocation.Result) {
	result.Request = request
	return result
}

// resolve resolves the configuration of the first share of the request. all are the
// requests of the allocation's shares.
func resolve(s config.Defaults, configs configs, request string, all []string) (config.SpaceConfig, error) {
	a := &allocation.Allocation{Configs: configs}
	for _, r := range all {
		a.Results = append(a.Results, resultOf(r))
	}
	return s.Resolve(a, a.Results[slices.Index(all, request)])
}

// defaults returns the configuration of a space without parameters, with changes.
func defaults(changes ...func(*config.SpaceConfig)) config.SpaceConfig {
	out := config.SpaceConfig{NamespacePrefix: "ns-", PodSecurity: spaceapi.PodSecurity{Enforce: "baseline"}, MaxTerminationGracePeriod: 5 * time.Minute}
	out.ClusterRoles, out.Network.Mode = []string{"edit"}, spaceapi.NetworkOpen
	for _, change := range changes {
		change(&out)
	}
	return out
}

func hard(list corev1.ResourceList) *corev1.ResourceQuotaSpec {
	return &corev1.ResourceQuotaSpec{Hard: list}
}

func sources(names ...string) (out []spaceapi.CopySource) {
	for _, name := range names {
		out = append(out, spaceapi.CopySource{Name: name})
	}
	return out
}

func duration(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }

func TestResolve_mergesClassAndClaim(t *testing.T) {
	classOf := func(fields string, requests ...string) resourceapi.DeviceAllocationConfiguration {
		return opaque(own, class, classJSON(fields), requests...)
	}
	claimOf := func(fields string, requests ...string) resourceapi.DeviceAllocationConfiguration {
		return opaque(own, claim, claimJSON(fields), requests...)
	}
	for name, test := range map[string]struct {
		configs configs
		want    config.SpaceConfig
	}{
		"no parameters":                  {nil, defaults()},
		"parameters that are not opaque": {configs{{Source: claim}}, defaults()},
		"of another driver":              {configs{opaque(foreign, claim, `not JSON`)}, defaults()},
		"without fields":                 {configs{classOf(``), claimOf(``)}, defaults()},
		"of another request":             {configs{classOf(`"maxLifetime":"8h"`, "other"), claimOf(`"inCluster":true`, "other")}, defaults()},
		"of the request":                 {configs{classOf(`"maxLifetime":"8h"`, "other", "space")}, defaults(func(e *config.SpaceConfig) { e.MaxLifetime = duration(8 * time.Hour) })},
		"of the subrequest":              {configs{claimOf(`"inCluster":true`, "space/small")}, defaults(func(e *config.SpaceConfig) { e.InCluster = true })},
		"all fields of a class": {configs{classOf(everyClassField)}, config.SpaceConfig{
			NamespacePrefix: "ci-", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}, InheritLabels: []string{"i"},
			PodSecurity:       spaceapi.PodSecurity{Enforce: "privileged", Audit: "baseline", Warn: "restricted"},
			AllowNestedSpaces: true, MaxTerminationGracePeriod: time.Minute,
			Recorded: config.Recorded{
				ClusterRoles: []string{"edit"}, ClusterWideRoles: []string{"crds"},
				ResourceQuota: hard(corev1.ResourceList{"requests.cpu": resource.MustParse("4"), "pods": resource.MustParse("10")}),
				LimitRange:    &corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: "Container", Default: corev1.ResourceList{"cpu": resource.MustParse("1")}}}},
				Network:       spaceapi.Network{Mode: spaceapi.NetworkIsolated},
				CopyFrom:      &spaceapi.CopyFrom{Namespace: "a", Secrets: sources("b"), ConfigMaps: sources("c"), ImagePullSecrets: sources("b")},
				MaxLifetime:   duration(8 * time.Hour), MaxExtension: duration(4 * time.Hour), Retention: duration(30 * time.Minute), RetentionWhen: spaceapi.RetainOnFailure,
			},
			ContainerConfig: config.ContainerConfig{TokenLifetime: 10 * time.Minute, DisableEtcMount: true, AdminEnv: map[string]string{"e": "f"}},
		}},
		"all fields of a claim": {configs{classOf(`"allowedClusterRoles":["view"],"allowedLabels":["*"]`), claimOf(everyClaimField)}, config.SpaceConfig{
			NamespacePrefix: "ns-", Labels: map[string]string{"a": "b"}, PodSecurity: spaceapi.PodSecurity{Enforce: "restricted", Audit: "privileged"}, MaxTerminationGracePeriod: 5 * time.Minute,
			Recorded: config.Recorded{
				ClusterRoles: []string{"view"}, ResourceQuota: hard(corev1.ResourceList{"pods": resource.MustParse("0")}),
				Network: spaceapi.Network{Mode: spaceapi.NetworkIsolated}, MaxLifetime: duration(1),
			},
			ContainerConfig: config.ContainerConfig{
				EnvPrefix: "A_1", MountPath: "/creds", InCluster: true, KubeconfigEnv: true, EmbedToken: true, UserEnv: map[string]string{"_": ""},
			},
		}},
		"later ones of classes win field by field": {configs{
			classOf(`"tokenLifetime":"1h","labels":{"a":"1","b":"1"},"podSecurity":{"enforce":"privileged","warn":"baseline"},"allowNestedSpaces":true,"clusterWideRoles":["x"],"retention":{"period":"1h"},"maxLifetime":"8h","copyFrom":{"namespace":"a","secrets":[{"name":"b"}]},"resourceQuota":{"hard":{"pods":"5","cpu":"1"}},"exclusive":true,"allowAdminAccess":true,"disableEtcMount":true,"limitRange":{"limits":[{"type":"Pod","max":{"cpu":"1"}}]}`),
			classOf(`"labels":{"b":"2"},"podSecurity":{"warn":"restricted"},"allowNestedSpaces":false,"clusterWideRoles":[],"maxLifetime":"9h","copyFrom":{"namespace":"c","configMaps":[{"name":"d"}]},"resourceQuota":{"hard":{"pods":"6"}},"allowAdminAccess":null,"tokenLifetime":null,"exclusive":false,"limitRange":{"limits":[{"type":"Pod","max":{"memory":"1"}}]}`),
		}, defaults(func(e *config.SpaceConfig) {
			e.Labels = map[string]string{"a": "1", "b": "2"}
			e.PodSecurity = spaceapi.PodSecurity{Enforce: "privileged", Warn: "restricted"}
			e.ClusterWideRoles, e.Retention, e.MaxLifetime, e.TokenLifetime = []string{}, duration(time.Hour), duration(9*time.Hour), time.Hour
			e.DisableEtcMount = true
			e.CopyFrom = &spaceapi.CopyFrom{Namespace: "c", ConfigMaps: sources("d")}
			e.ResourceQuota = hard(corev1.ResourceList{"pods": resource.MustParse("6"), "cpu": resource.MustParse("1")})
			e.LimitRange = &corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: "Pod", Max: corev1.ResourceList{"memory": resource.MustParse("1")}}}}
		})},
		"later ones of claims win field by field": {configs{
			claimOf(`"labels":{"a":"1","b":"1"},"mountPath":"/a","inCluster":true,"exclusive":true,"kubeconfigEnv":true,"embedToken":true,"env":{"x":"1","y":"1"},"podSecurity":{"enforce":"restricted"},"maxLifetime":"1h"`),
			claimOf(`"labels":{"b":"2"},"mountPath":"/b","inCluster":false,"env":{"y":"2"},"podSecurity":{"warn":"restricted"},"maxLifetime":"2h"`),
			classOf(`"allowedLabels":["c"]`), classOf(`"allowedLabels":["a","b"]`),
		}, defaults(func(e *config.SpaceConfig) {
			e.Labels, e.UserEnv = map[string]string{"a": "1", "b": "2"}, map[string]string{"x": "1", "y": "2"}
			e.MountPath, e.KubeconfigEnv, e.EmbedToken, e.MaxLifetime = "/b", true, true, duration(2*time.Hour)
			e.PodSecurity = spaceapi.PodSecurity{Enforce: "restricted", Warn: "restricted"}
		})},
		"a claim restricts its class, in any order": {configs{
			claimOf(`"resourceQuota":{"hard":{"pods":"1","secrets":"2"}},"maxLifetime":"1h","labels":{"c":"d"},"network":{"mode":"Isolated"}`),
			classOf(`"resourceQuota":{"hard":{"pods":"5","cpu":"1"}},"maxLifetime":"8h","labels":{"a":"b"},"allowedLabels":["*"],"network":{"mode":"Open"},"exclusive":true,"env":{"p":"q"}`),
		}, defaults(func(e *config.SpaceConfig) {
			e.ResourceQuota = hard(corev1.ResourceList{"pods": resource.MustParse("1"), "cpu": resource.MustParse("1"), "secrets": resource.MustParse("2")})
			e.MaxLifetime, e.Labels, e.Network.Mode = duration(time.Hour), map[string]string{"a": "b", "c": "d"}, spaceapi.NetworkIsolated
			e.AdminEnv = map[string]string{"p": "q"}
		})},
		"a class is less strict than the defaults": {configs{classOf(`"podSecurity":{"enforce":"privileged"},"clusterRoles":["admin"]`)}, defaults(func(e *config.SpaceConfig) {
			e.PodSecurity.Enforce, e.ClusterRoles = "privileged", []string{"admin"}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := resolve(settings, test.configs, "space/small", []string{"space/small"})
			if err != nil || !equality.Semantic.DeepEqual(got, test.want) {
				t.Errorf("got error %v, difference %s", err, diff.Diff(test.want, got))
			}
		})
	}
}

// The settings have the ClusterRole edit, the Pod Security Standard baseline and an open network.
func TestResolve_restrictsClaims(t *testing.T) {
	const notAllowed = "the ResourceClaim has parameters that its DeviceClass does not allow: "
	for _, test := range []struct{ class, claim, want string }{
		{``, `"clusterRoles":["admin"]`, `clusterRoles[0]: Invalid value: "admin": the class allows none`},
		{`"allowedClusterRoles":["view"]`, `"clusterRoles":["edit"]`, `clusterRoles[0]: Invalid value: "edit": the class allows view`},
		{`"clusterRoles":["edit"],"allowedClusterRoles":["view","view-more"]`, `"clusterRoles":["cluster-admin"]`, `clusterRoles[0]: Invalid value: "cluster-admin": the class allows edit, view, view-more`},
		{`"clusterRoles":["edit"],"clusterWideRoles":["crds"]`, `"clusterRoles":["crds"]`, `clusterRoles[0]: Invalid value: "crds": the class allows edit`},
		{`"labels":{"team":"a"}`, `"labels":{"team":"b"}`, `labels[team]: Forbidden: the class sets it to "a"`},
		{`"labels":{"team":"a"}`, `"labels":{"team":"a"}`, `labels[team]: Forbidden: the class sets it to "a"`},
		{`"labels":{"team":"a"}`, `"labels":{"branch":"b"}`, `labels[branch]: Forbidden: the class allows none`},
		{`"allowedLabels":["team","example.com/*"]`, `"labels":{"example.com/a":"b","example.com.evil/c":"d","teams":"e"}`,
			`labels[example.com.evil/c]: Forbidden: the class allows team, example.com/*; labels[teams]: Forbidden: the class allows team, example.com/*`},
		{`"podSecurity":{"enforce":"restricted"}`, `"podSecurity":{"enforce":"baseline"}`, `podSecurity.enforce: Invalid value: "baseline": the class allows restricted`},
		{``, `"podSecurity":{"enforce":"privileged"}`, `podSecurity.enforce: Invalid value: "privileged": the class allows baseline, restricted`},
		{`"podSecurity":{"audit":"baseline"}`, `"podSecurity":{"audit":"privileged"}`, `podSecurity.audit: Invalid value: "privileged": the class allows baseline, restricted`},
		{`"podSecurity":{"warn":"restricted"}`, `"podSecurity":{"warn":"baseline"}`, `podSecurity.warn: Invalid value: "baseline": the class allows restricted`},
		{`"resourceQuota":{"hard":{"cpu":"1"}}`, `"resourceQuota":{"hard":{"cpu":"1001m","pods":"5"}}`, `resourceQuota.hard[cpu]: Invalid value: "1001m": the class allows at most 1`},
		{`"resourceQuota":{"hard":{"pods":"0"}}`, `"resourceQuota":{"hard":{"pods":"1"}}`, `resourceQuota.hard[pods]: Invalid value: "1": the class allows at most 0`},
		{`"resourceQuota":{"hard":{"memory":"1Gi"}}`, `"resourceQuota":{"hard":{"memory":"1100M"}}`, `resourceQuota.hard[memory]: Invalid value: "1100M": the class allows at most 1Gi`},
		{`"maxLifetime":"8h"`, `"maxLifetime":"8h1s"`, `maxLifetime: Invalid value: "8h0m1s": the class allows at most 8h0m0s`},
		{`"maxLifetime":"8h","resourceQuota":{"hard":{"pods":"1"}}`, `"maxLifetime":"9h","resourceQuota":{"hard":{"pods":"2"}}`,
			`resourceQuota.hard[pods]: Invalid value: "2": the class allows at most 1; maxLifetime: Invalid value: "9h0m0s": the class allows at most 8h0m0s`},
	} {
		t.Run(test.class+" "+test.claim, func(t *testing.T) {
			got, err := resolve(settings, configs{opaque(own, class, classJSON(test.class)), opaque(own, claim, claimJSON(test.claim))}, "space", []string{"space"})
			if err == nil || err.Error() != notAllowed+test.want {
				t.Errorf("got  %v\nwant %s%s", err, notAllowed, test.want)
			}
			if !reflect.DeepEqual(got, config.SpaceConfig{}) {
				t.Errorf("an error and %+v", got)
			}
		})
	}
	// What the class allows.
	for _, fields := range []string{`"clusterRoles":["admin"]`, `"resourceQuota":{"hard":{"cpu":"1000m"}}`, `"maxLifetime":"480m"`, `"network":{"mode":"Isolated"}`, `"podSecurity":{"enforce":"privileged"}`} {
		const allowed = `"clusterRoles":["admin"],"resourceQuota":{"hard":{"cpu":"1"}},"maxLifetime":"8h","network":{"mode":"Isolated"},"podSecurity":{"enforce":"privileged"}`
		if _, err := resolve(settings, configs{opaque(own, class, classJSON(allowed)), opaque(own, claim, claimJSON(fields))}, "space", []string{"space"}); err != nil {
			t.Errorf("%s: %v", fields, err)
		}
	}
}

// Errors are printed on terminals, and are messages of events, which have at most 1024 bytes.
func TestResolve_errorsAreShortAndPrintable(t *testing.T) {
	fields := []string{`"\u001b[31mred\u202e":1`}
	for i := range 20 {
		fields = append(fields, fmt.Sprintf(`"%s%d":1`, strings.Repeat("x", 200), i))
	}
	_, err := resolve(settings, configs{opaque(own, claim, claimJSON(strings.Join(fields, ",")))}, "space", []string{"space"})
	wantError(t, err, `\x1b[31mred\u202e: Forbidden: unknown field`, "; xxx")
	if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\u001b\u202e") {
		t.Errorf("got %d bytes: %q", len(err.Error()), err)
	}
}

func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("got no error")
	}
	for _, part := range words {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error lacks %q: %v", part, err)
		}
	}
}

func TestResolve_rejectsTheFirstInvalidParameters(t *testing.T) {
	valid, unknown := classJSON(""), `{"apiVersion":"space.resource.example.com/v9","kind":"Whatever"}`
	for name, test := range map[string]struct {
		configs configs
		want    string
	}{
		"after those of others": {configs{{Source: class}, opaque(foreign, class, unknown), opaque(own, claim, unknown)}, "the ResourceClaim has"},
		"after valid ones":      {configs{opaque(own, class, valid), opaque(own, class, unknown)}, "the DeviceClass has"},
		"before others":         {configs{opaque(own, class, unknown), opaque(own, claim, unknown)}, "the DeviceClass has"},
		"of an unknown source":  {configs{opaque(own, "", valid)}, `kind: Unsupported value: "SpaceClassConfig"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := resolve(settings, test.configs, "space", []string{"space"})
			wantError(t, err, test.want)
		})
	}
}

func TestResolve_reservesKeysOfTheDriver(t *testing.T) {
	renamed := settings
	renamed.Driver = foreign
	for source, raw := range map[resourceapi.AllocationConfigSource]string{
		class: classJSON(`"labels":{"gpu.example.com/claim-uid":"x"}`),
		claim: claimJSON(`"labels":{"gpu.example.com/claim-uid":"x"}`),
	} {
		_, err := resolve(renamed, configs{opaque(foreign, source, raw)}, "space", []string{"space"})
		wantError(t, err, "gpu.example.com")
	}
}

func TestResolve_allowsEnvPrefixForOneSpaceOnly(t *testing.T) {
	raw := claimJSON(`"envPrefix":"MINE"`)
	for name, test := range map[string]struct {
		requests []string
		all      []string
		rejected string
	}{
		"one request":                         {nil, []string{"a"}, ""},
		"one of several requests":             {[]string{"a"}, []string{"a", "b"}, ""},
		"several requests, one of the driver": {[]string{"a", "gpu"}, []string{"a"}, ""},
		"all requests":                        {nil, []string{"a", "b"}, "several spaces would have variables of the same names: a, b"},
		"several requests":                    {[]string{"b", "a"}, []string{"a", "b", "c"}, "envPrefix: Forbidden: "},
		"a request with several devices":      {[]string{"a"}, []string{"a", "a"}, "a, a"},
		"a request with subrequests":          {[]string{"a"}, []string{"a/one"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := resolve(settings, configs{opaque(own, claim, raw, test.requests...)}, test.all[0], test.all)
			if test.rejected != "" {
				wantError(t, err, "the ResourceClaim has", test.rejected)
			} else if err != nil || got.EnvPrefix != "MINE" {
				t.Errorf("got %q, error %v", got.EnvPrefix, err)
			}
		})
	}
}

// TestResolve_limitsTheParametersOfAClaim has the largest parameters that Kubernetes allows.
func TestResolve_limitsTheParametersOfAClaim(t *testing.T) {
	parameters := func(n int, size int, requests ...string) (out configs) {
		for i := range n {
			raw := claimJSON(fmt.Sprintf(`"env":{"k%d":""}`, i))
			out = append(out, opaque(own, claim, raw[:len(raw)-3]+strings.Repeat("x", size-len(raw))+`"}}`, requests...))
		}
		return out
	}
	for name, test := range map[string]struct {
		configs  configs
		requests []string
		rejected bool
	}{
		"32 for one space":                    {parameters(32, 10<<10), []string{"a"}, true},
		"as many as possible for one space":   {parameters(32, 2<<10), []string{"a"}, false},
		"the same for two spaces":             {parameters(32, 2<<10), []string{"a", "b"}, true},
		"half of it for each of two spaces":   {append(parameters(16, 2<<10, "a"), parameters(16, 2<<10, "b")...), []string{"a", "b"}, false},
		"32 for a request of another driver":  {parameters(32, 10<<10, "gpu"), []string{"a"}, false},
		"32 of a class":                       {slices.Repeat(configs{opaque(own, class, classJSON(`"env":{"k":"`+strings.Repeat("x", 9<<10)+`"}`))}, 32), []string{"a"}, false},
		"32 of another driver":                {slices.Repeat(configs{opaque(foreign, claim, strings.Repeat("x", 10<<10))}, 32), []string{"a"}, false},
		"parameters that are not opaque, too": {configs{{Source: claim}}, []string{"a"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := resolve(settings, test.configs, "a", test.requests)
			if rejected := err != nil && strings.Contains(err.Error(), "too many parameters"); rejected != test.rejected || err != nil && !rejected {
				t.Errorf("got error %v, want one: %t", err, test.rejected)
			}
		})
	}
}

func TestResolve_limitsAdminAccessToTheRoleView(t *testing.T) {
	result := resultOf("space")
	result.AdminAccess = ptr.To(true)
	for fields, allowed := range map[string]bool{``: false, `"allowAdminAccess":false`: false, `"allowAdminAccess":true,"clusterRoles":["admin"],"clusterWideRoles":["crds"]`: true} {
		a := &allocation.Allocation{Configs: configs{opaque(own, class, classJSON(fields))}, Results: []allocation.Result{result}}
		got, err := settings.Resolve(a, result)
		if !allowed {
			wantError(t, err, "request space has adminAccess")
			continue
		}
		if err != nil || !slices.Equal(got.ClusterRoles, []string{"view"}) || got.ClusterWideRoles != nil {
			t.Errorf("got ClusterRoles %v and %v, error %v", got.ClusterRoles, got.ClusterWideRoles, err)
		}
	}
}

func TestCheckAllowed_rejectsWhatTheHelmValuesLack(t *testing.T) {
	s := settings
	s.AllowedClusterRoles, s.ClusterWideRoles, s.CopyFromNamespaces = []string{"admin"}, []string{"reader"}, []string{"templates"}
	for name, test := range map[string]struct {
		change func(*config.SpaceConfig)
		want   string
	}{
		"the default role":            {func(*config.SpaceConfig) {}, ""},
		"an allowed role":             {func(c *config.SpaceConfig) { c.ClusterRoles = []string{"admin"} }, ""},
		"the role for admin access":   {func(c *config.SpaceConfig) { c.ClusterRoles = []string{"view"} }, ""},
		"another role":                {func(c *config.SpaceConfig) { c.ClusterRoles = []string{"cluster-admin"} }, `clusterRoles[0]: Invalid value: "cluster-admin": add it to the Helm value space.allowedClusterRoles`},
		"a cluster-wide role":         {func(c *config.SpaceConfig) { c.ClusterWideRoles = []string{"reader"} }, ""},
		"another cluster-wide role":   {func(c *config.SpaceConfig) { c.ClusterWideRoles = []string{"reader", "edit"} }, `clusterWideRoles[1]: Invalid value: "edit": add it to the Helm value space.clusterWideRoles`},
		"access with an allowed role": {func(c *config.SpaceConfig) { c.Access = []spaceapi.Access{{ClusterRole: "admin"}} }, ""},
		"access with another role": {func(c *config.SpaceConfig) {
			c.Access = []spaceapi.Access{{ClusterRole: "view"}, {ClusterRole: "cluster-admin"}}
		}, `access[1].clusterRole: Invalid value: "cluster-admin": add it to the Helm value space.allowedClusterRoles`},
		"copies":                        {func(c *config.SpaceConfig) { c.CopyFrom = &spaceapi.CopyFrom{Namespace: "templates"} }, ""},
		"copies from another namespace": {func(c *config.SpaceConfig) { c.CopyFrom = &spaceapi.CopyFrom{Namespace: "kube-system"} }, `copyFrom.namespace: Invalid value: "kube-system": add it to the Helm value space.copyFromNamespaces`},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.CheckAllowed(defaults(test.change).Recorded)
			if test.want != "" {
				wantError(t, err, "the DeviceClass has parameters that the Helm values do not allow: "+test.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestResolve_rejectsScopesWithABudget(t *testing.T) {
	scoped := configs{opaque(own, class, classJSON(`"resourceQuota":{"hard":{"pods":"5"},"scopes":["NotTerminating"]}`))}
	result := resultOf("space")
	if got, err := settings.Resolve(&allocation.Allocation{Configs: scoped, Results: []allocation.Result{result}}, result); err != nil || len(got.ResourceQuota.Scopes) != 1 {
		t.Errorf("got %+v, error %v", got.ResourceQuota, err)
	}
	result.ConsumedCapacity = map[resourceapi.QualifiedName]resource.Quantity{"cpu": resource.MustParse("1")}
	_, err := settings.Resolve(&allocation.Allocation{Configs: scoped, Results: []allocation.Result{result}}, result)
	wantError(t, err, "resourceQuota: Forbidden: scopes are not possible with a pool that has a budget")
}

// values are possible values of fields. There are only a few, so that class and claim are often equal.
type values map[string][]any

var (
	quotas    = []any{fields{"hard": fields{"pods": "5"}}, fields{"hard": fields{"pods": 10}}, fields{"hard": fields{"pods": "0", "cpu": "1500m"}}, fields{"hard": fields{"cpu": "1.5", "memory": "1Gi"}}, fields{"hard": fields{"cpu": "2", "memory": "1G"}}, fields{"hard": fields{}}}
	levels    = []any{fields{"enforce": "privileged"}, fields{"enforce": "baseline", "warn": "restricted"}, fields{"enforce": "restricted"}, fields{"audit": "baseline"}, fields{"audit": "privileged", "warn": "privileged"}}
	lifetimes = []any{"1h", "60m", "2h", "90s"}
	booleans  = []any{true, false}
	roles     = []any{[]any{"view"}, []any{"edit"}, []any{"admin", "view"}, []any{"cluster-admin"}}

	classValues = values{
		"namespacePrefix": {"a-", "b-"}, "labels": {fields{"team": "a"}, fields{"a": "b", "c": "d"}},
		"allowedLabels": {[]any{"*"}, []any{"x", "team"}, []any{"y/*"}, []any{}}, "annotations": {fields{"e": "f"}},
		"clusterRoles": roles, "allowedClusterRoles": {[]any{"view"}, []any{"edit", "admin"}, []any{}}, "clusterWideRoles": {[]any{"crds"}, []any{}},
		"podSecurity": levels, "resourceQuota": quotas, "allowNestedSpaces": booleans, "limitRange": {fields{"limits": []any{fields{"type": "Pod", "max": fields{"cpu": "1"}}}}},
		"network": {fields{"mode": "Isolated"}, fields{"mode": "Open"}}, "tokenLifetime": {"10m", "1h"}, "maxLifetime": lifetimes, "maxExtension": lifetimes, "retention": {fields{"period": "1h"}, fields{"period": "1h", "when": "OnFailure"}},
		"copyFrom": {fields{"namespace": "n", "secrets": []any{fields{"name": "s"}}}}, "allowAdminAccess": booleans, "disableEtcMount": booleans, "exclusive": booleans, "env": {fields{"p": "class"}},
	}
	claimValues = values{
		"clusterRoles": append([]any{[]any{"crds"}}, roles...), "labels": {fields{"team": "b"}, fields{"x": "y"}, fields{"y/z": ""}, fields{"yy/z": ""}}, "podSecurity": levels, "resourceQuota": quotas,
		"network": {fields{"mode": "Isolated"}, fields{"mode": "Open"}}, "maxLifetime": lifetimes, "envPrefix": {"A", "B"}, "mountPath": {"/creds"},
		"inCluster": booleans, "kubeconfigEnv": booleans, "embedToken": booleans, "exclusive": booleans, "env": {fields{"p": "claim"}, fields{"q": ""}},
	}
	// classOnlyValues are of fields that only classes have: a claim with one is rejected.
	classOnlyValues = values{
		"clusterWideRoles": {[]any{"cluster-admin"}}, "access": {[]any{}}, "allowNestedSpaces": booleans, "disableEtcMount": booleans, "allowAdminAccess": booleans, "retention": {fields{"period": "1h"}}, "maxExtension": lifetimes, "tokenLifetime": {"24h"},
		"namespacePrefix": {"kube-"}, "allowedLabels": {[]any{"*"}}, "annotations": {fields{"e": "g"}}, "copyFrom": {fields{"namespace": "kube-system", "secrets": []any{fields{"name": "s"}}}}, "limitRange": {fields{}},
	}
)

type fields = map[string]any

// randomConfig returns a config with up to limit of the fields.
func randomConfig(t *testing.T, random *rand.Rand, kind string, from values, limit int) string {
	t.Helper()
	out := fields{"apiVersion": spaceapi.APIVersion, "kind": kind}
	names := slices.Sorted(maps.Keys(from))
	for range random.IntN(limit + 1) {
		name := names[random.IntN(len(names))]
		out[name] = from[name][random.IntN(len(from[name]))]
	}
	raw, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestResolve_claimsOnlyRestrictRandomClasses(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var accepted, rejected int
	for range 500 {
		var classes configs
		for range 1 + random.IntN(2) {
			classes = append(classes, opaque(own, class, randomConfig(t, random, spaceapi.SpaceClassConfigKind, classValues, 24)))
		}
		withoutClaim, err := resolve(settings, classes, "space", []string{"space"})
		if err != nil {
			t.Fatalf("a class is rejected: %v", err)
		}
		both := slices.Clone(classes)
		for range 1 + random.IntN(2) {
			from := claimValues
			if random.IntN(20) == 0 {
				from = classOnlyValues
			}
			both = append(both, opaque(own, claim, randomConfig(t, random, spaceapi.SpaceClaimConfigKind, from, 2)))
		}
		random.Shuffle(len(both)-len(classes), func(i, j int) {
			both[len(classes)+i], both[len(classes)+j] = both[len(classes)+j], both[len(classes)+i]
		})
		got, err := resolve(settings, both, "space", []string{"space"})
		if err != nil {
			rejected++
			if !reflect.DeepEqual(got, config.SpaceConfig{}) {
				t.Errorf("an error and %+v", got)
			}
			continue
		}
		accepted++
		wantRestricted(t, got, withoutClaim, mergedClass(t, classes))
		if t.Failed() {
			for _, c := range both {
				t.Logf("%s %s", c.Source, c.Opaque.Parameters.Raw)
			}
			t.FailNow()
		}
	}
	if accepted < 100 || rejected < 100 {
		t.Errorf("%d were accepted and %d rejected, want at least 100 each", accepted, rejected)
	}
}

// mergedClass merges the strings, booleans and lists of classes.
func mergedClass(t *testing.T, classes configs) (merged spaceapi.SpaceClassConfig) {
	t.Helper()
	for _, c := range classes {
		if err := json.Unmarshal(c.Opaque.Parameters.Raw, &merged); err != nil {
			t.Fatal(err)
		}
	}
	return merged
}

func hardOf(space config.SpaceConfig) corev1.ResourceList {
	if space.ResourceQuota == nil {
		return nil
	}
	return space.ResourceQuota.Hard
}

// wantRestricted checks that the configuration of a claim only restricts that of its class, and
// only as the class allows.
func wantRestricted(t *testing.T, got, withoutClaim config.SpaceConfig, merged spaceapi.SpaceClassConfig) {
	t.Helper()
	for _, role := range got.ClusterRoles {
		if !slices.Contains(slices.Concat(withoutClaim.ClusterRoles, merged.AllowedClusterRoles), role) {
			t.Errorf("ClusterRoles %v", got.ClusterRoles)
		}
	}
	for key, value := range withoutClaim.Labels {
		if got.Labels[key] != value {
			t.Errorf("label %s=%s", key, got.Labels[key])
		}
	}
	for key := range got.Labels {
		domain, _, _ := strings.Cut(key, "/")
		_, ofClass := withoutClaim.Labels[key]
		if !ofClass && !slices.ContainsFunc([]string{"*", key, domain + "/*"}, func(allowed string) bool { return slices.Contains(merged.AllowedLabels, allowed) }) {
			t.Errorf("label %s, but the class allows %v", key, merged.AllowedLabels)
		}
	}
	order := []string{"", "privileged", "baseline", "restricted"}
	for _, level := range [][2]string{
		{got.PodSecurity.Enforce, withoutClaim.PodSecurity.Enforce}, {got.PodSecurity.Audit, withoutClaim.PodSecurity.Audit}, {got.PodSecurity.Warn, withoutClaim.PodSecurity.Warn},
	} {
		if slices.Index(order, level[0]) < slices.Index(order, level[1]) {
			t.Errorf("Pod Security %v", got.PodSecurity)
		}
	}
	for name, limit := range hardOf(withoutClaim) {
		if value, ok := hardOf(got)[name]; !ok || value.Cmp(limit) > 0 {
			t.Errorf("quota %s=%s", name, value.String())
		}
	}
	if withoutClaim.Network.Mode == spaceapi.NetworkIsolated && got.Network.Mode != spaceapi.NetworkIsolated {
		t.Errorf("network %s", got.Network.Mode)
	}
	if limit, lifetime := withoutClaim.MaxLifetime.Duration, got.MaxLifetime.Duration; limit > 0 && (lifetime <= 0 || lifetime > limit) {
		t.Errorf("lifetime %s", lifetime)
	}
	// The other fields must be those of the class, except for those that only a claim has. A new
	// field fails this test until it is added here.
	got.ClusterRoles, got.Labels, got.PodSecurity, got.ResourceQuota = withoutClaim.ClusterRoles, withoutClaim.Labels, withoutClaim.PodSecurity, withoutClaim.ResourceQuota
	got.Network.Mode, got.MaxLifetime = withoutClaim.Network.Mode, withoutClaim.MaxLifetime
	got.EnvPrefix, got.MountPath, got.InCluster, got.KubeconfigEnv, got.EmbedToken, got.UserEnv = "", "", false, false, false, nil
	if !equality.Semantic.DeepEqual(got, withoutClaim) {
		t.Errorf("got %+v, but the class has %+v", got, withoutClaim)
	}
}

func FuzzResolve_claimsOnlyRestrict(f *testing.F) {
	f.Add(classJSON(everyClassField), claimJSON(everyClaimField))
	f.Add("", claimJSON(`"clusterRoles":["cluster-admin"]`))
	f.Add(classJSON(`"resourceQuota":{"hard":{"cpu":"1e1000000000"}}`), claimJSON(`"labels":{"a":7}`))
	f.Add(`{"kind":"SpaceClassConfig"`, `null`)
	f.Fuzz(func(t *testing.T, classRaw, claimRaw string) {
		classes := configs{opaque(own, class, classRaw)}
		if classRaw == "" {
			classes = nil
		}
		withoutClaim, err := resolve(settings, classes, "space", []string{"space"})
		if err != nil {
			wantOnlyError(t, withoutClaim, err)
			return
		}
		if withoutClaim.MaxLifetime.Duration < 0 || withoutClaim.Retention.Duration < 0 || withoutClaim.TokenLifetime < 0 {
			t.Errorf("negative: %+v", withoutClaim)
		}
		got, err := resolve(settings, append(classes, opaque(own, claim, claimRaw)), "space", []string{"space"})
		if err != nil {
			wantOnlyError(t, got, err)
			return
		}
		wantRestricted(t, got, withoutClaim, mergedClass(t, classes))
	})
}

func wantOnlyError(t *testing.T, got config.SpaceConfig, err error) {
	t.Helper()
	if !reflect.DeepEqual(got, config.SpaceConfig{}) {
		t.Errorf("an error and %+v", got)
	}
	if len(err.Error()) > 4096 {
		t.Errorf("an error of %d bytes: %v", len(err.Error()), err)
	}
}
