// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
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

// waiting creates a claim whose space cannot be provisioned, because there is a
// foreign namespace of its name, and returns a function that gives the namespace to the
// space: Prepare waits for seconds only.
func waiting(t *testing.T) (c *claim, give func()) {
	t.Helper()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	object, foreign := framework.AllocateOccupied(t, env, spaceapi.DefaultDriverName, ns, "claim", func(name string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	})
	c = &claim{ResourceClaim: object}
	return c, func() {
		keys := spaceapi.KeysFor(spaceapi.DefaultDriverName)
		record := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q,%q:%q},"annotations":{%q:%q,%q:"claim",%q:"space"}}}`,
			keys.ClaimUID, object.UID, keys.AllocationID, allocation.FromClaim(object, spaceapi.DefaultDriverName).ID, keys.ClaimNamespace, ns, keys.ClaimName, keys.Request)
		if _, err := env.Client.CoreV1().Namespaces().Patch(t.Context(), foreign.Name, types.MergePatchType, record, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		c.ResourceClaim, c.spaces = framework.SpacesOf(t, env, ns, "claim", 1)
	}
}

// prepareUntilWaiting calls Prepare, which cannot succeed, and returns when it waits.
func (n *node) prepareUntilWaiting(t *testing.T, p *plugin, c *claim) <-chan error {
	t.Helper()
	end, watching := make(chan error, 1), make(chan struct{}, 1)
	n.proxy.Intercept(func(call faults.Call, _ func()) faults.Answer {
		if call.Verb == "watch" {
			select {
			case watching <- struct{}{}:
			default: // it has begun before
			}
		}
		return faults.Real
	})
	go func() { end <- prepare(t, p, c) }()
	select {
	case <-watching:
	case err := <-end:
		t.Fatalf("Prepare did not wait, and ended with error %v", err)
	}
	return end
}

func TestKilledPrepare_whileItWaits(t *testing.T) {
	t.Parallel()
	c, give := waiting(t)
	n := newNode(t)
	p := n.start(t)
	n.prepareUntilWaiting(t, p, c)
	p.kill()
	p = n.start(t)
	n.wantUnprepared(t, p, c)
	end := n.prepareUntilWaiting(t, p, c)
	give()
	if err := <-end; err != nil {
		t.Errorf("Prepare, when the space came: %v", err)
	}
	n.wantPrepared(t, p, c)
	n.wantUnprepared(t, p, c)
}

func TestUnprepare_needsNoAPIServer(t *testing.T) {
	t.Parallel()
	c := standing(t, "a", "b")
	for when, restart := range map[string]bool{"after an outage began": false, "during an outage since before the plugin started": true} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			n, p := prepared(t, c)
			n.proxy.Close(t)
			if restart {
				p.kill()
				p = n.start(t)
			}
			n.wantUnprepared(t, p, c)
		})
	}
	t.Run("that was never reachable", func(t *testing.T) {
		t.Parallel()
		n := newEmptyNode(t)
		n.proxy.Close(t)
		n.start(t).kill()
		n.empty = n.paths(t)
		n.wantUnprepared(t, n.start(t), c)
	})
}

func TestReboot_restoresCredentials(t *testing.T) {
	t.Parallel()
	c := standing(t, "a", "b")
	for order, prepare := range afterwards {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			n, p := prepared(t, c)
			p.kill()
			// Both are on file systems in memory.
			for _, dir := range []string{n.cdi, n.artifacts} {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			n.goOn(t, c, prepare)
		})
	}
}
