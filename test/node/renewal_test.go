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

// replaceAccount deletes the ServiceAccount of a claim's space, which revokes its token, and waits until
// the controller has created another one.
func replaceAccount(t *testing.T, c *claim) {
	t.Helper()
	space := c.spaces[0]
	deleteAccount(t, c)
	object := framework.Await(t, framework.Claim(env.Client, c.Namespace, c.Name), framework.That("ready with another ServiceAccount", func(object *resourceapi.ResourceClaim) bool {
		return framework.SpacesReadyNow(object) && framework.SpaceStatus(t, object, 0).ServiceAccountUID != space.ServiceAccountUID
	}))
	c.ResourceClaim, c.spaces = object, []spaceapi.SpaceStatus{framework.SpaceStatus(t, object, 0)}
}

// deleteAccount deletes the ServiceAccount of a claim's space.
func deleteAccount(t *testing.T, c *claim) {
	t.Helper()
	space := c.spaces[0]
	if err := env.Client.CoreV1().ServiceAccounts(space.Namespace).Delete(t.Context(), space.ServiceAccount, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// mount returns the directory that the CDI spec mounts into containers, and its path there.
func (n *node) mount(t *testing.T, c *claim) (dir, inContainer string) {
	t.Helper()
	specs, err := cdi.NewCache(cdi.WithSpecDirs(n.cdi), cdi.WithAutoRefresh(false))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range specs.ListDevices() {
		if mount := specs.GetDevice(name).ContainerEdits.Mounts[0]; strings.Contains(mount.HostPath, string(c.UID)) {
			return mount.HostPath, mount.ContainerPath
		}
	}
	t.Fatalf("claim %s has no CDI device; there are %v", c.UID, specs.ListDevices())
	return "", ""
}

// awaitRenewed waits until the credentials of containers are valid, and the metadata contains the new
// ServiceAccount.
func (n *node) awaitRenewed(t *testing.T, c *claim) {
	t.Helper()
	dir, inContainer := n.mount(t, c)
	metadata := n.metadataOf(t, c)
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, framework.Timeout, true, func(ctx context.Context) (bool, error) {
		if last = n.credentialsError(ctx, dir, inContainer, c.spaces[0]); last != nil {
			return false, nil
		}
		if content, err := os.ReadFile(metadata); err != nil || !bytes.Contains(content, []byte(c.spaces[0].ServiceAccountUID)) {
			last = fmt.Errorf("the metadata do not contain the new ServiceAccount (error: %w): %s", err, content)
		}
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("waited for valid credentials: %v", last)
	}
}

// awaitExitOrLog waits until the kubelet plugin has exited or, if it took fewer steps than expected, has
// logged that the work is done.
func (p *plugin) awaitExitOrLog(t *testing.T, done string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, framework.Timeout, true, func(context.Context) (bool, error) {
		select {
		case <-p.exited:
			return true, nil
		default:
			return strings.Contains(p.log.String(), done), nil
		}
	})
	if err != nil {
		t.Fatalf("the kubelet plugin neither exited nor logged %s", done)
	}
}

// renew replaces the ServiceAccount of a new prepared claim, and kills the kubelet plugin before step
// number last, or after the renewal. It returns the steps.
func renew(t *testing.T, last int) (*node, *claim, []string) {
	t.Helper()
	c, n := readyClaim(t), newNode(t)
	p := n.startCounted(t)
	n.mustPrepare(t, p, c)
	n.steps.count(last)
	replaceAccount(t, c)
	p.awaitExitOrLog(t, `"Tokens renewed"`)
	names, killed := n.steps.stop()
	if last != noLimit && !killed {
		t.Logf("the kubelet plugin renewed the token in %d steps: %q", len(names), names)
	}
	p.kill()
	return n, c, names
}

func TestKilledRenewal_isRepeated(t *testing.T) {
	_, _, names := renew(t, noLimit)
	for i, name := range names {
		t.Run(fmt.Sprintf("%02d before %s", i+1, name), func(t *testing.T) {
			t.Parallel()
			n, c, _ := renew(t, i+1)
			p := n.startAfterKill(t)
			n.awaitRenewed(t, c)
			n.checkPaths(t, c)
			n.mustUnprepare(t, p, c)
		})
	}
}

func TestStart_followsAChangedAllocation(t *testing.T) {
	t.Parallel()
	for what, again := range map[string]bool{"deallocated": false, "allocated again": true} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c := readyClaim(t, "a", "b")
			n, p := prepared(t, c)
			p.kill()
			framework.Deallocate(t, env, c.Namespace, c.Name)
			if again {
				framework.Allocate(t, env, c.Namespace, c.Name)
				c.ResourceClaim, c.spaces = framework.SpacesOf(t, env, c.Namespace, c.Name, 2)
			}
			p = n.start(t)
			if again {
				n.mustPrepare(t, p, c)
			}
			n.mustUnprepare(t, p, c)
		})
	}
}

// TestAllocatedAgain_needsNoPrepare allocates a claim again without calls of the kubelet, as when the
// kubelet still stops a pod of the earlier allocation.
func TestAllocatedAgain_needsNoPrepare(t *testing.T) {
	t.Parallel()
	c := readyClaim(t)
	n, p := prepared(t, c)
	before, _ := n.mount(t, c)
	framework.Deallocate(t, env, c.Namespace, c.Name)
	framework.Allocate(t, env, c.Namespace, c.Name)
	c.ResourceClaim, c.spaces = framework.SpacesOf(t, env, c.Namespace, c.Name, 1)
	n.awaitRenewed(t, c)
	if after, _ := n.mount(t, c); after != before {
		t.Errorf("containers mount %s, want %s", after, before)
	}
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", c.Namespace,
		framework.EventAbout("ResourceClaim", c.Name, spaceapi.ReasonCredentialsReplaced, c.spaces[0].Namespace))
	n.mustUnprepare(t, p, c)
}
