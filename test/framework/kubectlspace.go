// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// User is a user of kubectl space, with a kubeconfig.
type User struct {
	env        *Env
	Kubeconfig string
}

// Admin has all permissions.
func (e *Env) Admin() User { return User{e, e.Cluster.Kubeconfig()} }

// UserWith has the permissions of a ServiceAccount.
func (e *Env) UserWith(t testing.TB, namespace, account string) User {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	e.WriteKubeconfigOf(t, namespace, account, file)
	return User{e, file}
}

// KubectlSpace runs kubectl space, which kubectl finds on the PATH, and returns its standard output and
// standard error.
func (p User) KubectlSpace(t testing.TB, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, err := p.TryKubectlSpace(t.Context(), args...)
	if err != nil {
		t.Fatalf("kubectl space %s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout, stderr
}

// TryKubectlSpace is KubectlSpace for commands that may fail.
func (p User) TryKubectlSpace(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	cmd := p.Command(ctx, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// Command returns the command that runs kubectl space.
func (p User) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.env.Cluster.Binary("kubectl"), append([]string{"space"}, args...)...)
	path := filepath.Dir(Binary("kubectl-space")) + ":" + filepath.Dir(p.env.Cluster.Binary("kubectl")) + ":/usr/bin:/bin"
	cmd.Env = append(cmd.Environ(), "PATH="+path, "KUBECONFIG="+p.Kubeconfig)
	return cmd
}
