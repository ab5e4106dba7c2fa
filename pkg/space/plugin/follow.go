// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
)

// follow watches the claim in the background. The caller holds the mutex.
func (k *keeper) follow(c *kept) {
	ctx, logger := withClaim(k.ctx, types.NamespacedName{Namespace: c.prepared.Namespace, Name: c.prepared.Name}, c.prepared.UID)
	ctx, c.stop = context.WithCancel(ctx)
	seen := c.seen
	c.seen = nil
	k.followers.Go(func() {
		var err error
		unseen := seen == nil
		if unseen {
			seen, err = k.reader.read(ctx, c.prepared.Namespace, c.prepared.Name)
		}
		if err == nil && seen.UID != c.prepared.UID {
			err = errDeallocated
		}
		if err == nil {
			err = k.reader.follow(ctx, seen, func(claim *resourceapi.ResourceClaim) (bool, error) {
				replaced, err := k.look(ctx, c, claim)
				if err == nil && (replaced || unseen) {
					unseen = false
					k.renewNow(c)
				}
				return false, err
			})
		}
		if errors.Is(err, errDeallocated) {
			// The token is dead, or will be in a moment. The files stay until
			// the kubelet has ended the pods.
			logger.Info("Claim deallocated while prepared: its token is no longer renewed")
			k.forget(c)
			return
		}
		if ctx.Err() == nil {
			logger.Error(err, "Claim no longer followed")
		}
	})
}

// look notices what in a claim concerns its tokens, and says whether some of them have
// to be replaced. It does not have that begun itself: whoever renews must find all that
// there is to see, or would do it once for each space.
func (k *keeper) look(ctx context.Context, c *kept, claim *resourceapi.ResourceClaim) (replaced bool, err error) {
	a := identity.Of(claim, k.driver.Driver)
	if a == nil || a.ID != c.prepared.AllocationID {
		return false, errDeallocated
	}
	for i, share := range a.Shares {
		// What can't be read, such as data of a newer controller, says nothing
		// about the token; a later version of the claim may.
		ready, data, err := status.Read(claim, k.driver.Driver, a, share)
		if err != nil || ready == nil || i >= len(c.prepared.Spaces) {
			continue
		}
		ended := false
		k.mutex.Lock()
		switch {
		case data != nil:
			another := c.prepared.Spaces[i].ServiceAccountUID != data.ServiceAccountUID || c.expired[i]
			c.prepared.Spaces[i].ServiceAccountUID = data.ServiceAccountUID
			c.expired[i] = false
			if another {
				replaced = true
				k.tell()
			}
		case ready.Reason == spaceapi.ReasonExpired:
			ended = !c.expired[i]
			c.expired[i] = true
			if ended {
				k.tell()
			}
		}
		k.mutex.Unlock()
		if ended {
			klog.FromContext(ctx).Info("Space expired while in use: its token is no longer renewed", logkeys.Request, share.Request)
		}
	}
	return replaced, nil
}

// renewNow has the tokens of a claim renewed at once.
func (k *keeper) renewNow(c *kept) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.kept[c.prepared.UID] == c {
		c.asked = true
		k.backOff.Forget(c.prepared.UID)
		k.queue.Add(c.prepared.UID)
	}
}
