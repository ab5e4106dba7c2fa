// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"strings"
	"testing"
)

func TestComplete_checksAndSetsDefaults(t *testing.T) {
	base := func(change func(*Config)) Config {
		cfg := Config{Name: DefaultName, Nodes: 2, BuildDir: "/build"}
		change(&cfg)
		return cfg
	}
	for _, tc := range []struct {
		name       string
		cfg        Config
		kubeconfig string
		problem    string
	}{
		{"default", base(func(*Config) {}), "/build/kubeconfig", ""},
		{"another name", base(func(c *Config) { c.Name = "e2e" }), "/build/e2e.kubeconfig", ""},
		{"kubeconfig", base(func(c *Config) { c.Kubeconfig = "/k" }), "/k", ""},
		{"kubelet's directory", base(func(c *Config) { c.KubeletDir = "/var/other" }), "/build/kubeconfig", ""},
		{"kubelet's directory on the machine", base(func(c *Config) { c.KubeletDir = "/data" }), "", "below /var"},
		{"upper case", base(func(c *Config) { c.Name = "E2E" }), "", "lower-case"},
		{"path", base(func(c *Config) { c.Name = "../x" }), "", "lower-case"},
		{"long name", base(func(c *Config) { c.Name = strings.Repeat("a", 50) }), "", "at most 49"},
		{"fewer than no nodes", base(func(c *Config) { c.Nodes = -1 }), "", "number of nodes"},
		{"NetworkPolicies without nodes", base(func(c *Config) { c.Nodes, c.NetworkPolicies = 0, true }), "", "has none"},
		{"more nodes than addresses", base(func(c *Config) { c.Nodes = 300 }), "", "number of nodes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.cfg.complete()
			if tc.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tc.problem) {
					t.Errorf("got error %v, want one about %q", err, tc.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Kubeconfig != tc.kubeconfig {
				t.Errorf("kubeconfig is %s, want %s", got.Kubeconfig, tc.kubeconfig)
			}
		})
	}
}
