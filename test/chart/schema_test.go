// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/pools"
)

// notInValues are keys that umbrella charts and their users set.
var notInValues = []string{"enabled"}

// schema is a JSON schema, or a part of it.
type schema struct {
	Ref                  string            `json:"$ref"`
	Properties           map[string]schema `json:"properties"`
	AdditionalProperties json.RawMessage   `json:"additionalProperties"`
	Definitions          map[string]schema `json:"definitions"`
}

func readSchema(t *testing.T) schema {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(directory(), "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatalf("read the schema: %v", err)
	}
	return s
}

// resolve follows a reference.
func (s schema) resolve(root schema) schema {
	if name, found := strings.CutPrefix(s.Ref, "#/definitions/"); found {
		return root.Definitions[name].resolve(root)
	}
	return s
}

func TestSchema_hasTheKeysOfTheValues(t *testing.T) {
	root := readSchema(t)
	var compare func(path string, have values, want schema)
	compare = func(path string, have values, want schema) {
		want = want.resolve(root)
		if want.Properties == nil {
			return // a map with any keys
		}
		// An umbrella chart can have other global values.
		if string(want.AdditionalProperties) != "false" && path != ".global" {
			t.Errorf("%s may have keys that the schema does not describe", path)
		}
		for key, value := range have {
			part, described := want.Properties[key]
			if !described {
				t.Errorf("%s.%s is in values.yaml, but not in the schema", path, key)
				continue
			}
			if below, isMap := value.(values); isMap && len(below) > 0 {
				compare(path+"."+key, below, part)
			}
		}
		for key := range want.Properties {
			if _, found := have[key]; !found && !missing(path, key) {
				t.Errorf("%s.%s is in the schema, but not in values.yaml", path, key)
			}
		}
	}
	compare("", defaults(t), root)
}

// missing reports whether values.yaml may lack a key: one of umbrella charts, or one of a Kubernetes
// type.
func missing(path, key string) bool {
	if path == "" {
		return slices.Contains(notInValues, key)
	}
	last := path[strings.LastIndex(path, ".")+1:]
	return slices.Contains([]string{"resources", "livenessProbe", "readinessProbe"}, last)
}

