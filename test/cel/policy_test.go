// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/version"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters/parameterstest"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters/rules"
)

// oldest is the oldest API server's predecessor: in new policies, an API server
// takes only what that one understands.
const oldest = "1.33"

const driver = spaceapi.DefaultDriverName

// side is a kind with what belongs to it.
type side struct {
	kind   rules.Kind
	source resourceapi.AllocationConfigSource
	object string
	// of are the parameters that a case has for it.
	of func(parameterstest.Case) string
}

func sides() []side {
	return []side{
		{rules.Class(driver), resourceapi.AllocationConfigSourceClass, "DeviceClass", func(c parameterstest.Case) string { return c.Class }},
		{rules.Claim(driver), resourceapi.AllocationConfigSourceClaim, "ResourceClaim", func(c parameterstest.Case) string { return c.Claim }},
	}
}

// policy is the variables of a policy.
type policy struct {
	names    []string
	programs []cel.Program
}

func (s side) policy(t testing.TB, release string) policy {
	t.Helper()
	env, err := environment.MustBaseEnvSet(version.MustParse(release)).NewExpressionsEnv().Extend(cel.Variable("configs", cel.DynType), cel.Variable("variables", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	var p policy
	for _, v := range s.kind.Variables(driver, "configs", "'the "+s.object+"'") {
		ast, issues := env.Compile(v.Expression)
		if issues.Err() != nil {
			t.Fatalf("variable %s of %s: %.2000s", v.Name, s.kind.Name, issues.Err())
		}
		program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize, cel.OptTrackCost))
		if err != nil {
			t.Fatalf("variable %s of %s: %v", v.Name, s.kind.Name, err)
		}
		p.names, p.programs = append(p.names, v.Name), append(p.programs, program)
	}
	return p
}

// message is what the policy says of configurations, and what that costs.
func (p policy) message(t testing.TB, raws ...string) (message string, dearest, cost uint64) {
	t.Helper()
	var configs []any
	for _, raw := range raws {
		config, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&resourceapi.DeviceClassConfiguration{DeviceConfiguration: opaque(raw)})
		if err != nil {
			t.Fatal(err)
		}
		configs = append(configs, config)
	}
	variables := map[string]any{}
	for i, program := range p.programs {
		value, details, err := program.Eval(map[string]any{"configs": configs, "variables": variables})
		if err != nil {
			t.Fatalf("variable %s of %q: %v", p.names[i], raws, err)
		}
		variables[p.names[i]] = value
		dearest, cost = max(dearest, *details.ActualCost()), cost+*details.ActualCost()
		message, _ = value.Value().(string)
	}
	return message, dearest, cost
}

func opaque(raw string) resourceapi.DeviceConfiguration {
	return resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{Driver: driver, Parameters: runtime.RawExtension{Raw: []byte(raw)}}}
}

// byController is what the controller says, but for what the class has to do with it.
func (s side) byController(raw string) string {
	installation := parameters.Installation{Driver: driver, ClusterRole: "edit", PodSecurity: "privileged", Network: spaceapi.NetworkOpen}
	configs := []resourceapi.DeviceAllocationConfiguration{{Source: s.source, DeviceConfiguration: opaque(raw)}}
	_, err := parameters.For(installation, configs, "space", []string{"space"})
	if err == nil || strings.Contains(err.Error(), "that its DeviceClass does not allow") {
		return ""
	}
	return err.Error()
}

// seeds are the cases that an API server stores.
func (s side) seeds() (out []string) {
	for _, c := range slices.Concat(parameterstest.Refused(), parameterstest.Accepted()) {
		if raw := s.of(c); strings.HasPrefix(raw, "{") && json.Valid([]byte(raw)) {
			out = append(out, raw)
		}
	}
	return out
}

func TestTheOldestAPIServerUnderstandsThePolicies(t *testing.T) {
	for _, s := range sides() {
		for _, release := range []string{oldest, "1.34", "1.35", "1.36", "1.37"} {
			s.policy(t, release)
		}
	}
}

func TestControllerAndPolicySayTheSameOfAnything(t *testing.T) {
	for _, s := range sides() {
		t.Run(s.kind.Name, func(t *testing.T) {
			t.Parallel()
			policy, seeds := s.policy(t, oldest), s.seeds()
			m := maker{rand.New(rand.NewPCG(1, 2)), append(s.kind.Fields(), "enforce", "audit", "warn", "namespace", "secrets", "configMaps", "imagePullSecrets",
				"type", "min", "max", "default", "defaultRequest", "maxLimitRequestRatio", "inCluster", "retain")}
			accepted := 0
			for range 2_000 {
				var object map[string]any
				if err := json.Unmarshal([]byte(seeds[m.IntN(len(seeds))]), &object); err != nil {
					t.Fatal(err)
				}
				for range m.IntN(4) {
					m.changed(object, 0)
				}
				if slices.Contains(s.kind.Fields(), "limitRange") && m.IntN(3) == 0 {
					object["limitRange"] = m.limitRange()
				}
				raw, err := json.Marshal(object)
				if err != nil {
					t.Fatal(err)
				}
				want := s.byController(string(raw))
				if got, _, _ := policy.message(t, string(raw)); got != want {
					t.Fatalf("of %s\n     policy: %s\n controller: %s", raw, got, want)
				}
				if want == "" {
					accepted++
				}
			}
			if accepted < 100 {
				t.Errorf("only %d were accepted", accepted)
			}
		})
	}
}

// What is good must not be refused because it is dear to look at.
func TestThePoliciesCanAffordTheLargestParameters(t *testing.T) {
	for _, s := range sides() {
		object := map[string]any{"apiVersion": spaceapi.APIVersion, "kind": s.kind.Name}
		labels, quotas, variables := map[string]string{}, map[string]string{}, map[string]string{}
		for i := range 64 {
			labels[fmt.Sprintf("example%d.com/%s", i, strings.Repeat("l", 30))] = "some-value"
			quotas[fmt.Sprintf("requests.example%d.com/%s", i, strings.Repeat("q", 30))] = "500"
			variables[fmt.Sprintf("variable_%d", i)] = "some-value"
		}
		object["labels"], object["resourceQuota"], object["parameters"] = labels, quotas, variables
		raw, err := json.Marshal(object)
		if err != nil || len(raw) > resourceapi.OpaqueParametersMaxLength {
			t.Fatalf("%d bytes, error %v", len(raw), err)
		}
		message, dearest, cost := s.policy(t, oldest).message(t, slices.Repeat([]string{string(raw)}, resourceapi.DeviceConfigMaxSize)...)
		t.Logf("%s: the dearest variable costs %d, all %d", s.kind.Name, dearest, cost)
		if message != "" || dearest > celconfig.PerCallLimit || cost > celconfig.RuntimeCELCostBudget/2 {
			t.Errorf("%s: the dearest variable costs %d, all %d: %s", s.kind.Name, dearest, cost, message)
		}
	}
}
