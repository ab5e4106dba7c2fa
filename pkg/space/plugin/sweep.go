// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/record"
)

const (
	// sweepInterval is how often the node's files are compared with what they
	// are about. It is well below the shortest time in which a token ends.
	sweepInterval = 2 * time.Minute
	// abandonedInterval is how often files are removed that killed processes were
	// writing.
	abandonedInterval = 30 * time.Second
	// readTimeout is how long a sweep waits for the API server to say something
	// about one claim.
	readTimeout = 10 * time.Second
	// firstRenewalDelay is how long the renewal of taken-over tokens waits for a
	// look at the claim, which may show another ServiceAccount, or none.
	firstRenewalDelay = 30 * time.Second
	// stuckAfter is after how long without a sign of life a sweep is stuck. It
	// gives one whenever it has looked at a claim.
	stuckAfter = 5 * sweepInterval
)

// uidPattern is how the API server makes UIDs. Whatever has another name was not
// put there for a claim.
var uidPattern = regexp.MustCompile(`^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$`)

// sweeper is what a sweep remembers for the next one. The mutex lets one sweep at
// a time work.
type sweeper struct {
	mutex sync.Mutex
	// suspects are the records whose claims have ended, as the last sweep saw it.
	suspects map[suspect]bool
	// seen is when the sweeps were last seen to go on.
	seen atomic.Pointer[time.Time]
	// reported are the unreadable records that have been reported.
	reported map[types.UID]bool
}

// suspect is a prepared allocation of a claim.
type suspect struct {
	claim      types.UID
	allocation string
}

// alive is called by sweeps as they go on.
func (d *Driver) alive() {
	now := d.Clock.Now()
	d.sweeper.seen.Store(&now)
}

// stuck says that the sweeps have come to a halt, or nil.
func (d *Driver) stuck() error {
	if seen := d.sweeper.seen.Load(); seen != nil && d.Clock.Since(*seen) > stuckAfter {
		return fmt.Errorf("the node's files have last been looked at %s ago", d.Clock.Since(*seen).Round(time.Second))
	}
	return nil
}

// sweep brings the node's files and what the keeper does in line with the claims:
// those of other processes are taken over, leftovers are removed.
func (d *Driver) sweep(ctx context.Context) {
	d.sweeper.mutex.Lock()
	defer d.sweeper.mutex.Unlock()
	d.alive()
	d.Metrics.Sweeps.WithLabelValues().Inc()
	listing, err := d.takeOver(ctx)
	if err != nil {
		return // reported
	}
	suspects := map[suspect]bool{}
	for _, p := range listing.Prepared {
		d.alive()
		ctx, logger := withClaim(ctx, types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, p.UID)
		// Watching a claim costs nothing while it does not change, and tells when
		// it has ended. Then the kubelet unprepares it, as a rule.
		if d.keeper.follows(p.UID, p.AllocationID) {
			continue
		}
		claim, err := d.readOnce(ctx, p.Namespace, p.Name)
		if err != nil {
			logger.V(2).Info("Cannot tell whether the claim is still allocated", "err", err)
			continue
		}
		if reason := whyEnded(claim, d.Driver, p.UID, p.AllocationID); reason != "" {
			d.suspect(ctx, suspects, suspect{p.UID, p.AllocationID}, reason)
		}
	}
	for _, u := range listing.Unreadable {
		d.alive()
		d.recover(ctx, u, suspects)
	}
	d.sweeper.suspects = suspects
	d.removeOrphans(ctx)
}

// takeOver makes the keeper look after the claims that another process has recorded,
// and no longer after those whose record has gone.
func (d *Driver) takeOver(ctx context.Context) (record.Listing, error) {
	// Known before the records are read: a claim that is prepared meanwhile is
	// not one that has lost its record.
	known := d.keeper.knows()
	listing, err := d.Records.List()
	if err != nil {
		utilruntime.HandleErrorWithContext(ctx, err, "The tokens of claims that another process has prepared are not renewed for now")
		return listing, err
	}
	for _, p := range listing.Prepared {
		if known[p.UID] != p.AllocationID {
			d.adopt(p)
		}
		delete(known, p.UID)
	}
	for _, u := range listing.Unreadable {
		delete(known, u.UID)
	}
	for claim := range known {
		d.disown(claim)
	}
	return listing, nil
}

// adopt makes the keeper look after a claim, unless a call about it is under way,
// or has been meanwhile, which is newer than what was listed.
func (d *Driver) adopt(p record.Prepared) {
	unlock, ok := d.locks.tryLock(p.UID)
	if !ok {
		return
	}
	defer unlock()
	now, err := d.Records.Get(p.UID)
	if err != nil || now.AllocationID != p.AllocationID || d.keeper.follows(p.UID, p.AllocationID) {
		return
	}
	d.Metrics.Findings.WithLabelValues(metrics.FoundForeign).Inc()
	d.keeper.keep(now, nil, schedule{renew: d.Clock.Now().Add(firstRenewalDelay)})
}

