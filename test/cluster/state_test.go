// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import "testing"

func TestCheckConfig_rejectsOtherSettings(t *testing.T) {
	running := Config{Name: "c", Nodes: 1, Kubeconfig: "/k"}
	rec := &record{Config: running}
	if err := rec.checkConfig(running); err != nil {
		t.Errorf("the same settings: %v", err)
	}
	for name, change := range map[string]func(*Config){
		"nodes":      func(c *Config) { c.Nodes = 2 },
		"version":    func(c *Config) { c.Kubernetes = "1.34.5" },
		"gates":      func(c *Config) { c.FeatureGates = map[string]bool{"A": true} },
		"flags":      func(c *Config) { c.ControllerManagerFlags = []string{"--a"} },
		"directory":  func(c *Config) { c.KubeletDir = "/var/other" },
		"kubeconfig": func(c *Config) { c.Kubeconfig = "/l" },
	} {
		cfg := running
		change(&cfg)
		if rec.checkConfig(cfg) == nil {
			t.Errorf("other %s: no error", name)
		}
	}
}
