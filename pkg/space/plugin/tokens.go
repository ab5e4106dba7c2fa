// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

const (
	// requestTimeout is the timeout of requests for a claim's tokens, so that an API server that
	// does not respond does not delay other claims for long.
	requestTimeout = 30 * time.Second
	// firstTokenDelay is the first delay after which a token that was forbidden is requested
	// again. The delays double.
	firstTokenDelay = 25 * time.Millisecond
	// firstRenewalDelay is how long the renewal of tokens that another process requested waits
	// until the claim is read: its ServiceAccount may be another one.
	firstRenewalDelay = 30 * time.Second
	// A renewal that failed is retried after delays that double.
	firstRetry = time.Second
	lastRetry  = time.Minute
	// eventAfter is how long renewals of a claim's tokens fail before there is an event. By then,
	// an API server that restarts is available again, and the tokens with the shortest lifetime
	// are valid for two more minutes. eventInterval is the interval of further events.
	eventAfter    = time.Minute
	eventInterval = 10 * time.Minute
)

// trackedClaims are the prepared claims whose tokens the plugin renews.
type trackedClaims struct {
	mutex  sync.Mutex
	claims map[types.UID]*trackedClaim
	// changed is closed when the health of a space may have changed.
	changed chan struct{}
}

// trackedClaim is a prepared claim whose tokens the plugin renews. Only the holder of the claim's
// lock changes it. It changes prepared, tokens and deallocatedAt in trackedClaims.update, because metrics
// and health reports read them.
type trackedClaim struct {
	// prepared is the metadata of the claim. Only the UIDs of ServiceAccounts change.
	prepared preparedClaim
	// tokens are the states of the spaces' tokens.
	tokens []tokenState
	// latest is the newest version of the claim that was read, stripped, or nil.
	latest atomic.Pointer[resourceapi.ResourceClaim]
	// specCurrent means that this process has written the CDI spec, or found it to be current.
	specCurrent bool
	// specLost is when the CDI spec was found to be missing. It is zero if it exists.
	specLost time.Time
	// nodeReplaced is the value of Driver.nodeReplaced that was last handled.
	nodeReplaced *time.Time
	// stop stops the watch.
	stop context.CancelFunc
	// deallocatedAt is when the claim was found to be deallocated. It is zero if it is allocated.
	deallocatedAt time.Time
	// retries are the delays after failures. failingSince is the time of the first failure since
	// the last success, and reported the time of the last event.
	retries                wait.Backoff
	failingSince, reported time.Time
}

// tokenState is the state of the token of one space.
type tokenState struct {
	// issued and expires are zero until the first renewal of a token that another process
	// requested.
	issued, expires time.Time
	// renew is when to request the next token, by the monotonic clock, which stops while the node
	// is suspended. renewWall is the same time by the wall clock, which can be set. The token is
	// due at the earlier of the two.
	renew, renewWall time.Time
	// err is why the last renewal failed, or nil.
	err error
	// spaceExpired means that the space has reached its maximum lifetime.
	spaceExpired bool
}

// get returns a claim, or nil.
func (t *trackedClaims) get(claim types.UID) *trackedClaim {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.claims[claim]
}

// list returns the UIDs of all claims.
func (t *trackedClaims) list() []types.UID {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return slices.Collect(maps.Keys(t.claims))
}

// update makes a change, and notifies the goroutines that wait for one.
func (t *trackedClaims) update(change func()) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	change()
	close(t.changed)
	t.changed = make(chan struct{})
}

