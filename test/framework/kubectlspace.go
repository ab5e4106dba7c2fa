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

// Person is a user of kubectl space, with a kubeconfig.
type Person struct {
	env        *Env
	Kubeconfig string
}

// Administrator has all permissions.
func (e *Env) Administrator() Person { return Person{e, e.Cluster.Kubeconfig()} }

// PersonWith has the permissions of a ServiceAccount.
func (e *Env) PersonWith(t testing.TB, namespace, account string) Person {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	e.WriteKubeconfigOf(t, namespace, account, file)
	return Person{e, file}
}

// Space runs kubectl space, which kubectl finds on the PATH, and returns its standard output and
// standard error.
func (p Person) Space(t testing.TB, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, err := p.TrySpace(t.Context(), args...)
	if err != nil {
		t.Fatalf("kubectl space %s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout, stderr
}

// TrySpace is Space for commands that may fail.
func (p Person) TrySpace(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(ctx, p.env.Cluster.Binary("kubectl"), append([]string{"space"}, args...)...)
	path := filepath.Dir(Binary("kubectl-space")) + ":" + filepath.Dir(p.env.Cluster.Binary("kubectl")) + ":/usr/bin:/bin"
	cmd.Env = append(cmd.Environ(), "PATH="+path, "KUBECONFIG="+p.Kubeconfig)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}
