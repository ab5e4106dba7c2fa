// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"tags.cncf.io/container-device-interface/pkg/cdi"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// replaceAccount deletes the ServiceAccount of a claim's space, which revokes the
// token in use, and returns when the controller has created another.
func replaceAccount(t *testing.T, c *claim) {
	t.Helper()
	space := c.spaces[0]
	if err := env.Client.CoreV1().ServiceAccounts(space.Namespace).Delete(t.Context(), space.ServiceAccount, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	object := framework.Await(t, framework.Claim(env.Client, c.Namespace, c.Name), framework.That("ready with another ServiceAccount", func(object *resourceapi.ResourceClaim) bool {
		return framework.SpacesReadyNow(object) && framework.SpaceStatus(t, object, 0).ServiceAccountUID != space.ServiceAccountUID
	}))
	c.ResourceClaim, c.spaces = object, []spaceapi.SpaceStatus{framework.SpaceStatus(t, object, 0)}
}

// mount returns the directory that containers with the claim's space have, as the
// container runtime finds it, and its path in containers.
func (n *node) mount(t *testing.T) (dir, inContainer string) {
	t.Helper()
	specs, err := cdi.NewCache(cdi.WithSpecDirs(n.cdi), cdi.WithAutoRefresh(false))
	if err != nil {
		t.Fatal(err)
	}
	names := specs.ListDevices()
	if len(names) != 1 {
		t.Fatalf("the devices are %v, want one", names)
	}
	mount := specs.GetDevice(names[0]).ContainerEdits.Mounts[0]
	return mount.HostPath, mount.ContainerPath
}

// awaitRenewed waits until containers have working credentials, and the metadata
// have the new ServiceAccount.
func (n *node) awaitRenewed(t *testing.T, c *claim) {
	t.Helper()
	dir, inContainer := n.mount(t)
	metadata := n.metadataOf(t, c)
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, framework.Patience, true, func(ctx context.Context) (bool, error) {
		if last = credentialsError(ctx, dir, inContainer, c.spaces[0]); last != nil {
			return false, nil
		}
		if content, err := os.ReadFile(metadata); err != nil || !bytes.Contains(content, []byte(c.spaces[0].ServiceAccountUID)) {
			last = fmt.Errorf("the metadata do not have the new account (error %w): %s", err, content)
		}
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("waited for containers to have working credentials: %v", last)
	}
}

// awaitEndOr waits until the plugin has ended or, if it took fewer steps than expected,
// has logged that it was done.
func (p *plugin) awaitEndOr(t *testing.T, done string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, framework.Patience, true, func(context.Context) (bool, error) {
		select {
		case <-p.ended:
			return true, nil
		default:
			return strings.Contains(p.log.String(), done), nil
		}
	})
	if err != nil {
		t.Fatalf("the plugin neither ended nor logged %s", done)
	}
}

// renew replaces the ServiceAccount of a new claim that a plugin has prepared, and kills the
// plugin before it takes the step with the number, or after the renewal. It returns the
// steps.
func renew(t *testing.T, last int) (*node, *claim, []string) {
	t.Helper()
	c, n := standing(t), newNode(t)
	p := n.startCounted(t)
	n.wantPrepared(t, p, c)
	n.steps.count(last)
	replaceAccount(t, c)
	p.awaitEndOr(t, `"Tokens renewed"`)
	names, killed := n.steps.stop()
	if last != noLast && !killed {
		t.Logf("this time the plugin renewed the token after %d steps: %q", len(names), names)
	}
	p.kill()
	return n, c, names
}

func TestKilledRenewal_isRepeated(t *testing.T) {
	_, _, names := renew(t, noLast)
	for i, name := range names {
		t.Run(fmt.Sprintf("%02d before %s", i+1, name), func(t *testing.T) {
			t.Parallel()
			n, c, _ := renew(t, i+1)
			p := n.startAfterKill(t)
			n.awaitRenewed(t, c)
			n.checkPaths(t, c)
			n.wantUnprepared(t, p, c)
		})
	}
}

func TestStart_afterTheAllocationChanged(t *testing.T) {
	t.Parallel()
	for what, again := range map[string]bool{"deallocated": false, "allocated again": true} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c := standing(t, "a", "b")
			n, p := prepared(t, c)
			p.kill()
			framework.Deallocate(t, env, c.Namespace, c.Name)
			if again {
				framework.Allocate(t, env, c.Namespace, c.Name)
				c.ResourceClaim, c.spaces = framework.SpacesOf(t, env, c.Namespace, c.Name, 2)
			}
			p = n.start(t)
			if again {
				n.wantPrepared(t, p, c)
			}
			n.wantUnprepared(t, p, c)
		})
	}
}

// TestAllocatedAgain_withoutPrepare allocates a claim again as the kubelet, which still stops a pod
// of the earlier allocation, does not notice.
func TestAllocatedAgain_withoutPrepare(t *testing.T) {
	t.Parallel()
	c := standing(t)
	n, p := prepared(t, c)
	before, _ := n.mount(t)
	framework.Deallocate(t, env, c.Namespace, c.Name)
	framework.Allocate(t, env, c.Namespace, c.Name)
	c.ResourceClaim, c.spaces = framework.SpacesOf(t, env, c.Namespace, c.Name, 1)
	n.awaitRenewed(t, c)
	if after, _ := n.mount(t); after != before {
		t.Errorf("containers mount %s, want %s", after, before)
	}
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", c.Namespace,
		framework.About("ResourceClaim", c.Name, spaceapi.ReasonCredentialsReplaced, c.spaces[0].Namespace))
	n.wantUnprepared(t, p, c)
}
