// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestANewCertificateAuthorityReachesPreparedClaims(t *testing.T) {
	t.Parallel()
	c := standing(t, "a", "b")
	n := newNode(t)
	p := n.start(t)
	n.wantPrepared(t, p, c)
	// The bundle of a large company.
	ca := bytes.Repeat(append(env.Cluster.CA(), '\n'), 500)
	if err := os.WriteFile(n.ca+".new", ca, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(n.ca+".new", n.ca); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(n.artifacts, "*", string(c.UID), "credentials", "*", "ca.crt"))
	if err != nil || len(files) != 2 {
		t.Fatalf("the claim has %q, error %v", files, err)
	}
	err = wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, framework.Patience, true, func(context.Context) (bool, error) {
		for _, file := range files {
			if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, ca) {
				return false, err
			}
		}
		return true, nil
	})
	if err != nil {
		t.Fatalf("waited for the claim to have the new certificates: %v", err)
	}
	p.kill()
	if err := os.WriteFile(n.ca, env.Cluster.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	p = n.start(t)
	n.wantPrepared(t, p, c)
	n.wantUnprepared(t, p, c)
}
