// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/staging"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

const (
	// resyncInterval is how often the node's files are compared with what they should be.
	// It is well below the shortest lifetime of a token.
	resyncInterval = 30 * time.Second
	// unprepareTimeout is how long the kubelet has to unprepare a claim that was
	// deallocated, before the plugin does it. It is two of the periods after which the
	// kubelet retries (k8s.io/kubernetes, pkg/kubelet/cm/dra).
	unprepareTimeout = 2 * time.Minute
)

// resync compares the node's files with the claims whose tokens are renewed, and with the
// certificates for containers. During an update, an old and a new plugin serve side by
// side: each imports the claims that the other one prepares, and releases those that it
// unprepares.
func (d *Driver) resync(ctx context.Context) {
	logger := klog.FromContext(ctx)
	d.Metrics.Resyncs.WithLabelValues().Inc()
	d.removeAbandoned(ctx)
	if changed, err := d.apiServer.load(); err != nil {
		logger.Error(err, "Containers keep the certificates that they have")
	} else if changed {
		logger.Info("Certificate authority changed", logkeys.Path, d.apiServer.CAFile)
	}
	stored, err := d.store.list()
	specs, specsErr := d.specs.list()
	if err := errors.Join(err, specsErr); err != nil {
		logger.Error(err, "Cannot list all claims on the node")
	}
	for _, claim := range slices.Concat(stored, specs, d.known.list()) {
		d.queue.Add(claim)
	}
}

// resyncQueue resyncs claims of the queue until the context ends.
func (d *Driver) resyncQueue(ctx context.Context) {
	for {
		claim, stopped := d.queue.Get()
		if stopped || ctx.Err() != nil {
			return
		}
		// A call of the kubelet about the claim may be in progress. Unprepare interrupts the wait.
		if claimCtx, unlock, err := d.locks.lock(ctx, claim); err == nil {
			if err := d.resyncClaim(claimCtx, claim); err != nil {
				klog.FromContext(ctx).Error(err, "Cannot resync a claim", logkeys.ClaimUID, claim)
			}
			unlock()
		}
		d.queue.Done(claim)
	}
}

// resyncClaim compares a claim with its files and its latest version, and renews its tokens
// when they are due. The caller has the claim's lock.
func (d *Driver) resyncClaim(ctx context.Context, claim types.UID) error {
	stored, err := d.store.get(claim)
	c := d.known.get(claim)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d.releaseClaim(ctx, claim)
	case err != nil:
		d.reportDamage(ctx, claim, err)
		if c == nil {
			// Its containers may be running. The kubelet prepares or unprepares it.
			return nil
		}
	case c == nil || c.prepared.AllocationID != stored.AllocationID:
		d.Metrics.Findings.WithLabelValues(metrics.FoundImported).Inc()
		ctx, _ := withClaim(ctx, stored.claimName(), claim)
		c = d.know(ctx, stored, nil, nil)
	}
	ctx, logger := withClaim(ctx, c.prepared.claimName(), claim)
	if c.ended.IsZero() {
		d.follow(ctx, c)
	}
	// After a restart, the first renewal is for the ServiceAccount in the metadata.
	if !slices.Equal(stored.Spaces, c.prepared.Spaces) {
		if err := d.store.updateMetadata(c.prepared); err != nil {
			return err
		}
	}
	if _, damaged := d.damaged.LoadAndDelete(claim); damaged {
		logger.Info("Restored the metadata of a prepared claim")
	}
	err = d.store.updateCredentials(c.prepared, make([]token.Token, len(c.prepared.Spaces)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // the next renewal reports that
		return err
	}
	if !c.ended.IsZero() {
		return d.removeEnded(ctx, c)
	}
	d.renew(ctx, c)
	if left := d.untilRenewal(c.tokens...); left < resyncInterval && ctx.Err() == nil {
		d.queue.AddAfter(claim, left)
	}
	return nil
}

// releaseClaim stops the renewal for a claim that is not in the store, and removes its
// CDI spec. Prepare writes the spec last, and Unprepare removes it first.
func (d *Driver) releaseClaim(ctx context.Context, claim types.UID) error {
	d.forget(claim)
	d.damaged.Delete(claim)
	removed, err := d.specs.remove(claim)
	if removed {
		d.Metrics.Findings.WithLabelValues(metrics.FoundOrphan).Inc()
		klog.FromContext(ctx).Info("Removed an orphaned CDI spec", logkeys.ClaimUID, claim)
	}
	return err
}

// removeEnded removes a claim that the kubelet did not unprepare in time, unless the API
// server knows that it has the prepared allocation.
func (d *Driver) removeEnded(ctx context.Context, c *knownClaim) error {
	if d.Clock.Since(c.ended) < unprepareTimeout {
		return nil
	}
	prepared := c.prepared
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	claim, err := d.Client.ResourceV1().ResourceClaims(prepared.Namespace).Get(ctx, prepared.Name, metav1.GetOptions{})
	switch {
	case err != nil && !isNotFound(err):
		return fmt.Errorf("read ResourceClaim %s: %w", prepared.claimName(), err)
	case err == nil && prepared.allocationIn(claim, d.Driver) != nil:
		d.end(c) // Again: it had ended because its credentials were removed.
		return nil
	}
	if err := d.remove(prepared.UID); err != nil {
		return err
	}
	d.Metrics.Findings.WithLabelValues(metrics.FoundEnded).Inc()
	klog.FromContext(ctx).Info("Removed a claim that the kubelet did not unprepare")
	return nil
}

// reportDamage reports damaged metadata once.
func (d *Driver) reportDamage(ctx context.Context, claim types.UID, damage error) {
	if _, reported := d.damaged.LoadOrStore(claim, true); reported {
		return
	}
	d.Metrics.Findings.WithLabelValues(metrics.FoundDamaged).Inc()
	klog.FromContext(ctx).Error(damage, "Metadata of a prepared claim are damaged. After a restart of the plugin its tokens are not renewed until its pods are recreated", logkeys.ClaimUID, claim)
}

// removeAbandoned removes what processes were writing when they were killed.
func (d *Driver) removeAbandoned(ctx context.Context) {
	for _, dir := range []staging.Dir{d.store.staging, d.specs.staging} {
		paths, err := dir.RemoveAbandoned(ctx)
		for _, path := range paths {
			d.Metrics.Findings.WithLabelValues(metrics.FoundTemporary).Inc()
			klog.FromContext(ctx).Info("Removed a temporary file of a process that was killed", logkeys.Path, path)
		}
		if err != nil {
			klog.FromContext(ctx).Error(err, "Cannot remove some temporary files")
		}
	}
}
