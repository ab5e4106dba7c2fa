// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

// values are what each field may have. They are few, so that class and claim meet.
type values map[string][]any

var (
	quotas = []any{fields{"hard": fields{"pods": "5"}}, fields{"hard": fields{"pods": 10}}, fields{"hard": fields{"pods": "0", "cpu": "1500m"}}, fields{"hard": fields{"cpu": "1.5", "memory": "1Gi"}}, fields{"hard": fields{"cpu": "2", "memory": "1G"}}, fields{"hard": fields{}}}
	levels = []any{fields{"enforce": "privileged"}, fields{"enforce": "baseline", "warn": "restricted"}, fields{"enforce": "restricted"}, fields{"audit": "baseline"}, fields{"warn": "privileged"}}
	lives  = []any{"1h", "60m", "2h", "90s"}
	truths = []any{true, false}
	roles  = []any{[]any{"view"}, []any{"edit"}, []any{"admin", "view"}, []any{"cluster-admin"}}

	ofClass = values{
		"namespacePrefix": {"a-", "b-"}, "labels": {fields{"team": "a"}, fields{"a": "b", "c": "d"}},
		"allowedLabels": {[]any{"*"}, []any{"x", "team"}, []any{"y/*"}, []any{}}, "annotations": {fields{"e": "f"}},
		"clusterRoles": roles, "allowedClusterRoles": {[]any{"view"}, []any{"edit", "admin"}, []any{}}, "clusterWideRoles": {[]any{"crds"}, []any{}},
		"podSecurity": levels, "resourceQuota": quotas, "allowNestedSpaces": truths, "limitRange": {fields{"limits": []any{fields{"type": "Pod", "max": fields{"cpu": "1"}}}}},
		"network": {fields{"mode": "Isolated"}, fields{"mode": "Open"}}, "tokenLifetime": {"10m", "1h"}, "maxLifetime": lives, "retention": {fields{"period": "1h"}},
		"copyFrom": {fields{"namespace": "n", "secrets": []any{fields{"name": "s"}}}}, "allowAdminAccess": truths, "exclusive": truths, "env": {fields{"p": "class"}},
	}
	ofClaim = values{
		"clusterRoles": append([]any{[]any{"crds"}}, roles...), "labels": {fields{"team": "b"}, fields{"x": "y"}, fields{"y/z": ""}, fields{"yy/z": ""}}, "podSecurity": levels, "resourceQuota": quotas,
		"network": {fields{"mode": "Isolated"}, fields{"mode": "Open"}}, "maxLifetime": lives, "envPrefix": {"A", "B"}, "mountPath": {"/creds"},
		"inCluster": truths, "kubeconfigEnv": truths, "exclusive": truths, "env": {fields{"p": "claim"}, fields{"q": ""}},
	}
	// beyond are fields of which a claim must have no use.
	beyond = values{
		"clusterWideRoles": {[]any{"cluster-admin"}}, "allowNestedSpaces": truths, "allowAdminAccess": truths, "retention": {fields{"period": "1h"}}, "tokenLifetime": {"24h"},
		"namespacePrefix": {"kube-"}, "allowedLabels": {[]any{"*"}}, "annotations": {fields{"e": "g"}}, "copyFrom": {fields{"namespace": "kube-system", "secrets": []any{fields{"name": "s"}}}}, "limitRange": {fields{}},
	}
)

type fields = map[string]any

