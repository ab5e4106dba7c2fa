// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pools

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse_rejectsInvalidPools(t *testing.T) {
	long := strings.Repeat("x", 65)
	attributes := ""
	for i := range 31 {
		attributes += fmt.Sprintf("a%d: 1, ", i)
	}
	for _, test := range []struct{ text, want string }{
		{`{"pool":[]}`, `unknown field "pool"`},
		{"", "pools: Required value"},
		{"pools: []", "pools: Required value"},
		{"pools: 3", "cannot unmarshal number"},
		{"pool: []", `unknown field "pool"`},
		{"pools: [{name: a, limt: 3}]", `unknown field "pools[0].limt"`},
		{"pools: [{name: a, budget: {cpu: 3}}]", `unknown field "pools[0].budget.cpu"`},
		{"pools: [{name: a}, {name: b, name: c}]", `key "name" already set`},
		{"pools: [{limit: 3}]", "pools[0].name: Invalid value"},
		{"pools: [{name: a/b}]", "pools[0].name: Invalid value"},
		{"pools: [{name: a}, {name: b}, {name: a}]", `pools[2].name: Duplicate value: "a"`},
		{"pools: [{name: a, limit: 0}]", "pools[0].limit: Invalid value: 0"},
		{"pools: [{name: a, limit: 10001}]", "pools[0].limit: Invalid value"},
		{"pools: [{name: a, limit: 1.5}]", "limit"},
		{"pools: [{name: a, perNode: {}}]", "pools[0].perNode.limit: Required value"},
		{"pools: [{name: a, perNode: {limit: -1}}]", "pools[0].perNode.limit: Invalid value: -1"},
		{"pools: [{name: a, limit: 1, perNode: {limit: 1}}]", "pools[0].perNode: Forbidden"},
		{"pools: [{name: a, nodeSelector: {'a b': c}}]", "pools[0].nodeSelector: Invalid value"},
		{"pools: [{name: a, nodeSelector: {a: 'c d'}}]", "pools[0].nodeSelector: Invalid value"},
		{"pools: [{name: a, attributes: {a-b: c}}]", "pools[0].attributes[a-b]: Invalid value"},
		{"pools: [{name: a, attributes: {pool: c}}]", "pools[0].attributes[pool]: Forbidden"},
		{"pools: [{name: a, attributes: {b: 1.5}}]", "pools[0].attributes[b]: Invalid value: 1.5"},
		{"pools: [{name: a, attributes: {b: [1]}}]", "pools[0].attributes[b]: Invalid value"},
		{"pools: [{name: a, attributes: {b: null}}]", "pools[0].attributes[b]: Invalid value"},
		{"pools: [{name: a, attributes: {b: " + long + "}}]", "pools[0].attributes[b]: Invalid value"},
		{"pools: [{name: a, attributes: {" + long[:33] + ": 1}}]", "Too long: may not be more than 32"},
		{"pools: [{name: a, attributes: {b: {version: '1'}}}]", "pools[0].attributes[b]: Invalid value"},
		{"pools: [{name: a, attributes: {b: {version: 1.2.3, x: y}}}]", "pools[0].attributes[b]: Invalid value"},
		{"pools: [{name: a, attributes: {" + attributes + "}}]", "pools[0].attributes: Too many: 31: must have at most 30"},
		{"pools: [{name: a, budget: {}}]", "pools[0].budget.total: Required value"},
		{"pools: [{name: a, budget: {total: {cpu: 3}}}]", "pools[0].budget.default[cpu]: Required value"},
		{"pools: [{name: a, budget: {total: {cpu: 3, gpu: 1}, default: {cpu: 1, gpu: 1}}}]", "pools[0].budget.total[gpu]: Unsupported value"},
		{"pools: [{name: a, budget: {total: {cpu: 3}, default: {cpu: 1, pods: 1}}}]", "pools[0].budget.default[pods]: Not found"},
		{"pools: [{name: a, budget: {total: {cpu: 3}, default: {cpu: x}}}]", "quantities must match"},
		{"pools: [{name: a, budget: {total: {cpu: -3}, default: {cpu: 1}}}]", "pools[0].budget.total[cpu]: Invalid value"},
		{"pools: [{name: a, budget: {total: {cpu: 0}, default: {cpu: 0}}}]", "pools[0].budget.total[cpu]: Invalid value"},
		{"pools: [{name: a, budget: {total: {memory: 16Ei}, default: {memory: 1}}}]", "pools[0].budget.total[memory]: Invalid value"},
		{"pools: [{name: a, budget: {total: {cpu: 3}, default: {cpu: 4}}}]", "pools[0].budget.default[cpu]: Invalid value"},
		{"pools: [{name: a, budget: {total: {cpu: 3}, default: {cpu: 3}, max: {cpu: 2}}}]", "must not be more than the maximum, 2"},
		{"pools: [{name: a, budget: {total: {cpu: 3}, default: {cpu: 3}, max: {cpu: 4}}}]", "must not be more than the total, 3"},
		{"pools: [{name: a, budget: {total: {cpu: 3}, default: {cpu: 1}, min: {cpu: 2}}}]", "must not be less than the minimum, 2"},
		{"pools: [{name: a, budget: {total: {cpu: 3}, default: {cpu: 1}, step: {cpu: 0}}}]", "pools[0].budget.step[cpu]: Invalid value"},
		{"pools: [{name: a, budget: {total: {cpu: 3}, default: {cpu: 1}, step: {cpu: 2}}}]", "must be a multiple of the step, 2, more than the minimum, 0"},
		{"pools: [{name: a, budget: {total: {cpu: 3}, default: {cpu: 1}, step: {cpu: 500m}}}]", "pools[0].budget.step[cpu]: Invalid value: \"500m\": must be an integer"},
		{"pools: [{name: a, budget: {total: {cpu: 3}, default: {cpu: 1500m}, min: {cpu: 500m}, step: {cpu: 1}}}]", "pools[0].budget.min[cpu]: Invalid value: \"500m\": must be an integer"},
	} {
		t.Run(test.text, func(t *testing.T) {
			_, err := Parse([]byte(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one that contains %q", err, test.want)
			}
		})
	}
}

func TestParse_reportsAllErrors(t *testing.T) {
	_, err := Parse([]byte("pools: [{name: A, limit: 0}]"))
	for _, want := range []string{"pools[0].name", "pools[0].limit"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one that contains %q", err, want)
		}
	}
}

func TestLoad_namesTheFileInErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pools.yaml")
	if _, err := Load(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got error %v, want one that contains %q", err, file)
	}
	if err := os.WriteFile(file, []byte("pools: []"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got error %v, want one that contains %q", err, file)
	}
}
