// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestComplete(t *testing.T) {
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
		{"long name", base(func(c *Config) { c.Name = strings.Repeat("a", 31) }), "", "at most 30"},
		{"fewer than no nodes", base(func(c *Config) { c.Nodes = -1 }), "", "number of nodes"},
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

func TestPlan(t *testing.T) {
	name := strings.Repeat("n", maxNameLength)
	rec, err := plan(Config{Name: name, Nodes: 2}, "/build/bin", map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	want := []struct{ name, podCIDR string }{
		{name + "-control-plane", ""}, {name + "-worker", "10.244.1.0/24"}, {name + "-worker2", "10.244.2.0/24"},
	}
	for i, w := range want {
		h := rec.Hosts[i]
		if h.Name != w.name {
			t.Errorf("host %d is %s, want %s", i, h.Name, w.name)
		}
		if w.podCIDR != "" && h.PodCIDR.String() != w.podCIDR {
			t.Errorf("pods of %s are in %s, want %s", h.Name, h.PodCIDR, w.podCIDR)
		}
		// sockaddr_un has room for 108 bytes with the final zero.
		if len(h.Spec.Socket) > 107 {
			t.Errorf("socket %s is %d bytes long", h.Spec.Socket, len(h.Spec.Socket))
		}
		if !strings.HasPrefix(h.Spec.Cgroup, cgroupRoot(name)+"/") {
			t.Errorf("cgroup %s isn't below the cluster's", h.Spec.Cgroup)
		}
	}
}

func TestPaths(t *testing.T) {
	if got, want := onMachine("c", "h", hostPKI+"/ca.crt"), "/var/lib/space-cluster/c/h/var/lib/space-cluster/pki/ca.crt"; got != want {
		t.Errorf("on the machine: got %s, want %s", got, want)
	}
	if got, want := inHost("/build/bin", "/build/bin/etcd-v1/etcd"), filepath.Join(hostBin, "etcd-v1/etcd"); got != want {
		t.Errorf("in the host: got %s, want %s", got, want)
	}
}

func TestDiffers(t *testing.T) {
	rec := &record{Name: "c", Nodes: 1, Kubeconfig: "/k"}
	if err := rec.differs(Config{Nodes: 1, Kubeconfig: "/k"}); err != nil {
		t.Errorf("the same: %v", err)
	}
	for name, cfg := range map[string]Config{
		"nodes":      {Nodes: 2, Kubeconfig: "/k"},
		"gates":      {Nodes: 1, Kubeconfig: "/k", FeatureGates: map[string]bool{"A": true}},
		"directory":  {Nodes: 1, Kubeconfig: "/k", KubeletDir: "/var/other"},
		"kubeconfig": {Nodes: 1, Kubeconfig: "/l"},
	} {
		if rec.differs(cfg) == nil {
			t.Errorf("other %s: no error", name)
		}
	}
}

func TestWaitFor(t *testing.T) {
	calls := 0
	err := waitFor(t.Context(), time.Minute, "a thing", func(context.Context) error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || calls != 3 {
		t.Errorf("got %v after %d calls, want success after 3", err, calls)
	}

	broken := errors.New("broken")
	err = waitFor(t.Context(), time.Minute, "a thing", func(context.Context) error { return permanent(broken) })
	if !errors.Is(err, broken) {
		t.Errorf("what can't get better: got %v", err)
	}

	err = waitFor(t.Context(), time.Millisecond, "a thing", func(context.Context) error { return broken })
	if !errors.Is(err, broken) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "a thing") {
		t.Errorf("too late: got %v", err)
	}
}
