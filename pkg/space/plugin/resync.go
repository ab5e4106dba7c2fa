// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
)

const (
	// resyncInterval is how often the node's files are compared with the claims. It is
	// well below the shortest lifetime of a token.
	resyncInterval = 2 * time.Minute
	// abandonedInterval is how often files are removed that killed processes were
	// writing.
	abandonedInterval = 30 * time.Second
	// readTimeout is how long a resync waits for the API server to answer about one
	// claim.
	readTimeout = 10 * time.Second
	// firstRenewalDelay is how long the renewal of imported tokens waits for the claim
	// to be read, which may show another ServiceAccount, or none.
	firstRenewalDelay = 30 * time.Second
)

// resyncState is what a resync keeps for the next one. The mutex lets one resync at a
// time work.
type resyncState struct {
	mutex sync.Mutex
	// ended are the allocation IDs of prepared claims that the last resync saw end.
	ended map[types.UID]string
	// damaged are the claims whose metadata were reported as damaged.
	damaged map[types.UID]bool
}

// resync compares the node's files and the tokens that are renewed with the claims. It
// imports claims that other processes prepared, and removes what is left of claims that
// ended and that the kubelet does not unprepare.
func (d *Driver) resync(ctx context.Context) {
	d.resyncs.mutex.Lock()
	defer d.resyncs.mutex.Unlock()
	d.Metrics.Resyncs.WithLabelValues().Inc()
	// Known before the claims are listed: a claim that is prepared meanwhile was not
	// removed.
	known := d.tokens.allocations()
	claims, damaged, err := d.store.list()
	if err != nil {
		utilruntime.HandleErrorWithContext(ctx, err, "Cannot look for claims that another process has prepared")
		return
	}
	ended := map[types.UID]string{}
	for _, p := range claims {
		ctx, _ := withClaim(ctx, types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, p.UID)
		if known[p.UID] != p.AllocationID {
			d.importClaim(ctx, p)
		}
		delete(known, p.UID)
		delete(d.resyncs.damaged, p.UID)
		if d.hasEnded(ctx, p) {
			ended[p.UID] = p.AllocationID
		}
	}
	d.resyncs.ended = ended
	for claim, err := range damaged {
		delete(known, claim)
		d.repairMetadata(ctx, claim, err)
	}
	for claim := range known {
		d.releaseClaim(claim)
	}
	d.removeOrphanedSpecs(ctx)
}

// importClaim renews the tokens of a claim that another process prepared, unless a call
// about it is in progress or has changed it.
func (d *Driver) importClaim(ctx context.Context, listed preparedClaim) {
	unlock, ok := d.locks.tryLock(listed.UID)
	if !ok {
		return
	}
	defer unlock()
	p, err := d.store.get(listed.UID)
	if err != nil || p.AllocationID != listed.AllocationID || d.tokens.manages(p.UID, p.AllocationID) {
		return
	}
	d.Metrics.Corrections.WithLabelValues(metrics.FoundForeign).Inc()
	d.writeServerFiles(ctx, p) // the other process may have another configuration
	d.tokens.importClaim(p)
}

// releaseClaim renews the tokens of a claim no longer that another process removed.
func (d *Driver) releaseClaim(claim types.UID) {
	unlock, ok := d.locks.tryLock(claim)
	if !ok {
		return
	}
	defer unlock()
	if found, err := d.store.has(claim); err == nil && !found {
		d.tokens.remove(claim)
	}
}

// hasEnded reports whether a claim no longer has the prepared allocation. If the last
// resync saw the same, what is left of the claim is removed: the kubelet has had the
// time in between to unprepare it.
func (d *Driver) hasEnded(ctx context.Context, p preparedClaim) bool {
	logger := klog.FromContext(ctx)
	// A watch costs nothing while the claim does not change.
	if d.tokens.manages(p.UID, p.AllocationID) {
		return false
	}
	claim, err := d.readOnce(ctx, p.Namespace, p.Name)
	if err != nil {
		logger.V(2).Info("Cannot tell whether the claim is still allocated", "err", err)
		return false
	}
	reason := whyEnded(claim, d.Driver, p)
	if reason == "" {
		return false
	}
	if d.resyncs.ended[p.UID] != p.AllocationID {
		logger.V(2).Info("Claim still prepared, waiting for the kubelet to unprepare it", logkeys.Reason, reason)
		return true
	}
	unlock, ok := d.locks.tryLock(p.UID)
	if !ok {
		return true
	}
	defer unlock()
	// A call may have changed it meanwhile.
	if now, err := d.store.get(p.UID); err != nil || now.AllocationID != p.AllocationID {
		return false
	}
	if err := d.remove(p.UID); err != nil {
		utilruntime.HandleErrorWithContext(ctx, err, "Cannot remove what is left of a claim")
		return true
	}
	d.Metrics.Corrections.WithLabelValues(metrics.FoundEnded).Inc()
	logger.Info("Removed what was left of a claim", logkeys.Reason, reason)
	return false
}

