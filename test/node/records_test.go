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

// damages are what can have happened to a record while no plugin ran.
var damages = map[string]func(path string, content []byte) error{
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

func TestARecordThatCantBeReadHarmsNobody(t *testing.T) {
	damaged, whole := standing(t, "a", "b"), standing(t)
	// The plugin may act on a record before the kubelet does anything.
	afterwards := map[string]func(t *testing.T, n *node, p *plugin){
		"then Unprepare": func(t *testing.T, n *node, p *plugin) {
			n.wantUnprepared(t, p, damaged, whole)
		},
		"then Prepare and Unprepare": func(t *testing.T, n *node, p *plugin) {
			n.wantPrepared(t, p, damaged, whole)
			n.wantUnprepared(t, p, damaged, whole)
		},
	}
	for damage, do := range damages {
		for order, goOn := range afterwards {
			t.Run("when it "+damage+", "+order, func(t *testing.T) {
				t.Parallel()
				n := newNode(t)
				p := n.start(t)
				n.wantPrepared(t, p, damaged)
				n.wantPrepared(t, p, whole, damaged)
				p.kill()
				path := n.recordOf(t, damaged)
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := do(path, content); err != nil {
					t.Fatal(err)
				}
				p = n.start(t)
				goOn(t, n, p)
				n.wantPrepared(t, p, whole)
				n.wantUnprepared(t, p, whole)
			})
		}
	}
}

// recordOf finds a claim's record. A list of the directory may lack it just when the
// plugin puts another one in its place.
func (n *node) recordOf(t *testing.T, c *claim) (record string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, framework.Patience, true, func(context.Context) (bool, error) {
		for _, path := range n.left(t) {
			if isBelow(path, n.kubelet) && isRecordOf(path, c) {
				record = path
			}
		}
		return record != "", nil
	})
	if err != nil {
		t.Fatalf("claim %s has no record", c.UID)
	}
	return record
}
