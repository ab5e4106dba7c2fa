// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Cluster is a running cluster.
type Cluster struct {
	rec          *record
	controlPlane *Host
	nodes        []*Host
}

func newCluster(cfg Config, rec *record) *Cluster {
	rec.Log = cfg.Log
	c := &Cluster{rec: rec}
	c.controlPlane = &Host{cluster: c, name: rec.Name + controlPlaneSuffix}
	for number := 1; number <= rec.Nodes; number++ {
		// The names are those that kind uses.
		name := rec.Name + "-worker"
		if number > 1 {
			name += strconv.Itoa(number)
		}
		c.nodes = append(c.nodes, &Host{cluster: c, name: name, number: number})
	}
	return c
}

// Open returns an existing cluster. If it does not exist, the error wraps ErrNotFound.
func Open(cfg Config) (*Cluster, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	rec, err := load(cfg.Name)
	if err != nil {
		return nil, err
	}
	if !rec.Complete {
		return nil, fmt.Errorf("cluster %s: its creation was interrupted; create it again", cfg.Name)
	}
	return newCluster(cfg, rec), nil
}

// Kubeconfig returns the path of the administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return c.rec.Kubeconfig }

// RESTConfig returns the administrator's client configuration, without a
// client-side rate limit.
func (c *Cluster) RESTConfig() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.rec.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig of cluster %s: %w", c.rec.Name, err)
	}
	config.QPS = -1
	return config, nil
}

// APIServerURL returns the API server's URL, which the machine, nodes and pods
// can reach.
func (c *Cluster) APIServerURL() string {
	return "https://" + net.JoinHostPort(c.rec.subnet().ControlPlane().String(), apiServerPort)
}

// CA returns the CA certificate as PEM, or nil if it cannot be read.
func (c *Cluster) CA() []byte {
	data, _ := os.ReadFile(c.controlPlane.onMachine(hostPKI + "/ca.crt"))
	return data
}

// KubeletDir returns the kubelets' root directory, as nodes see it.
func (c *Cluster) KubeletDir() string { return c.rec.KubeletDir }

// Binary returns the path of one of the cluster's programs, or of kubectl or helm.
func (c *Cluster) Binary(name string) string { return c.rec.Binaries[name] }

// ControlPlane returns the host that runs the control plane.
func (c *Cluster) ControlPlane() *Host { return c.controlPlane }

// Hosts returns the control plane and the nodes.
func (c *Cluster) Hosts() []*Host { return append([]*Host{c.controlPlane}, c.nodes...) }

// Nodes returns the nodes.
func (c *Cluster) Nodes() []*Host { return c.nodes }

// Node returns the node with a name, or nil.
func (c *Cluster) Node(name string) *Host {
	for _, n := range c.nodes {
		if n.Name() == name {
			return n
		}
	}
	return nil
}

// LoadImages imports image archives into every node.
func (c *Cluster) LoadImages(ctx context.Context, tars ...string) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range c.nodes {
		group.Go(func() error {
			for _, t := range tars {
				if err := n.loadImage(ctx, t); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func (h *Host) loadImage(ctx context.Context, archive string) error {
	file, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("load %s into node %s: %w", archive, h.Name(), err)
	}
	defer file.Close()
	// Through standard input: the file need not exist on the node.
	ctr := h.Command(ctx, "ctr", "--namespace=k8s.io", "images", "import", "-")
	ctr.Stdin = file
	if out, err := ctr.CombinedOutput(); err != nil {
		return fmt.Errorf("load %s into node %s: %w: %s", filepath.Base(archive), h.Name(), err, out)
	}
	return nil
}
