// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/space-dra/space-dra-driver/tools/release/image"
)

//go:embed coredns.yaml
var coreDNSManifest []byte

// startNetworkPolicies starts kube-router on the nodes, which have to be registered, and CoreDNS in a pod, so
// that NetworkPolicies can select it as on other clusters.
func (c *Cluster) startNetworkPolicies(ctx context.Context) error {
	for _, n := range c.nodes {
		if err := n.Start(ctx, kubeRouter); err != nil {
			return err
		}
	}
	archive := filepath.Join(dataDir(c.rec.Name), "coredns.tar")
	err := image.WriteArchive(archive, ImageRepository+"/coredns:"+DefaultTag, image.Spec{
		Architecture: runtime.GOARCH,
		Programs:     map[string]string{"coredns": c.Binary("coredns")},
		Config:       image.Config{Entrypoint: []string{"/coredns"}},
	})
	if err != nil {
		return err
	}
	if err := c.LoadImages(ctx, archive); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"apply", "--filename=-"},
		{"rollout", "status", "deployment/coredns", "--namespace=kube-system", "--timeout=" + readyTimeout.String()},
	} {
		kubectl := exec.CommandContext(ctx, c.Binary("kubectl"), append(args, "--kubeconfig="+c.Kubeconfig())...)
		kubectl.Stdin = bytes.NewReader(coreDNSManifest)
		if out, err := kubectl.CombinedOutput(); err != nil {
			return fmt.Errorf("start CoreDNS: %w: %s", err, out)
		}
	}
	return nil
}
