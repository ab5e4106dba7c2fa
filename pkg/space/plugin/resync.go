// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/client"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/staging"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

const (
	// resyncInterval is the interval of resyncs. It is much shorter than the shortest lifetime of
	// a token.
	resyncInterval = 30 * time.Second
	// unprepareTimeout is the time after which the plugin removes a deallocated claim that the
	// kubelet did not unprepare. The kubelet retries twice within it (k8s.io/kubernetes,
	// pkg/kubelet/cm/dra).
	unprepareTimeout = 2 * time.Minute
)

// resync compares the node's files with the claims whose tokens are renewed, and with the CA
// certificates for containers. During an update, an old and a new plugin run at the same time. Each
// imports the claims that the other prepares, and releases those that the other unprepares.
func (d *Driver) resync(ctx context.Context) {
	logger := klog.FromContext(ctx)
	d.Metrics.Resyncs.WithLabelValues().Inc()
	d.removeAbandoned(ctx)
	if changed, err := d.apiServer.load(); err != nil {
		logger.Error(err, "Cannot update the CA certificates of containers")
	} else if changed {
		logger.Info("CA certificates changed", logkeys.Path, d.apiServer.CAFile)
	}
	stored, err := d.store.list()
	specs, specsErr := d.specs.list()
	if err := errors.Join(err, specsErr); err != nil {
		logger.Error(err, "Cannot list all claims on the node")
	}
	for _, claim := range slices.Concat(stored, specs, d.tracked.list()) {
		d.queue.Add(claim)
	}
}

// resyncQueue resyncs claims of the queue until ctx is done.
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
	c := d.tracked.get(claim)
	switch {
	case errors.Is(err, fs.ErrNotExist) && d.isDirectoryLost(c):
		ctx, _ := withClaim(ctx, c.prepared.claimName(), claim)
		d.expire(c, d.Clock.Now())
		return d.prepareAgain(ctx, c, c.latest.Load(), d.store.put,
			"The files of this claim were removed from node %s, and are recreated for namespace %s. Restart containers that were already running: they still have the removed directory")
	case errors.Is(err, fs.ErrNotExist):
		return d.releaseClaim(ctx, claim)
	case err != nil:
		d.reportDamage(ctx, claim, err)
		if c == nil {
			// Its containers may be running. The kubelet prepares or unprepares it later.
			return nil
		}
	case c == nil || c.prepared.AllocationID != stored.AllocationID:
		d.Metrics.Findings.WithLabelValues(metrics.UntrackedClaim).Inc()
		ctx, _ := withClaim(ctx, stored.claimName(), claim)
		c = d.track(ctx, stored, nil, nil)
	}
	ctx, logger := withClaim(ctx, c.prepared.claimName(), claim)
	d.applyLatest(ctx, c)
	if !c.deallocatedAt.IsZero() {
		if latest := c.latest.Load(); d.reallocated(c.prepared, latest) {
			return d.prepareAgain(ctx, c, latest, d.store.update,
				"The claim was allocated again before node %s had stopped the pods of its earlier allocation. The files of all its pods on this node are now those of namespace %s. Restart containers that were already running: their environment variables still name the earlier namespace")
		}
		return d.removeDeallocated(ctx, c)
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
	noTokens := make([]token.Token, len(c.prepared.Spaces))
	if err = d.store.updateCredentials(c.prepared, noTokens); errors.Is(err, fs.ErrNotExist) {
		logger.Info("Recreating the credentials of a prepared claim, whose directory was removed")
		err = d.store.update(c.prepared, noTokens)
		d.expire(c, d.Clock.Now())
	}
	switch {
	case errors.Is(err, fs.ErrNotExist): // another process has removed the claim
		return nil
	case err != nil:
		return err
	}
	if replaced := d.nodeReplaced.Load(); replaced != c.nodeReplaced {
		c.nodeReplaced = replaced
		d.expire(c, *replaced)
	}
	d.renew(ctx, c)
	if err := d.restoreSpec(ctx, c); err != nil {
		return err
	}
	if until := d.untilRenewal(c.tokens...); until < resyncInterval && ctx.Err() == nil {
		d.queue.AddAfter(claim, until)
	}
	return nil
}

