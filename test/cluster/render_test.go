// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"
)

func testFiles() nodeFiles {
	return nodeFiles{
		Node: "c-worker", PodCIDR: "10.244.1.0/24", PKI: hostPKI, Kubeconfig: kubeconfigOf(kubeProxy),
		CgroupRoot: cgroupOf("c", "c-worker"), ClusterDNS: dnsServiceIP, PauseImage: pauseImage,
		KubeletDir: "/var/other", Snapshotter: "overlayfs", Runc: "/usr/sbin/runc", CNIBin: hostBin + "/cni", CNIConf: hostCNI,
		FeatureGates: map[string]bool{"B": false, "A": true},
	}
}

func TestRender_kubelet(t *testing.T) {
	data, err := render("kubelet.yaml", testFiles())
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		CgroupRoot   string            `json:"cgroupRoot"`
		FeatureGates map[string]bool   `json:"featureGates"`
		EvictionHard map[string]string `json:"evictionHard"`
	}
	if err := yaml.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if got.CgroupRoot != "/space-cluster-c/c-worker" || !got.FeatureGates["A"] || len(got.FeatureGates) != 3 || len(got.EvictionHard) != 3 {
		t.Errorf("got %+v from\n%s", got, data)
	}
}

func TestRender_fillsInEachTemplate(t *testing.T) {
	for name, want := range map[string]string{
		"kubelet.yaml":    "volumePluginDir: /var/other/volume-plugins",
		"kube-proxy.yaml": "hostnameOverride: c-worker",
		"containerd.toml": `BinaryName = "/usr/sbin/runc"`,
		"cni.conflist":    `"subnet": "10.244.1.0/24"`,
	} {
		data, err := render(name, testFiles())
		if err != nil {
			t.Error(err)
		}
		if !strings.Contains(string(data), want) {
			t.Errorf("%s lacks %s:\n%s", name, want, data)
		}
		if strings.HasSuffix(name, "conflist") && !json.Valid(data) {
			t.Errorf("%s isn't JSON:\n%s", name, data)
		}
	}
}

func TestFeatureGatesFlag_isSorted(t *testing.T) {
	if got := featureGatesFlag(nil); got != nil {
		t.Errorf("no gates: got %v", got)
	}
	got := featureGatesFlag(map[string]bool{"B": false, "A": true})
	if !slices.Equal(got, []string{"--feature-gates=A=true,B=false"}) {
		t.Errorf("got %v", got)
	}
}
