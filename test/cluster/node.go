// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"embed"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"text/template"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/util/cert"

	"github.com/space-dra/space-dra-driver/test/cluster/network"
	"github.com/space-dra/space-dra-driver/test/cluster/pki"
)

//go:embed templates
var templates embed.FS

// writeNode writes a node's certificates, kubeconfigs and configuration.
func (h *Host) writeNode(ca *pki.CA) error {
	user, server := "system:node:"+h.name, h.cluster.APIServerURL()
	names := cert.AltNames{DNSNames: []string{h.name}, IPs: []net.IP{h.address().AsSlice()}}
	if err := errors.Join(
		cert.WriteCert(h.onMachine(hostPKI+"/ca.crt"), ca.Cert()),
		ca.Issue(h.onMachine(hostPKI+"/kubelet"), cert.Config{CommonName: user, AltNames: names}),
		ca.WriteKubeconfig(h.onMachine(kubeconfigOf(kubelet)), server, user, "system:nodes"),
		ca.WriteKubeconfig(h.onMachine(kubeconfigOf(kubeProxy)), server, "system:kube-proxy"),
	); err != nil {
		return err
	}
	if h.cluster.rec.NetworkPolicies {
		if err := ca.WriteKubeconfig(h.onMachine(kubeconfigOf(kubeRouter)), server, kubeRouter, adminGroup); err != nil {
			return err
		}
	}
	snapshotter, err := snapshotterFor(h.dir())
	if err != nil {
		return fmt.Errorf("configure node %s: %w", h.name, err)
	}
	all, err := template.ParseFS(templates, "templates/*")
	if err != nil {
		return fmt.Errorf("configure node %s: %w", h.name, err)
	}
	for _, t := range all.Templates() {
		if err := h.writeConfig(t, snapshotter); err != nil {
			return fmt.Errorf("configure node %s: %w", h.name, err)
		}
	}
	return nil
}

func (h *Host) writeConfig(t *template.Template, snapshotter string) error {
	file, err := os.Create(h.onMachine(filepath.Join(hostDir, t.Name())))
	if err != nil {
		return err
	}
	return errors.Join(t.Execute(file, map[string]any{
		"CgroupRoot":  h.cgroup(),
		"PodCIDR":     network.PodCIDR(h.number),
		"Snapshotter": snapshotter,
		"PauseImage":  pauseImage,
	}), file.Close())
}

// snapshotterFor returns a snapshotter that works on the file system of a directory: overlayfs cannot be
// stacked on itself.
func snapshotterFor(dir string) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "", fmt.Errorf("read the file system of %s: %w", dir, err)
	}
	if fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native", nil
	}
	return "overlayfs", nil
}

func (h *Host) nodeProcesses() []process {
	processes := []process{
		{containerd, "unix:///run/containerd/containerd.sock", []string{"--config=" + hostDir + "/containerd.toml"}},
		{kubelet, "http://127.0.0.1:10248/healthz", append([]string{
			"--config=" + hostDir + "/kubelet.yaml",
			"--kubeconfig=" + kubeconfigOf(kubelet),
			"--root-dir=" + h.cluster.rec.KubeletDir,
			"--node-ip=" + h.Address(),
		}, h.cluster.featureGates()...)},
		{kubeProxy, "http://127.0.0.1:10256/healthz", []string{"--config=" + hostDir + "/kube-proxy.yaml"}},
	}
	if h.cluster.rec.NetworkPolicies {
		processes = append(processes, process{kubeRouter, "http://127.0.0.1:20244/healthz", []string{
			"--kubeconfig=" + kubeconfigOf(kubeRouter),
			"--hostname-override=" + h.name,
			"--service-cluster-ip-range=" + serviceCIDR,
		}})
	}
	return processes
}
