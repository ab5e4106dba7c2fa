// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// NewNodeDir creates a directory that replaces the file system of a node in one test, with the
// directories in which the kubelet finds plugins.
func NewNodeDir(t testing.TB) string {
	t.Helper()
	// Paths of sockets are limited to 108 bytes, which t.TempDir can exceed.
	dir, err := os.MkdirTemp("", "node-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the node's directory: %v", err)
		}
	})
	for _, d := range []string{"plugins_registry", "plugins/" + spaceapi.DefaultDriverName} {
		if err := os.MkdirAll(filepath.Join(dir, "kubelet", d), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// PluginCommand returns a command that runs the built kubelet plugin in the directory of a node, and
// its log. The plugin has no HTTP endpoint, because several run at the same time. Flags override
// these.
func PluginCommand(dir, node, kubeconfig string, flags ...string) (*exec.Cmd, *Output) {
	log := &Output{}
	cmd := exec.Command(Binary("space-kubeletplugin"), append([]string{
		"--http-bind-address=", "--node-name=" + node, "--kubeconfig=" + kubeconfig, "--kubelet-root-dir=" + filepath.Join(dir, "kubelet"),
		"--cdi-root=" + filepath.Join(dir, "cdi"), "--credentials-dir=" + filepath.Join(dir, "artifacts"), "--v=2",
	}, flags...)...)
	cmd.Stdout, cmd.Stderr = log, log
	return cmd, log
}
