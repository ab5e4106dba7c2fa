// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/util/cert"

	"github.com/space-dra/space-dra-driver/test/cluster/hostinit"
	"github.com/space-dra/space-dra-driver/test/cluster/network"
	"github.com/space-dra/space-dra-driver/test/cluster/pki"
)

// nodeFiles is the data of the templates of a node's configuration.
type nodeFiles struct {
	Node         string
	PodCIDR      string
	PKI          string
	Kubeconfig   string
	CgroupRoot   string
	ClusterDNS   string
	ResolvConf   string
	PauseImage   string
	KubeletDir   string
	Snapshotter  string
	Runc         string
	CNIBin       string
	CNIConf      string
	FeatureGates map[string]bool
}

func (c *Cluster) nodeFiles(host hostRecord) (nodeFiles, error) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		return nodeFiles{}, fmt.Errorf("configuring node %s: %w", host.Name, err)
	}
	snapshotter, err := snapshotterFor(hostVar(c.rec.Name, host.Name))
	if err != nil {
		return nodeFiles{}, fmt.Errorf("configuring node %s: %w", host.Name, err)
	}
	resolvConf := "/etc/resolv.conf"
	if _, err := os.Stat(resolvConf); err != nil {
		resolvConf = ""
	}
	return nodeFiles{
		Node:         host.Name,
		PKI:          hostPKI,
		Kubeconfig:   kubeconfigOf(kubeProxy),
		CgroupRoot:   cgroupOf(c.rec.Name, host.Name),
		ClusterDNS:   dnsServiceIP,
		ResolvConf:   resolvConf,
		PauseImage:   pauseImage,
		KubeletDir:   c.rec.KubeletDir,
		Snapshotter:  snapshotter,
		Runc:         runc,
		CNIBin:       filepath.Dir(inHost(c.rec.BinDir, c.rec.Binaries["ptp"])),
		CNIConf:      hostCNI,
		FeatureGates: c.rec.FeatureGates,
	}, nil
}

// snapshotterFor returns one that works on the file system of a directory:
// overlayfs can't be stacked on itself.
func snapshotterFor(dir string) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "", fmt.Errorf("asking for the file system of %s: %w", dir, err)
	}
	if fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native", nil
	}
	return "overlayfs", nil
}

// writeNode writes a node's certificates and configuration.
func (c *Cluster) writeNode(host hostRecord, ca *pki.CA) error {
	at := func(path string) string { return onMachine(c.rec.Name, host.Name, path) }
	user, names := "system:node:"+host.Name, cert.AltNames{DNSNames: []string{host.Name}, IPs: []net.IP{host.Address.AsSlice()}}
	if err := errors.Join(
		cert.WriteCert(at(hostPKI+"/ca.crt"), ca.Cert()),
		ca.Issue(at(hostPKI+"/kubelet"), cert.Config{CommonName: user, AltNames: names}),
		ca.WriteKubeconfig(at(kubeconfigOf(kubelet)), c.APIServerURL(), user, "system:nodes"),
		ca.WriteKubeconfig(at(kubeconfigOf(kubeProxy)), c.APIServerURL(), "system:kube-proxy"),
	); err != nil {
		return err
	}
	files, err := c.nodeFiles(host)
	if err != nil {
		return err
	}
	files.PodCIDR = network.Pods
	if err := renderTo(at(hostDir+"/kube-proxy.yaml"), "kube-proxy.yaml", files); err != nil {
		return err
	}
	files.PodCIDR = host.PodCIDR.String()
	for file, template := range map[string]string{
		hostDir + "/containerd.toml":     "containerd.toml",
		hostDir + "/kubelet.yaml":        "kubelet.yaml",
		hostCNI + "/10-cluster.conflist": "cni.conflist",
	} {
		if err := renderTo(at(file), template, files); err != nil {
			return err
		}
	}
	return nil
}

// nodeProcesses are in the order in which they are started.
func (c *Cluster) nodeProcesses(host hostRecord) []hostinit.Process {
	return []hostinit.Process{
		c.process(containerd, containerdURL, "--config="+hostDir+"/containerd.toml"),
		c.process(kubelet, "http://127.0.0.1:10248/healthz",
			"--config="+hostDir+"/kubelet.yaml",
			"--kubeconfig="+kubeconfigOf(kubelet),
			"--root-dir="+c.rec.KubeletDir,
			"--hostname-override="+host.Name,
			"--node-ip="+host.Address.String(),
		),
		c.process(kubeProxy, "http://127.0.0.1:10256/healthz", "--config="+hostDir+"/kube-proxy.yaml"),
	}
}