// track starts to renew the tokens of a claim, and to watch it. It replaces the state of the claim. The
// caller has its lock. claim and tokens are nil for a claim that another process has prepared: its
// tokens are due when the watch has read the claim, or after firstRenewalDelay.
func (d *Driver) track(ctx context.Context, prepared preparedClaim, claim *resourceapi.ResourceClaim, tokens []token.Token) *trackedClaim {
	prepared.Spaces = slices.Clone(prepared.Spaces)
	c := &trackedClaim{prepared: prepared, tokens: make([]tokenState, len(prepared.Spaces)), retries: newRetries()}
	if tokens != nil {
		c.specCurrent = true
		d.schedule(c, tokens, make([]error, len(tokens)))
	} else {
		for i := range c.tokens {
			d.setRenewal(&c.tokens[i], d.Clock.Now().Add(firstRenewalDelay))
		}
	}
	ctx, c.stop = context.WithCancel(klog.NewContext(d.ctx, klog.FromContext(ctx)))
	d.untrack(prepared.UID)
	d.tracked.update(func() { d.tracked.claims[prepared.UID] = c })
	// watchClaim logs the errors of the API server. untrack stops the watch.
	go func() {
		_ = d.watchClaim(ctx, prepared.claimName(), claim, maxRereadDelay, func(latest *resourceapi.ResourceClaim) (bool, error) {
			c.latest.Store(latest)
			d.queue.Add(prepared.UID)
			return false, nil
		})
	}()
	return c
}

// untrack stops the renewal for a claim. The caller has its lock.
func (d *Driver) untrack(claim types.UID) {
	if c := d.tracked.get(claim); c != nil {
		c.stop()
		d.replacements.DeleteEntry(string(claim))
		d.tracked.update(func() { delete(d.tracked.claims, claim) })
	}
}

// stopRenewal stops the renewal for a deallocated claim. The plugin continues to watch the claim until it is
// removed or prepared again.
func (d *Driver) stopRenewal(c *trackedClaim) {
	d.tracked.update(func() {
		c.deallocatedAt, c.tokens, c.retries = d.Clock.Now(), make([]tokenState, len(c.tokens)), newRetries()
	})
	d.queue.AddAfter(c.prepared.UID, unprepareTimeout)
}

// expire marks those tokens of a claim that were issued until a time as expired and due for renewal.
func (d *Driver) expire(c *trackedClaim, until time.Time) {
	now := d.Clock.Now()
	d.tracked.update(func() {
		for i := range c.tokens {
			t := &c.tokens[i]
			if t.issued.After(until) {
				continue
			}
			if t.expires.After(now) {
				t.expires = now
			}
			t.renew = now
		}
	})
}

// handleNodeReplacement renews the tokens of all claims: they are bound to the UID of a Node that was deleted or
// recreated. Until then, the health of the spaces is that of expired tokens.
func (d *Driver) handleNodeReplacement(ctx context.Context, uid types.UID) {
	klog.FromContext(ctx).Info("The Node was deleted or replaced: its tokens are not valid, renewing all", "nodeUID", uid)
	d.nodeReplaced.Store(ptr.To(d.Clock.Now()))
	for _, claim := range d.tracked.list() {
		d.queue.Add(claim)
	}
}

// reference returns a reference to the claim for events.
func (prepared preparedClaim) reference() *resourceapi.ResourceClaim {
	return &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: prepared.Namespace, Name: prepared.Name, UID: prepared.UID}}
}

// allocationIn returns the prepared allocation in a version of the claim, or nil if the claim does not
// have it.
func (prepared preparedClaim) allocationIn(claim *resourceapi.ResourceClaim, driver string) *allocation.Allocation {
	if a := allocation.FromClaim(claim, driver); a != nil && a.ID == prepared.AllocationID {
		return a
	}
	return nil
}