// disown makes the keeper forget a claim, unless it has a record again.
func (d *Driver) disown(claim types.UID) {
	unlock, ok := d.locks.tryLock(claim)
	if !ok {
		return
	}
	defer unlock()
	if recorded, err := d.Records.Has(claim); err == nil && !recorded {
		d.keeper.drop(claim)
	}
}

// readOnce gets a claim; nil means that there is none of that name.
func (d *Driver) readOnce(ctx context.Context, namespace, name string) (*resourceapi.ResourceClaim, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	claim, err := d.Client.ResourceV1().ResourceClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ResourceClaim %s/%s: %w", namespace, name, err)
	}
	return claim, nil
}

// whyEnded says why the claim with the UID no longer has the allocation, or is
// empty if it has. claim is what there is now under the claim's name, or nil. An
// empty allocation stands for any.
func whyEnded(claim *resourceapi.ResourceClaim, driver string, uid types.UID, allocation string) string {
	if claim == nil {
		return "the claim is gone"
	}
	if claim.UID != uid {
		return "the claim is gone, and another one has its name"
	}
	switch a := identity.Of(claim, driver); {
	case a == nil:
		return "the claim is deallocated"
	case allocation != "" && a.ID != allocation:
		return "the claim is allocated anew"
	}
	return ""
}

// suspect removes what there is of an allocation that has ended if the last sweep
// saw the same. The kubelet has had the time in between to unprepare it; then it
// would not have been seen again.
func (d *Driver) suspect(ctx context.Context, suspects map[suspect]bool, s suspect, reason string) {
	logger := klog.FromContext(ctx)
	if !d.sweeper.suspects[s] {
		suspects[s] = true
		logger.V(2).Info("Claim still prepared, waiting for the kubelet to unprepare it", logkeys.Reason, reason)
		return
	}
	unlock, ok := d.locks.tryLock(s.claim)
	if !ok {
		suspects[s] = true
		return
	}
	defer unlock()
	// Another process may have prepared it anew or unprepared it, or this one
	// just before.
	if p, _ := d.Records.Get(s.claim); p.AllocationID != s.allocation {
		return
	}
	if recorded, err := d.Records.Has(s.claim); err != nil || !recorded {
		return
	}
	if err := d.remove(s.claim); err != nil {
		suspects[s] = true
		utilruntime.HandleErrorWithContext(ctx, err, "Cannot remove what is left of a claim")
		return
	}
	d.Metrics.Findings.WithLabelValues(metrics.FoundEnded).Inc()
	logger.Info("Removed what was left of a claim", logkeys.Reason, reason)
}

// removeOrphans removes artifacts and CDI specs that no record is about. Prepare
// writes the record first and Unprepare removes it last.
func (d *Driver) removeOrphans(ctx context.Context) {
	found := map[types.UID]bool{}
	for _, list := range []func() ([]types.UID, error){d.Artifacts.List, d.Specs.List} {
		claims, err := list()
		if err != nil {
			utilruntime.HandleErrorWithContext(ctx, err, "Leftovers are not removed for now")
		}
		for _, claim := range claims {
			found[claim] = uidPattern.MatchString(string(claim))
		}
	}
	for claim, ours := range found {
		if ours {
			logger := klog.LoggerWithValues(klog.FromContext(ctx), logkeys.ClaimUID, claim)
			d.removeOrphan(klog.NewContext(ctx, logger), claim)
		}
	}
}

func (d *Driver) removeOrphan(ctx context.Context, claim types.UID) {
	logger := klog.FromContext(ctx)
	unlock, ok := d.locks.tryLock(claim)
	if !ok {
		return
	}
	defer unlock()
	// Only now, after the files have been found: whoever writes them has written
	// the record before.
	recorded, err := d.Records.Has(claim)
	if err == nil && !recorded {
		if err = d.remove(claim); err == nil {
			d.Metrics.Findings.WithLabelValues(metrics.FoundOrphan).Inc()
			logger.Info("Removed artifacts or a CDI spec", logkeys.Reason, "there is no record of the claim")
			return
		}
	}
	if err != nil {
		utilruntime.HandleErrorWithContext(ctx, err, "Cannot tell whether artifacts are a leftover, or remove them")
	}
}

// removeAbandoned removes what processes were writing when they were killed.
func (d *Driver) removeAbandoned(ctx context.Context) {
	for _, remove := range []func() ([]string, error){d.Records.RemoveAbandoned, d.Artifacts.RemoveAbandoned, d.Specs.RemoveAbandoned} {
		paths, err := remove()
		for _, path := range paths {
			d.Metrics.Findings.WithLabelValues(metrics.FoundTemporary).Inc()
			klog.FromContext(ctx).Info("Removed a temporary file", logkeys.Path, path, logkeys.Reason, "the process that was writing it has been killed")
		}
		if err != nil {
			utilruntime.HandleErrorWithContext(ctx, err, "Cannot remove some temporary files")
		}
	}
}