// releaseClaim stops the renewal for a claim that is not in the store, and removes its
// CDI spec. Prepare writes the spec last, and Unprepare removes it first.
func (d *Driver) releaseClaim(ctx context.Context, claim types.UID) error {
	d.untrack(claim)
	d.damaged.Delete(claim)
	removed, err := d.specs.remove(claim)
	if removed {
		d.Metrics.Findings.WithLabelValues(metrics.OrphanedCDISpec).Inc()
		klog.FromContext(ctx).Info("Removed an orphaned CDI spec", logkeys.ClaimUID, claim)
	}
	return err
}

// reallocated reports whether a claim has another allocation than the prepared one.
func (d *Driver) reallocated(prepared preparedClaim, claim *resourceapi.ResourceClaim) bool {
	a := allocation.FromClaim(claim, d.Driver)
	return a != nil && a.ClaimUID == prepared.UID && a.ID != prepared.AllocationID
}

// isDirectoryLost reports whether something other than a plugin has removed the directory of a claim:
// plugins remove the CDI spec first.
func (d *Driver) isDirectoryLost(c *trackedClaim) bool {
	return c != nil && c.deallocatedAt.IsZero() && c.prepared.allocationIn(c.latest.Load(), d.Driver) != nil && d.specs.has(c.prepared.UID)
}

// restoreSpec recreates the CDI spec of a claim if it was removed, and updates it if another process
// wrote it with another server. If it was removed, restoreSpec waits for resyncInterval, because
// another process may be removing the claim.
func (d *Driver) restoreSpec(ctx context.Context, c *trackedClaim) error {
	now, has := d.Clock.Now(), d.specs.has(c.prepared.UID)
	if has {
		c.specLost = time.Time{}
	} else if c.specLost.IsZero() {
		c.specLost = now
	}
	switch {
	case has && c.specCurrent, !has && now.Sub(c.specLost) < resyncInterval:
		return nil
	case c.prepared.allocationIn(c.latest.Load(), d.Driver) == nil:
		return nil
	}
	prepared, missing, err := d.resolveStripped(ctx, c.latest.Load())
	if err != nil || len(missing) > 0 {
		return err
	}
	prepared.keepCDIName(c.prepared)
	for i := range prepared.Spaces {
		prepared.Spaces[i].ServiceAccountUID = c.prepared.Spaces[i].ServiceAccountUID
	}
	// An earlier version of the plugin may have recorded less, and not have written all files.
	if !equality.Semantic.DeepEqual(prepared.preparedClaim, c.prepared) {
		if err := d.store.update(prepared.preparedClaim, make([]token.Token, len(prepared.Spaces))); err != nil {
			return err
		}
		d.tracked.update(func() { c.prepared = prepared.preparedClaim })
	}
	if _, err := d.putSpec(prepared); err != nil {
		return err
	}
	c.specCurrent = true
	if !has {
		klog.FromContext(ctx).Info("Recreated the CDI spec of a prepared claim")
	}
	return nil
}