// TestSchema_hasTheFieldsOfTheAPI compares the schema with the Go types.
func TestSchema_hasTheFieldsOfTheAPI(t *testing.T) {
	root := readSchema(t)
	for path, described := range map[string]reflect.Type{
		"spaceClassConfig":             reflect.TypeFor[spaceapi.SpaceClassConfig](),
		"spaceClassConfig.copyFrom":    reflect.TypeFor[spaceapi.CopyFrom](),
		"spaceClassConfig.network":     reflect.TypeFor[spaceapi.Network](),
		"spaceClassConfig.retention":   reflect.TypeFor[spaceapi.Retention](),
		"spaceClassConfig.podSecurity": reflect.TypeFor[spaceapi.PodSecurity](),
		"pool":                         reflect.TypeFor[pools.Pool](),
		"pool.budget":                  reflect.TypeFor[pools.Budget](),
		"pool.perNode":                 reflect.TypeFor[pools.PerNode](),
	} {
		definition, field, below := strings.Cut(path, ".")
		part := root.Definitions[definition]
		if below {
			part = part.Properties[field]
		}
		if got, want := slices.Sorted(maps.Keys(part.Properties)), fieldsOf(described); !slices.Equal(got, want) {
			t.Errorf("%s in the schema has %q, in Go %q", path, got, want)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(root.Definitions["amounts"].Properties)) {
		if spaceapi.QuotaResource(name) == "" {
			t.Errorf("a budget cannot have %s", name)
		}
	}
}

// fieldsOf returns the JSON names of a type's fields, sorted.
func fieldsOf(described reflect.Type) []string {
	var out []string
	for i := range described.NumField() {
		if field := described.Field(i); !field.Anonymous {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func TestSchema_acceptsValidClasses(t *testing.T) {
	var classes []any
	for i, fields := range []string{
		`{}`,
		`{"namespacePrefix":"ci-","labels":{"a":"b"},"annotations":{"c":"d"},"clusterRoles":["edit"],"inheritLabels":["cost-center"],"allowedLabels":["*","a","a.example/b","a.example/*"],"allowedClusterRoles":["view"],
			"clusterWideRoles":["crds"],"access":[{"subjects":[{"kind":"Group","name":"a","apiGroup":"rbac.authorization.k8s.io"},{"kind":"ServiceAccount","name":"b","namespace":"c"}],"clusterRole":"view","when":"Always"}],"podSecurity":{"enforce":"privileged","enforceVersion":"v1.34","audit":"baseline","auditVersion":"latest","warn":"restricted","warnVersion":"latest"},"resourceQuota":{"hard":{"requests.cpu":"4","pods":10}},"allowNestedSpaces":true,
			"limitRange":{"limits":[{"type":"Container","default":{"cpu":"1"}}]},"network":{"mode":"Isolated","ingress":[{"from":[{"namespaceSelector":{}}],"ports":[{"port":80}]}],"egress":[{}]},"tokenLifetime":"10m","maxLifetime":"8h","maxExtension":"4h","maxTerminationGracePeriod":"1m","retention":{"period":"30m","when":"OnFailure"},
			"copyFrom":{"namespace":"a","secrets":[{"name":"b"}],"configMaps":[{"name":"c"}],"imagePullSecrets":[{"name":"b"}]},"allowAdminAccess":true,"disableEtcMount":true,"exclusive":true,"env":{"e":"f"}}`,
		`{"labels":{"kubernetes.io/a":"","example.com/b":"c"},"annotations":{"a":"anything\nat all"},"clusterRoles":["system:aggregate-to-view"],"clusterWideRoles":["a:b"]}`,
		`{"resourceQuota":{"hard":{"limits.memory":"1.5Gi","requests.nvidia.com/gpu":"4","count/deployments.apps":"3","hugepages-2Mi":"4Mi","services.nodeports":0,"cpu":"1e3"}}}`,
		`{"limitRange":{"limits":[{"type":"Container","min":{"cpu":"100m"},"defaultRequest":{"cpu":"100m"},"default":{"cpu":"300m"},"max":{"cpu":"300m"},"maxLimitRequestRatio":{"cpu":"3"}},
			{"type":"Pod","max":{"memory":"1Gi"}},{"type":"PersistentVolumeClaim","max":{"storage":"1Ti"}}]}}`,
	} {
		config := values{}
		if err := json.Unmarshal([]byte(fields), &config); err != nil {
			t.Fatal(err)
		}
		classes = append(classes, values{"name": fmt.Sprintf("class-%d", i), "config": config})
	}
	render(t, values{"deviceClasses": classes})
}

func TestSchema_acceptsValidPools(t *testing.T) {
	described := []any{
		values{"name": "a"},
		values{"name": "b", "limit": 10000, "bindingConditions": false},
		values{"name": "c", "perNode": values{"limit": 1}, "nodeSelector": values{"example.com/zone": "", "zone": "a"}},
		values{"name": "d", "limit": 2, "budget": values{
			"total":   values{"cpu": "32", "memory": "64Gi", "pods": 200, "limits_cpu": "1.5", "ephemeral_storage": "1e3"},
			"default": values{"cpu": 1, "memory": "2Gi", "pods": "10", "limits_cpu": "500m", "ephemeral_storage": "1"},
			"min":     values{"memory": "1Gi"}, "max": values{"cpu": "8"}, "step": values{"cpu": "1"},
		}},
		values{"name": "e", "attributes": values{"tier": "gold", "size": 3, "fast": true, "release": values{"version": "1.2.3-rc.1+b"}}},
	}
	config := render(t, values{"pools": described})["ConfigMap/rel-space-dra-driver-controller-pools"]
	data := config.Object["data"].(values)["pools.yaml"].(string)
	if _, err := pools.Parse([]byte(data)); err != nil {
		t.Errorf("the controller rejects the pools: %v", err)
	}
}

func TestSchema_acceptsTheValuesOfTheExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(directory(), "../../../demo/examples/*values*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the examples have no values (error: %v)", err)
	}
	for _, file := range files {
		render(t, nil, "--values="+file)
	}
}
