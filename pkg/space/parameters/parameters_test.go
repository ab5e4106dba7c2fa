// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package parameters_test

import (
	"reflect"
	"slices"
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
	"github.com/space-dra/space-dra-driver/pkg/space/parameters/parameterstest"
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

// of are the parameters that a case has, for all requests.
func of(c parameterstest.Case) (out configs) {
	if c.Class != "" {
		out = append(out, config(ours, class, c.Class))
	}
	if c.Claim != "" {
		out = append(out, config(ours, claim, c.Claim))
	}
	return out
}

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
		return config(ours, class, parameterstest.Class(fields), requests...)
	}
	claimOf := func(fields string, requests ...string) resourceapi.DeviceAllocationConfiguration {
		return config(ours, claim, parameterstest.Claim(fields), requests...)
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
		"a class's": {configs{of(accepted(t, "each field of a class"))[0]}, parameters.Effective{
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
		"a claim's": {of(accepted(t, "each field of a claim")), parameters.Effective{
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

func accepted(t *testing.T, name string) parameterstest.Case {
	t.Helper()
	all := parameterstest.Accepted()
	i := slices.IndexFunc(all, func(c parameterstest.Case) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("no case %q", name)
	}
	return all[i]
}

func TestWhatIsRightIsAccepted(t *testing.T) {
	for _, c := range parameterstest.Accepted() {
		t.Run(c.Name, func(t *testing.T) {
			got, err := parameters.For(installation, of(c), "space", []string{"space"})
			if err != nil {
				t.Error(err)
			}
			if got.ClusterRole == "" || got.PodSecurity.Enforce == "" || got.Network == "" {
				t.Errorf("not complete: %+v", got)
			}
		})
	}
}

func TestWhatIsWrongIsRefused(t *testing.T) {
	names := map[string]bool{}
	for _, c := range parameterstest.Refused() {
		if names[c.Name] {
			t.Errorf("two cases are named %q", c.Name)
		}
		names[c.Name] = true
		t.Run(c.Name, func(t *testing.T) {
			got, err := parameters.For(installation, of(c), "space", []string{"space"})
			wantError(t, err, c.Words...)
			if got.MaxLifetime = 0; !reflect.DeepEqual(got, parameters.Effective{}) {
				t.Errorf("an error and %+v", got)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("%d bytes are too long for an event: %v", len(err.Error()), err)
			}
		})
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
	good, unknown := parameterstest.Class(""), `{"apiVersion":"space.resource.example.com/v9","kind":"Whatever"}`
	for name, test := range map[string]struct {
		configs configs
		want    string
	}{
		"behind those of others": {configs{{Source: class}, config(foreign, class, unknown), config(ours, claim, unknown)}, "the ResourceClaim has"},
		"behind good ones":       {configs{config(ours, class, good), config(ours, class, unknown)}, "the DeviceClass has"},
		"before others":          {configs{config(ours, class, unknown), config(ours, claim, unknown)}, "the DeviceClass has"},
		"of no known source":     {configs{config(ours, "", good)}, "only a DeviceClass can have"},
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
		class: parameterstest.Class(`"labels":{"gpu.example.com/claim-uid":"x"}`),
		claim: parameterstest.Claim(`"labels":{"gpu.example.com/claim-uid":"x"}`),
	} {
		_, err := parameters.For(renamed, configs{config(foreign, source, raw)}, "space", []string{"space"})
		wantError(t, err, "keys of gpu.example.com are the driver's own")
	}
}

func TestAVariablePrefixIsForOneSpace(t *testing.T) {
	raw := parameterstest.Claim(`"variablePrefix":"MINE"`)
	for name, test := range map[string]struct {
		requests []string
		all      []string
		refused  string
	}{
		"one request":                                 {nil, []string{"a"}, ""},
		"one of several requests":                     {[]string{"a"}, []string{"a", "b"}, ""},
		"several requests of which one is ours":       {[]string{"a", "gpu"}, []string{"a"}, ""},
		"all requests":                                {nil, []string{"a", "b"}, "are for several spaces, which would get variables of the same names: a, b"},
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