// prepareAgain prepares a claim that the kubelet has prepared and does not prepare again: its files
// were removed, or it was allocated again. The kubelet remembers prepared claims by their UIDs, so
// that it does not notice a new allocation while it still stops a pod of the earlier one. The new pod
// has the same directories and CDI devices. The API server forbids the tokens if the pods of the new
// allocation are on other nodes only. event is a format for the node and the namespaces.
func (d *Driver) prepareAgain(ctx context.Context, c *trackedClaim, claim *resourceapi.ResourceClaim, write func(preparedClaim, []token.Token) error, event string) error {
	if d.untilRenewal(c.tokens...) > 0 {
		return nil
	}
	prepared, missing, err := d.resolveStripped(ctx, claim)
	if len(missing) > 0 {
		return nil // until a later version of the claim
	}
	var tokens []token.Token
	if err == nil {
		requestCtx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		var errs []error
		tokens, errs = d.requestTokens(requestCtx, prepared.Spaces, func(int) bool { return true })
		err = errors.Join(errs...)
	}
	sameSubdir := func(a, b preparedSpace) bool { return a.Subdir == b.Subdir }
	if err == nil && !slices.EqualFunc(prepared.Spaces, c.prepared.Spaces, sameSubdir) {
		err = errors.New("the claim was allocated again, with other requests or numbers of devices than the kubelet has prepared: delete the pods that use it on this node")
	}
	if ctx.Err() != nil {
		return nil // it is being unprepared
	}
	if err == nil {
		prepared.keepCDIName(c.prepared)
		if err = write(prepared.preparedClaim, tokens); errors.Is(err, fs.ErrNotExist) {
			return nil // Another process has removed it. The next resync releases it.
		}
	}
	if err == nil {
		_, err = d.putSpec(prepared)
	}
	if err != nil {
		delay := c.retries.Step()
		d.tracked.update(func() {
			for i := range c.tokens {
				d.setRenewal(&c.tokens[i], d.Clock.Now().Add(delay))
			}
		})
		d.queue.AddAfter(c.prepared.UID, delay)
		if apierrors.IsForbidden(err) {
			klog.FromContext(ctx).V(2).Info("Claim allocated again, but this node gets no tokens for it", "err", err)
			return nil
		}
		d.reportFailure(c, err)
		return fmt.Errorf("prepare ResourceClaim %s again: %w", c.prepared.claimName(), err)
	}
	d.track(ctx, prepared.preparedClaim, claim, tokens)
	klog.FromContext(ctx).Info("Prepared a claim again")
	var namespaces []string
	for _, space := range prepared.Spaces {
		namespaces = append(namespaces, space.Namespace)
	}
	d.Events.Eventf(prepared.reference(), corev1.EventTypeWarning, spaceapi.ReasonCredentialsReplaced, event, d.Node, strings.Join(namespaces, ", "))
	return nil
}

// removeDeallocated removes a claim that the kubelet did not unprepare in time, unless the API server returns
// the claim with an allocation.
func (d *Driver) removeDeallocated(ctx context.Context, c *trackedClaim) error {
	if d.Clock.Since(c.deallocatedAt) < unprepareTimeout {
		return nil
	}
	prepared := c.prepared
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	claim, err := d.claims.get(ctx, prepared.claimName())
	switch {
	case err != nil && !client.IsNotFound(err):
		return fmt.Errorf("read ResourceClaim %s: %w", prepared.claimName(), err)
	case err == nil && claim.UID == prepared.UID && allocation.FromClaim(claim, d.Driver) != nil:
		c.latest.Store(claim) // for the next resync
		return nil
	}
	if err := d.remove(prepared.UID); err != nil {
		return err
	}
	d.Metrics.Findings.WithLabelValues(metrics.DeallocatedClaim).Inc()
	klog.FromContext(ctx).Info("Removed a claim that the kubelet did not unprepare")
	return nil
}

// reportDamage reports damaged metadata once.
func (d *Driver) reportDamage(ctx context.Context, claim types.UID, damage error) {
	if _, reported := d.damaged.LoadOrStore(claim, true); reported {
		return
	}
	d.Metrics.Findings.WithLabelValues(metrics.DamagedMetadata).Inc()
	klog.FromContext(ctx).Error(damage, "Metadata of a prepared claim is damaged. After a restart of the plugin, its tokens are not renewed until its pods are recreated", logkeys.ClaimUID, claim)
}

// removeAbandoned removes files that processes were writing when they were killed.
func (d *Driver) removeAbandoned(ctx context.Context) {
	for _, dir := range []staging.Dir{d.store.staging, d.specs.staging} {
		paths, err := dir.RemoveAbandoned(ctx)
		for _, path := range paths {
			d.Metrics.Findings.WithLabelValues(metrics.TemporaryFile).Inc()
			klog.FromContext(ctx).Info("Removed a temporary file of a process that was killed", logkeys.Path, path)
		}
		if err != nil {
			klog.FromContext(ctx).Error(err, "Cannot remove some temporary files")
		}
	}
}
