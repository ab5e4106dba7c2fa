// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/staging"
)

const (
	// resyncInterval is how often the node's files are compared with what they should be.
	// It is well below the shortest lifetime of a token.
	resyncInterval = 30 * time.Second
	// resyncTimeout is how long a resync waits for the API server.
	resyncTimeout = 10 * time.Second
	// unprepareTimeout is how long the kubelet has to unprepare a claim that was
	// deallocated, before a resync does it.
	unprepareTimeout = 2 * time.Minute
)

// resync compares the node's files with the claims whose tokens are renewed, and with the
// certificates for containers. During an update, an old and a new plugin serve side by
// side: each imports the claims that the other one prepares, and releases those that it
// unprepares.
func (d *Driver) resync(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, resyncTimeout)
	defer cancel()
	d.Metrics.Resyncs.WithLabelValues().Inc()
	d.removeAbandoned(ctx)
	if changed, err := d.apiServer.load(); err != nil {
		klog.FromContext(ctx).Error(err, "Containers keep the certificates that they have")
	} else if changed {
		klog.FromContext(ctx).Info("Certificate authority changed", logkeys.Path, d.apiServer.CAFile)
	}
	stored, err := d.store.list()
	specs, specsErr := d.specs.list()
	if err := errors.Join(err, specsErr); err != nil {
		klog.FromContext(ctx).Error(err, "Cannot list the claims on the node")
		return
	}
	for claim := range sets.New(stored...).Insert(specs...).Insert(d.tokens.list()...) {
		claimCtx, unlock, ok := d.locks.tryLock(ctx, claim)
		if !ok {
			continue // a call about it is in progress
		}
		err := d.resyncClaim(claimCtx, claim)
		unlock()
		if err != nil {
			klog.FromContext(ctx).Error(err, "Cannot resync a claim", logkeys.ClaimUID, claim)
		}
	}
}

// resyncClaim resyncs one claim. The caller has its lock.
func (d *Driver) resyncClaim(ctx context.Context, claim types.UID) error {
	p, err := d.store.get(claim)
	if err != nil {
		if found, err := d.store.has(claim); err != nil {
			return err
		} else if !found {
			return d.releaseClaim(ctx, claim)
		}
		return d.restoreMetadata(ctx, claim, err)
	}
	delete(d.damaged, claim)
	ctx, _ = withClaim(ctx, types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, claim)
	if !d.tokens.knows(p) {
		d.Metrics.Corrections.WithLabelValues(metrics.FoundForeign).Inc()
		d.tokens.importClaim(p)
	}
	for _, space := range p.Spaces {
		err := d.store.writeServerFiles(claim, space.Subdir, d.apiServer.files(claim, space))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // the next renewal reports that
			return err
		}
	}
	if d.tokens.endedBefore(claim, d.Clock.Now().Add(-unprepareTimeout)) {
		return d.removeEnded(ctx, p)
	}
	return nil
}

// releaseClaim stops the renewal for a claim that is not in the store, and removes its
// CDI spec. Prepare writes the spec last, and Unprepare removes it first.
func (d *Driver) releaseClaim(ctx context.Context, claim types.UID) error {
	d.tokens.remove(claim)
	removed, err := d.specs.remove(claim)
	if removed {
		d.Metrics.Corrections.WithLabelValues(metrics.FoundOrphan).Inc()
		klog.FromContext(ctx).Info("Removed an orphaned CDI spec", logkeys.ClaimUID, claim)
	}
	return err
}

// removeEnded removes a claim that the kubelet did not unprepare, unless the API server
// knows that it has the prepared allocation.
func (d *Driver) removeEnded(ctx context.Context, p preparedClaim) error {
	claim, err := d.Client.ResourceV1().ResourceClaims(p.Namespace).Get(ctx, p.Name, metav1.GetOptions{})
	switch {
	case isNotFound(err):
		claim = nil
	case err != nil:
		return fmt.Errorf("read ResourceClaim %s/%s: %w", p.Namespace, p.Name, err)
	}
	reason := whyEnded(claim, d.Driver, p)
	if reason == "" {
		return nil
	}
	if err := d.remove(p.UID); err != nil {
		return err
	}
	d.Metrics.Corrections.WithLabelValues(metrics.FoundEnded).Inc()
	klog.FromContext(ctx).Info("Removed a claim that the kubelet did not unprepare", logkeys.Reason, reason)
	return nil
}

// whyEnded returns why the claim no longer has the prepared allocation, or nothing if it
// has. claim is the one of the name, or nil.
func whyEnded(claim *resourceapi.ResourceClaim, driver string, p preparedClaim) string {
	if claim == nil {
		return "the claim was deleted"
	}
	if claim.UID != p.UID {
		return "the claim was deleted, and another claim has its name"
	}
	switch a := allocation.FromClaim(claim, driver); {
	case a == nil:
		return "the claim is deallocated"
	case a.ID != p.AllocationID:
		return "the claim has another allocation"
	}
	return ""
}

// restoreMetadata reports damaged metadata, and writes them again if this process knows
// the claim. Otherwise the claim's files stay as they are, because its containers may
// be running, until the kubelet prepares or unprepares it.
func (d *Driver) restoreMetadata(ctx context.Context, claim types.UID, damage error) error {
	logger := klog.LoggerWithValues(klog.FromContext(ctx), logkeys.ClaimUID, claim)
	if !d.damaged[claim] {
		d.damaged[claim] = true
		d.Metrics.Corrections.WithLabelValues(metrics.FoundDamaged).Inc()
		logger.Error(damage, "Metadata of a prepared claim are damaged. After a restart of the plugin its tokens are not renewed until its pods are recreated")
	}
	p := d.tokens.get(claim)
	if p == nil {
		return nil
	}
	if err := d.store.update(*p); err != nil {
		return fmt.Errorf("restore metadata: %w", err)
	}
	logger.Info("Restored the metadata of a prepared claim")
	return nil
}

// removeAbandoned removes what processes were writing when they were killed.
func (d *Driver) removeAbandoned(ctx context.Context) {
	for _, dir := range []staging.Dir{d.store.staging, d.specs.staging} {
		paths, err := dir.RemoveAbandoned(ctx)
		for _, path := range paths {
			d.Metrics.Corrections.WithLabelValues(metrics.FoundTemporary).Inc()
			klog.FromContext(ctx).Info("Removed a temporary file of a process that was killed", logkeys.Path, path)
		}
		if err != nil {
			klog.FromContext(ctx).Error(err, "Cannot remove some temporary files")
		}
	}
}