// whyEnded returns why the claim no longer has the prepared allocation, or nothing if it
// has. claim is what has the claim's name now, or nil.
func whyEnded(claim *resourceapi.ResourceClaim, driver string, p preparedClaim) string {
	if claim == nil {
		return "the claim was deleted"
	}
	if claim.UID != p.UID {
		return "the claim was deleted, and another one has its name"
	}
	switch a := allocation.FromClaim(claim, driver); {
	case a == nil:
		return "the claim is deallocated"
	case a.ID != p.AllocationID:
		return "the claim has another allocation"
	}
	return ""
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

// repairMetadata reports damaged metadata, and writes them again if this process knows
// the claim. Otherwise the claim's files stay as they are, because its containers may
// be running, until the kubelet prepares or unprepares it.
func (d *Driver) repairMetadata(ctx context.Context, claim types.UID, damage error) {
	logger := klog.LoggerWithValues(klog.FromContext(ctx), logkeys.ClaimUID, claim)
	if !d.resyncs.damaged[claim] {
		d.resyncs.damaged[claim] = true
		d.Metrics.Corrections.WithLabelValues(metrics.FoundDamaged).Inc()
		logger.Error(damage, "Metadata of a prepared claim are damaged. After a restart of the plugin its tokens are not renewed until its pods are recreated")
	}
	unlock, ok := d.locks.tryLock(claim)
	if !ok {
		return
	}
	defer unlock()
	p := d.tokens.get(claim)
	if _, err := d.store.get(claim); err == nil || p == nil {
		return
	}
	if err := d.store.update(*p); err != nil {
		utilruntime.HandleErrorWithContext(ctx, err, "Cannot repair the metadata of a claim")
		return
	}
	logger.Info("Repaired the metadata of a prepared claim")
}

// removeOrphanedSpecs removes CDI specs of claims that are not in the store. Prepare
// writes the spec last, and Unprepare removes it first.
func (d *Driver) removeOrphanedSpecs(ctx context.Context) {
	claims, err := d.specs.list()
	if err != nil {
		utilruntime.HandleErrorWithContext(ctx, err, "Cannot look for orphaned CDI specs")
	}
	for _, claim := range claims {
		if err := d.removeOrphanedSpec(ctx, claim); err != nil {
			utilruntime.HandleErrorWithContext(ctx, err, "Cannot remove a CDI spec")
		}
	}
}

func (d *Driver) removeOrphanedSpec(ctx context.Context, claim types.UID) error {
	unlock, ok := d.locks.tryLock(claim)
	if !ok {
		return nil
	}
	defer unlock()
	if found, err := d.store.has(claim); err != nil || found {
		return err
	}
	if err := d.remove(claim); err != nil {
		return err
	}
	d.Metrics.Corrections.WithLabelValues(metrics.FoundOrphan).Inc()
	klog.FromContext(ctx).Info("Removed an orphaned CDI spec", logkeys.ClaimUID, claim)
	return nil
}

// removeAbandoned removes what processes were writing when they were killed.
func (d *Driver) removeAbandoned(ctx context.Context) {
	for _, remove := range []func() ([]string, error){d.store.staging.RemoveAbandoned, d.specs.staging.RemoveAbandoned} {
		paths, err := remove()
		for _, path := range paths {
			d.Metrics.Corrections.WithLabelValues(metrics.FoundTemporary).Inc()
			klog.FromContext(ctx).Info("Removed a temporary file", logkeys.Path, path, logkeys.Reason, "the process that was writing it has been killed")
		}
		if err != nil {
			utilruntime.HandleErrorWithContext(ctx, err, "Cannot remove some temporary files")
		}
	}
}