// some returns a config of some of the fields.
func some(t *testing.T, random *rand.Rand, kind string, from values, most int) string {
	t.Helper()
	out := fields{"apiVersion": spaceapi.APIVersion, "kind": kind}
	names := make([]string, 0, len(from))
	for name := range from {
		names = append(names, name)
	}
	slices.Sort(names)
	for range random.IntN(most + 1) {
		name := names[random.IntN(len(names))]
		out[name] = from[name][random.IntN(len(from[name]))]
	}
	raw, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestAClaimNeverGetsMoreThanItsClassGives(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var narrowed, refused int
	for range 5_000 {
		var classes configs
		for range 1 + random.IntN(2) {
			classes = append(classes, opaque(ours, class, some(t, random, spaceapi.SpaceClassConfigKind, ofClass, 12)))
		}
		alone, err := resolve(settings, classes, "space", []string{"space"})
		if err != nil {
			t.Fatalf("a class is refused: %v", err)
		}
		both := slices.Clone(classes)
		for range 1 + random.IntN(2) {
			from := ofClaim
			if random.IntN(20) == 0 {
				from = beyond
			}
			both = append(both, opaque(ours, claim, some(t, random, spaceapi.SpaceClaimConfigKind, from, 3)))
		}
		random.Shuffle(len(both)-len(classes), func(i, j int) {
			both[len(classes)+i], both[len(classes)+j] = both[len(classes)+j], both[len(classes)+i]
		})
		got, err := resolve(settings, both, "space", []string{"space"})
		if err != nil {
			refused++
			if !reflect.DeepEqual(got, config.SpaceConfig{}) {
				t.Errorf("an error and %+v", got)
			}
			continue
		}
		narrowed++
		givesNoMore(t, got, alone, saidBy(t, classes))
		if t.Failed() {
			for _, c := range both {
				t.Logf("%s %s", c.Source, c.Opaque.Parameters.Raw)
			}
			t.FailNow()
		}
	}
	if narrowed < 500 || refused < 500 {
		t.Errorf("%d were narrowed and %d refused: the test says little", narrowed, refused)
	}
}

// saidBy puts classes together, as far as strings, truths and lists go.
func saidBy(t *testing.T, classes configs) (said spaceapi.SpaceClassConfig) {
	t.Helper()
	for _, c := range classes {
		if err := json.Unmarshal(c.Opaque.Parameters.Raw, &said); err != nil {
			t.Fatal(err)
		}
	}
	return said
}

func hardOf(space config.SpaceConfig) corev1.ResourceList {
	if space.ResourceQuota == nil {
		return nil
	}
	return space.ResourceQuota.Hard
}

// givesNoMore compares what holds for a claim with what its class alone gives, and
// with what the class says.
func givesNoMore(t *testing.T, got, alone config.SpaceConfig, said spaceapi.SpaceClassConfig) {
	t.Helper()
	for _, role := range got.ClusterRoles {
		if !slices.Contains(slices.Concat(alone.ClusterRoles, said.AllowedClusterRoles), role) {
			t.Errorf("ClusterRoles %v", got.ClusterRoles)
		}
	}
	for key, value := range alone.Labels {
		if got.Labels[key] != value {
			t.Errorf("label %s=%s", key, got.Labels[key])
		}
	}
	for key := range got.Labels {
		domain, _, _ := strings.Cut(key, "/")
		_, ofClass := alone.Labels[key]
		if !ofClass && !slices.ContainsFunc([]string{"*", key, domain + "/*"}, func(allowed string) bool { return slices.Contains(said.AllowedLabels, allowed) }) {
			t.Errorf("label %s, but the class allows %v", key, said.AllowedLabels)
		}
	}
	order := []string{"", "privileged", "baseline", "restricted"}
	for _, level := range [][2]string{
		{got.PodSecurity.Enforce, alone.PodSecurity.Enforce}, {got.PodSecurity.Audit, alone.PodSecurity.Audit}, {got.PodSecurity.Warn, alone.PodSecurity.Warn},
	} {
		if slices.Index(order, level[0]) < slices.Index(order, level[1]) {
			t.Errorf("Pod Security %v", got.PodSecurity)
		}
	}
	for name, most := range hardOf(alone) {
		if value, ok := hardOf(got)[name]; !ok || value.Cmp(most) > 0 {
			t.Errorf("quota %s=%s", name, value.String())
		}
	}
	if alone.Network.Mode == spaceapi.NetworkIsolated && got.Network.Mode != spaceapi.NetworkIsolated {
		t.Errorf("network %s", got.Network.Mode)
	}
	if most, lives := alone.MaxLifetime.Duration, got.MaxLifetime.Duration; most > 0 && (lives <= 0 || lives > most) {
		t.Errorf("lifetime %s", lives)
	}
	// All else is as the class has it, but for what only a claim can say. This
	// way round, a field that is new has to be thought of here.
	got.ClusterRoles, got.Labels, got.PodSecurity, got.ResourceQuota = alone.ClusterRoles, alone.Labels, alone.PodSecurity, alone.ResourceQuota
	got.Network.Mode, got.MaxLifetime = alone.Network.Mode, alone.MaxLifetime
	got.EnvPrefix, got.MountPath, got.InCluster, got.KubeconfigEnv, got.UserEnv = "", "", false, false, nil
	if !equality.Semantic.DeepEqual(got, alone) {
		t.Errorf("got %+v, but the class has %+v", got, alone)
	}
}

func FuzzFor(f *testing.F) {
	f.Add(classJSON(everyClassField), claimJSON(everyClaimField))
	f.Add("", claimJSON(`"clusterRoles":["cluster-admin"]`))
	f.Add(classJSON(`"resourceQuota":{"hard":{"cpu":"1e1000000000"}}`), claimJSON(`"labels":{"a":7}`))
	f.Add(`{"kind":"SpaceClassConfig"`, `null`)
	f.Fuzz(func(t *testing.T, classRaw, claimRaw string) {
		classes := configs{opaque(ours, class, classRaw)}
		if classRaw == "" {
			classes = nil
		}
		alone, err := resolve(settings, classes, "space", []string{"space"})
		if err != nil {
			refusedWholly(t, alone, err)
			return
		}
		if alone.MaxLifetime.Duration < 0 || alone.Retention.Duration < 0 || alone.TokenLifetime < 0 {
			t.Errorf("negative: %+v", alone)
		}
		got, err := resolve(settings, append(classes, opaque(ours, claim, claimRaw)), "space", []string{"space"})
		if err != nil {
			refusedWholly(t, got, err)
			return
		}
		givesNoMore(t, got, alone, saidBy(t, classes))
	})
}

func refusedWholly(t *testing.T, got config.SpaceConfig, err error) {
	t.Helper()
	if !reflect.DeepEqual(got, config.SpaceConfig{}) {
		t.Errorf("an error and %+v", got)
	}
	if len(err.Error()) > 4096 {
		t.Errorf("an error of %d bytes: %v", len(err.Error()), err)
	}
}