// applyLatest handles the latest version of a claim that the watch has received. It stops the renewal if the
// claim is deallocated, and makes a token due if its ServiceAccount was recreated. Tenants can delete
// the ServiceAccount repeatedly. After each such renewal, the next one is therefore delayed, by a time
// that doubles from firstRetry to lastRetry and is reset after twice lastRetry without one.
func (d *Driver) applyLatest(ctx context.Context, c *trackedClaim) {
	claim := c.latest.Load()
	if claim == nil {
		return
	}
	a := c.prepared.allocationIn(claim, d.Driver)
	switch {
	case a == nil && c.deallocatedAt.IsZero():
		// The controller revokes the tokens. The files remain until the kubelet has stopped the
		// pods.
		klog.FromContext(ctx).Info("Claim deallocated while prepared: its token is no longer renewed")
		d.stopRenewal(c)
		return
	case a == nil:
		return
	case !c.deallocatedAt.IsZero(): // It exists again, for example after etcd was restored from a backup.
		d.tracked.update(func() { c.deallocatedAt = time.Time{} })
	}
	now, id, delayNext := d.Clock.Now(), string(c.prepared.UID), false
	waits := d.replacements.IsInBackOffSinceUpdate(id, now)
	for i, result := range a.Results {
		// Data that cannot be read, such as those of a newer controller, are ignored until the
		// next version of the claim.
		ready, data, err := claimstatus.Read(claim, d.Driver, a, result)
		if err != nil || ready == nil || i >= len(c.tokens) {
			continue
		}
		space, t := &c.prepared.Spaces[i], &c.tokens[i]
		imported := t.expires.IsZero() && t.err == nil
		replaced := data != nil && space.ServiceAccountUID != data.ServiceAccountUID
		switch {
		case replaced && waits:
			d.queue.AddAfter(c.prepared.UID, d.replacements.Get(id))
		case data != nil && (replaced || t.spaceExpired || imported):
			delayNext = delayNext || replaced && !imported // An imported claim is renewed anyway.
			d.tracked.update(func() {
				space.ServiceAccountUID, t.spaceExpired, t.renew = data.ServiceAccountUID, false, now
			})
		case data == nil && ready.Reason == spaceapi.ReasonExpired && !t.spaceExpired:
			d.tracked.update(func() { t.spaceExpired = true })
			klog.FromContext(ctx).Info("Space expired while in use: its token is no longer renewed", logkeys.Request, result.Request)
		}
	}
	if delayNext {
		d.replacements.Next(id, now)
	}
}

// renew renews the tokens of a claim that are due. The caller has the claim's lock.
func (d *Driver) renew(ctx context.Context, c *trackedClaim) {
	if d.untilRenewal(c.tokens...) > 0 {
		return
	}
	logger := klog.FromContext(ctx)
	requestCtx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	tokens, errs := d.requestTokens(requestCtx, c.prepared.Spaces, func(i int) bool { return d.untilRenewal(c.tokens[i]) <= 0 })
	if ctx.Err() != nil {
		logger.V(2).Info("Token not renewed: it is no longer needed", "err", context.Cause(ctx))
		return
	}
	switch err := d.store.updateCredentials(c.prepared, tokens); {
	case errors.Is(err, fs.ErrNotExist): // The next resync recreates them, or releases the claim.
		return
	case err != nil:
		for i := range errs {
			if tokens[i].Reveal() != nil {
				errs[i] = err
			}
		}
	}
	d.tracked.update(func() { d.schedule(c, tokens, errs) })
	err := errors.Join(errs...)
	d.Metrics.Renewals.WithLabelValues(metrics.Result(err)).Inc()
	if err == nil {
		logger.V(2).Info("Tokens renewed")
		return
	}
	logger.Error(err, "Failed to renew a token, retrying", "in", d.untilRenewal(c.tokens...))
	d.reportFailure(c, err)
}

// requestTokensWhenAllowed requests tokens for a pod that has just been bound to the node. The API
// server forbids that until the controller has recorded the node, which usually takes milliseconds. It
// therefore retries until ctx is done.
func (d *Driver) requestTokensWhenAllowed(ctx context.Context, spaces []preparedSpace) (tokens []token.Token, err error) {
	backoff := wait.Backoff{Duration: firstTokenDelay, Cap: rereadDelay, Factor: 2, Jitter: 0.5, Steps: backoffSteps}
	// The error of Until is that of ctx. The function is called at least once.
	_ = backoff.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		var errs []error
		tokens, errs = d.requestTokens(ctx, spaces, func(int) bool { return true })
		if err = errors.Join(errs...); !apierrors.IsForbidden(err) {
			return true, nil
		}
		klog.FromContext(ctx).V(2).Info("Token request rejected, retrying", "err", err)
		return false, nil
	})
	return tokens, err
}

