// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// newConflict creates a claim whose space cannot be provisioned, because another namespace has its name.
// resolve turns that namespace into the space, so that the controller provisions it immediately:
// Prepare waits for a few seconds only.
func newConflict(t *testing.T) (c *claim, resolve func()) {
	t.Helper()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	object, foreign := framework.AllocateWithConflict(t, env, spaceapi.DefaultDriverName, ns, "claim", func(name string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	})
	c = &claim{ResourceClaim: object}
	return c, func() {
		keys := spaceapi.KeysFor(spaceapi.DefaultDriverName)
		metadata := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q,%q:%q},"annotations":{%q:%q,%q:"claim",%q:"space"}}}`,
			keys.ClaimUID, object.UID, keys.AllocationID, allocation.FromClaim(object, spaceapi.DefaultDriverName).ID, keys.ClaimNamespace, ns, keys.ClaimName, keys.Request)
		if _, err := env.Client.CoreV1().Namespaces().Patch(t.Context(), foreign.Name, types.MergePatchType, metadata, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		c.ResourceClaim, c.spaces = framework.SpacesOf(t, env, ns, "claim", 1)
	}
}

// prepareUntilWaiting calls Prepare, and returns when the kubelet plugin waits for the space.
func (n *node) prepareUntilWaiting(t *testing.T, p *plugin, c *claim) <-chan error {
	t.Helper()
	end, watching := make(chan error, 1), make(chan struct{}, 1)
	n.proxy.Intercept(func(call faults.Call, _ func()) faults.Answer {
		if call.Verb == "watch" {
			select {
			case watching <- struct{}{}:
			default: // not the first watch
			}
		}
		return faults.Forwarded
	})
	go func() { end <- prepare(t, p, c) }()
	select {
	case <-watching:
	case err := <-end:
		t.Fatalf("Prepare did not wait, and returned error %v", err)
	}
	return end
}

func TestKilledPrepare_canBeRepeatedWhileItWaits(t *testing.T) {
	t.Parallel()
	c, resolve := newConflict(t)
	n := newNode(t)
	p := n.start(t)
	n.prepareUntilWaiting(t, p, c)
	p.kill()
	p = n.start(t)
	n.mustUnprepare(t, p, c)
	end := n.prepareUntilWaiting(t, p, c)
	resolve()
	if err := <-end; err != nil {
		t.Errorf("Prepare, after the space was provisioned: %v", err)
	}
	n.mustPrepare(t, p, c)
	n.mustUnprepare(t, p, c)
}

func TestUnprepare_needsNoAPIServer(t *testing.T) {
	t.Parallel()
	c := readyClaim(t, "a", "b")
	for when, restart := range map[string]bool{"outage after the start of the kubelet plugin": false, "outage before the start of the kubelet plugin": true} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			n, p := prepared(t, c)
			n.proxy.Close(t)
			if restart {
				p.kill()
				p = n.start(t)
			}
			n.mustUnprepare(t, p, c)
		})
	}
	t.Run("API server was never reachable", func(t *testing.T) {
		t.Parallel()
		n := newEmptyNode(t)
		n.proxy.Close(t)
		n.start(t).kill()
		n.empty = n.paths(t)
		n.mustUnprepare(t, n.start(t), c)
	})
}

// TestUnprepare_removesTheFilesOfAClaimInUse does what a kubelet before Kubernetes 1.37 can do: it unprepares a
// claim while a pod still uses it.
func TestUnprepare_removesTheFilesOfAClaimInUse(t *testing.T) {
	t.Parallel()
	c := readyClaim(t)
	n, p := prepared(t, c)
	dir, _ := n.mount(t, c)
	running, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = running.Close() }()
	n.mustUnprepare(t, p, c)
	if _, err := running.ReadFile("token"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a running container still has a token, error %v", err)
	}
	// The kubelet prepares the claim for the next pod.
	n.mustPrepare(t, p, c)
	if after, _ := n.mount(t, c); after != dir {
		t.Errorf("containers of the next pod mount %s, want %s", after, dir)
	}
	n.mustUnprepare(t, p, c)
}

func TestReboot_restoresCredentials(t *testing.T) {
	t.Parallel()
	c := readyClaim(t, "a", "b")
	for order, prepare := range nextCalls {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			n, p := prepared(t, c)
			p.kill()
			// These directories are on file systems in memory.
			for _, dir := range []string{n.cdi, n.artifacts} {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			n.restart(t, c, prepare)
		})
	}
}
