// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/space-dra/space-dra-driver/test/cluster/hostinit"
	"github.com/space-dra/space-dra-driver/test/cluster/pki"
)

// Create builds missing programs, starts a cluster, and waits until all nodes are ready. If the cluster
// already exists, Create starts those of its processes that are not running. It replaces a cluster whose
// creation was interrupted.
func Create(ctx context.Context, cfg Config) (*Cluster, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	builder, err := cfg.Builder()
	if err != nil {
		return nil, err
	}
	if err := preflight(cfg); err != nil {
		return nil, err
	}
	programs, err := builder.Build(ctx, cfg.programs()...)
	if err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer unlock()

	rec, err := load(cfg.Name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if rec != nil && rec.Complete {
		if err := rec.checkConfig(cfg); err != nil {
			return nil, err
		}
		c := newCluster(cfg, rec)
		if err := c.repair(ctx); err != nil {
			return nil, fmt.Errorf("repair cluster %s: %w", cfg.Name, err)
		}
		cfg.Log("cluster %s is running already: %d nodes", cfg.Name, cfg.Nodes)
		return c, nil
	}
	if err := destroy(ctx, cfg.Name); err != nil {
		return nil, fmt.Errorf("remove the previous cluster %s: %w", cfg.Name, err)
	}
	rec = &record{Config: cfg, Binaries: programs}
	if err := rec.saveWithSubnet(ctx); err != nil {
		return nil, err
	}
	c := newCluster(cfg, rec)
	start := time.Now()
	if err := c.create(ctx); err != nil {
		return nil, fmt.Errorf("create cluster %s: %w", cfg.Name, err)
	}
	cfg.Log("cluster %s is ready after %s: %d nodes", cfg.Name, time.Since(start).Round(100*time.Millisecond), cfg.Nodes)
	return c, nil
}

func (c *Cluster) create(ctx context.Context) error {
	if err := c.writeHosts(); err != nil {
		return err
	}
	if err := c.start(ctx); err != nil {
		return err
	}
	if err := c.waitReady(ctx); err != nil {
		return err
	}
	if c.rec.NetworkPolicies {
		if err := c.startNetworkPolicies(ctx); err != nil {
			return err
		}
	}
	c.rec.Complete = true
	return c.rec.save()
}

// start boots the hosts and starts their processes, in parallel where possible.
func (c *Cluster) start(ctx context.Context) error {
	var images string
	if len(c.nodes) > 0 {
		var err error
		if images, err = c.writePauseImage(); err != nil {
			return err
		}
	}
	c.rec.Log("starting the control plane of cluster %s on %s", c.rec.Name, c.rec.subnet().ControlPlane())
	if err := c.controlPlane.boot(ctx); err != nil {
		return err
	}

	group, ctx := errgroup.WithContext(ctx)
	apiServerReady := make(chan struct{})
	group.Go(func() error {
		for _, p := range []string{etcd, apiServer} {
			if err := c.controlPlane.Start(ctx, p); err != nil {
				return err
			}
		}
		close(apiServerReady)
		return nil
	})
	afterAPIServer := func(h *Host, process string) {
		group.Go(func() error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-apiServerReady:
				return h.Start(ctx, process)
			}
		})
	}
	afterAPIServer(c.controlPlane, controllerManager)
	afterAPIServer(c.controlPlane, scheduler)
	for _, n := range c.nodes {
		group.Go(func() error {
			c.rec.Log("starting node %s on %s", n.Name(), n.Address())
			if err := n.boot(ctx); err != nil {
				return err
			}
			if err := n.Start(ctx, containerd); err != nil {
				return err
			}
			if err := n.loadImage(ctx, images); err != nil {
				return err
			}
			afterAPIServer(n, kubeProxy)
			return n.Start(ctx, kubelet)
		})
	}
	return group.Wait()
}

// writeHosts writes the files of hosts.
func (c *Cluster) writeHosts() error {
	ca, err := pki.NewCA("space-cluster")
	if err != nil {
		return err
	}
	for _, h := range c.Hosts() {
		if err := h.writeVar(); err != nil {
			return fmt.Errorf("prepare host %s: %w", h.name, err)
		}
		write := h.writeNode
		if h.number == 0 {
			write = h.writeControlPlane
		}
		if err := write(ca); err != nil {
			return err
		}
	}
	return nil
}

// writeVar creates the directories and links that programs expect in /var.
func (h *Host) writeVar() error {
	for _, dir := range []string{"cache", "lib", "log", "spool", "tmp"} {
		if err := os.MkdirAll(h.onMachine("/var/"+dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(h.onMachine(hostinit.ProgramsAt), 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(h.onMachine(hostBin), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(h.onMachine(hostPKI), 0o700); err != nil {
		return err
	}
	links := map[string]string{"/var/run": "/run", "/var/lock": "/run/lock"}
	for name, file := range h.cluster.rec.Binaries {
		links[hostBin+"/"+name] = h.cluster.inHost(file)
	}
	for link, target := range links {
		if err := os.Symlink(target, h.onMachine(link)); err != nil {
			return err
		}
	}
	return nil
}

// Upgrade restarts the programs of Kubernetes on the host that differ in another version, which it builds if
// they are missing. The version is one for Config.Kubernetes.
func (h *Host) Upgrade(ctx context.Context, version string) error {
	cfg := h.cluster.rec.Config
	cfg.Kubernetes = version
	builder, err := cfg.Builder()
	if err != nil {
		return err
	}
	programs, err := builder.Build(ctx, cfg.programs()...)
	if err != nil {
		return err
	}
	for _, p := range h.processes() {
		link, target := h.onMachine(p.program()), h.cluster.inHost(programs[p.name])
		if current, err := os.Readlink(link); err == nil && current == target {
			continue
		}
		if err := h.kill(ctx, p); err != nil {
			return err
		}
		if err := errors.Join(os.Remove(link), os.Symlink(target, link)); err != nil {
			return fmt.Errorf("upgrade %s on %s: %w", p.name, h.name, err)
		}
		if err := h.start(ctx, p); err != nil {
			return err
		}
	}
	return h.cluster.waitReady(ctx)
}

// repair starts the hosts and processes that are not running.
func (c *Cluster) repair(ctx context.Context) error {
	inits, err := findInits(c.rec.Name)
	if err != nil {
		return err
	}
	for _, h := range c.Hosts() {
		start := h.startAll
		if inits[h.name] == 0 {
			start = h.Reboot
		}
		if err := start(ctx); err != nil {
			return err
		}
	}
	return c.waitReady(ctx)
}