// requestTokens requests tokens for those of a claim's spaces that are due. It does so in parallel, so
// that a request without a response does not delay the others. The tokens and the errors have the
// indexes of the spaces.
func (d *Driver) requestTokens(ctx context.Context, spaces []preparedSpace, due func(i int) bool) ([]token.Token, []error) {
	tokens, errs := make([]token.Token, len(spaces)), make([]error, len(spaces))
	var all sync.WaitGroup
	for i, space := range spaces {
		if !due(i) {
			continue
		}
		all.Go(func() {
			account := token.Account{Namespace: space.Namespace, Name: space.ServiceAccount, UID: space.ServiceAccountUID}
			tokens[i], errs[i] = d.TokenRequester.Request(ctx, account, space.TokenLifetime.Duration)
		})
	}
	all.Wait()
	return tokens, errs
}

// schedule sets when the tokens that were requested are due again. The delay for a token that could not
// be renewed is shorter if it expires soon, so that it is renewed even if an outage ends shortly before
// that.
func (d *Driver) schedule(c *trackedClaim, tokens []token.Token, errs []error) {
	now, jitter := d.Clock.Now(), d.jitter()
	delay := lastRetry
	if errors.Join(errs...) != nil {
		delay = c.retries.Step()
	}
	for i := range c.tokens {
		t := &c.tokens[i]
		switch remaining := t.expires.Sub(now); {
		case errs[i] != nil && remaining > 0:
			t.err = errs[i]
			d.setRenewal(t, now.Add(min(delay, max(firstRetry, remaining/4))))
		case errs[i] != nil:
			t.err = errs[i]
			d.setRenewal(t, now.Add(delay))
		case tokens[i].Reveal() != nil:
			t.err, t.issued, t.expires = nil, tokens[i].Issued, tokens[i].Expires
			d.setRenewal(t, token.RenewTime(tokens[i], jitter))
		}
	}
	if !slices.ContainsFunc(c.tokens, func(t tokenState) bool { return t.err != nil && !t.spaceExpired }) {
		c.retries, c.failingSince, c.reported = newRetries(), time.Time{}, time.Time{}
	}
}

// newRetries returns the delays after failures.
func newRetries() wait.Backoff {
	return wait.Backoff{Duration: firstRetry, Cap: lastRetry, Factor: 2, Steps: backoffSteps}
}

// setRenewal sets when a token is due.
func (d *Driver) setRenewal(t *tokenState, at time.Time) {
	t.renew, t.renewWall = at, d.wall().Add(at.Sub(d.Clock.Now()))
}

// untilRenewal returns the time until the first of the tokens is due, at most lastRetry. It is not
// positive if one is due. Tokens of expired spaces are never due.
func (d *Driver) untilRenewal(tokens ...tokenState) time.Duration {
	until, now, wall := lastRetry, d.Clock.Now(), d.wall()
	for _, t := range tokens {
		if !t.spaceExpired {
			until = min(until, t.renew.Sub(now), t.renewWall.Sub(wall))
		}
	}
	return until
}

// reportFailure records an event about a claim if renewals of its tokens have failed for eventAfter.
func (d *Driver) reportFailure(c *trackedClaim, err error) {
	now := d.Clock.Now()
	if c.failingSince.IsZero() {
		c.failingSince = now
	}
	if now.Sub(c.failingSince) < eventAfter || !c.reported.IsZero() && now.Sub(c.reported) < eventInterval {
		return
	}
	c.reported = now
	d.Events.Eventf(c.prepared.reference(), corev1.EventTypeWarning, spaceapi.ReasonTokenRenewalFailed,
		"Node %s has not been able to renew the tokens of this claim for %s: %v", d.Node, now.Sub(c.failingSince).Round(time.Second), err)
}

// tokenMetrics returns the values of the metrics about tokens.
func (d *Driver) tokenMetrics() metrics.Tokens {
	d.tracked.mutex.Lock()
	defer d.tracked.mutex.Unlock()
	var out metrics.Tokens
	for _, c := range d.tracked.claims {
		if !c.deallocatedAt.IsZero() {
			continue
		}
		out.Claims++
		for _, t := range c.tokens {
			if t.spaceExpired || t.expires.IsZero() {
				continue
			}
			if remaining := t.expires.Sub(d.Clock.Now()); !out.Known || remaining < out.Remaining {
				out.Known, out.Remaining = true, remaining
			}
		}
	}
	return out
}
