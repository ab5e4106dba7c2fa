// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// metadataDamages change the metadata of a prepared claim while no kubelet plugin runs.
var metadataDamages = map[string]func(path string, content []byte) error{
	"is missing":  func(path string, _ []byte) error { return os.Remove(path) },
	"is empty":    func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o600) },
	"is cut off":  func(path string, content []byte) error { return os.WriteFile(path, content[:len(content)/2], 0o600) },
	"is garbage":  func(path string, _ []byte) error { return os.WriteFile(path, []byte{0, 0xff, '{', 0}, 0o600) },
	"is an array": func(path string, _ []byte) error { return os.WriteFile(path, []byte("[]"), 0o600) },
	"is of a newer version": func(path string, content []byte) error {
		return os.WriteFile(path, bytes.Replace(content, []byte(`/v1"`), []byte(`/v2"`), 1), 0o600)
	},
	"is about another claim": func(path string, content []byte) error {
		return os.WriteFile(path, bytes.Replace(content, []byte(`"uid": "`), []byte(`"uid": "0`), 1), 0o600)
	},
}

func TestDamagedMetadata_affectsNoOtherClaim(t *testing.T) {
	damaged, valid := readyClaim(t, "a", "b"), readyClaim(t)
	for damage, do := range metadataDamages {
		for order, prepare := range nextCalls {
			t.Run("when it "+damage+", "+order, func(t *testing.T) {
				t.Parallel()
				n, p := prepared(t, damaged)
				n.mustPrepare(t, p, valid, damaged)
				p.kill()
				path := n.metadataOf(t, damaged)
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := do(path, content); err != nil {
					t.Fatal(err)
				}
				// The kubelet plugin may repair the metadata before a call of the kubelet.
				p = n.start(t)
				if prepare {
					n.mustPrepare(t, p, damaged, valid)
				}
				n.mustUnprepare(t, p, damaged, valid)
				n.mustPrepare(t, p, valid)
				n.mustUnprepare(t, p, valid)
			})
		}
	}
}

// metadataOf returns the path of a claim's metadata. It polls, because the file may be missing in a list
// of the directory while the kubelet plugin replaces it.
func (n *node) metadataOf(t *testing.T, c *claim) (metadata string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, framework.Timeout, true, func(context.Context) (bool, error) {
		for _, path := range n.newPaths(t) {
			if !n.isTemporary(path) && isMetadataOf(path, c) {
				metadata = path
			}
		}
		return metadata != "", nil
	})
	if err != nil {
		t.Fatalf("claim %s has no metadata", c.UID)
	}
	return metadata
}
