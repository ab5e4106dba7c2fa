// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/artifacts"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/record"
)

// recover tries to make the record of a claim anew. What can't be read is never
// believed but for the claim's name; all else comes from the claim itself and from
// what its containers have. Until it is made, everything of the claim stays,
// because its pods may be running.
func (d *Driver) recover(ctx context.Context, u record.Unreadable, suspects map[suspect]bool) {
	ctx, logger := withClaim(ctx, types.NamespacedName{Namespace: u.Namespace, Name: u.Name}, u.UID)
	if !d.sweeper.reported[u.UID] {
		d.sweeper.reported[u.UID] = true
		d.Metrics.Findings.WithLabelValues(metrics.FoundUnreadable).Inc()
		logger.Error(u.Err, "The record of a prepared claim can't be read. Unless it can be made anew, the claim's tokens are not renewed until its pods start again",
			logkeys.Path, u.Path)
	}
	err := d.rebuild(ctx, u, suspects)
	switch {
	case errors.Is(err, errNotNow):
		logger.V(2).Info("Record not made anew for now", "err", err)
	case err != nil:
		utilruntime.HandleErrorWithContext(ctx, err, "Cannot make the record of a claim anew")
	}
}

// errNotNow means that a record can't be made anew, now or at all, and that it has
// been reported.
var errNotNow = errors.New("it may be possible later")

func (d *Driver) rebuild(ctx context.Context, u record.Unreadable, suspects map[suspect]bool) error {
	if c := d.keeper.get(u.UID); c != nil {
		// This process has prepared it, or read the record when it was whole.
		p := c.prepared
		p.Spaces = d.keeper.spaces(c)
		return d.restore(ctx, p, func() {})
	}
	if u.Name == "" {
		return fmt.Errorf("the file does not say which claim it is about: %w", errNotNow)
	}
	claim, err := d.readOnce(ctx, u.Namespace, u.Name)
	if err != nil {
		return errors.Join(err, errNotNow)
	}
	reason := whyEnded(claim, d.Driver, u.UID, "")
	if reason != "" {
		d.suspect(ctx, suspects, suspect{claim: u.UID}, reason)
		return nil
	}
	p, err := d.recordFrom(claim)
	if err != nil {
		return err
	}
	if p == nil {
		d.suspect(ctx, suspects, suspect{claim: u.UID}, "the claim is allocated anew")
		return nil
	}
	return d.restore(ctx, *p, func() {
		d.keeper.keep(*p, claim, schedule{renew: d.Clock.Now()})
	})
}

// recordFrom returns what Prepare would record for the claim, or nil if the node
// has the artifacts of another allocation of it.
func (d *Driver) recordFrom(claim *resourceapi.ResourceClaim) (*record.Prepared, error) {
	a := identity.Of(claim, d.Driver)
	spaces, missing, err := readSpaces(claim, d.Driver, a)
	if err = errors.Join(missing, err); err != nil {
		return nil, errors.Join(err, errNotNow)
	}
	for i, share := range a.Shares {
		// A namespace's name is that of one allocation. Without this, the pods of
		// an earlier one would get tokens for a space that is not theirs.
		switch namespace, err := d.Artifacts.Namespace(claim.UID, share.Slot); {
		case errors.Is(err, artifacts.ErrGone):
			return nil, errors.Join(err, errNotNow)
		case err != nil:
			return nil, err
		case namespace != spaces[i].Namespace:
			return nil, nil
		}
	}
	effective, err := d.effective(a)
	if err != nil {
		return nil, err
	}
	p := recordOf(a, effective, spaces)
	return &p, nil
}

// restore saves a record in the place of one that can't be read, and goes on with
// it, unless somebody was faster.
func (d *Driver) restore(ctx context.Context, p record.Prepared, goOn func()) error {
	unlock, ok := d.locks.tryLock(p.UID)
	if !ok {
		return errNotNow
	}
	defer unlock()
	if _, err := d.Records.Get(p.UID); err == nil {
		return nil
	}
	recorded, err := d.Records.Has(p.UID)
	if err != nil {
		return err
	}
	if !recorded {
		return nil // unprepared
	}
	if err := d.Records.Save(p); err != nil {
		return err
	}
	goOn()
	delete(d.sweeper.reported, p.UID)
	klog.FromContext(ctx).Info("Made the record of a claim anew, and go on renewing its tokens")
	return nil
}
