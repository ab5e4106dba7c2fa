// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

const (
	// maxRenewals is how many claims have their tokens renewed at the same time.
	maxRenewals = 4
	// requestTimeout is how long the API server may take for a claim's tokens. One that
	// does not answer must not delay other claims for long.
	requestTimeout = 30 * time.Second
	// firstRenewalDelay is how long the renewal of imported tokens waits for the claim
	// to be read, which may show another ServiceAccount, or none.
	firstRenewalDelay = 30 * time.Second
	// A renewal that failed is repeated after the first delay, then after ever longer
	// ones.
	firstRetry = time.Second
	lastRetry  = time.Minute
	// wallInterval is how often the wall clock is compared.
	wallInterval = time.Minute
	// eventAfter is how long renewing a claim's tokens fails before its users get an
	// event. An API server that restarts is back by then, and the shortest-lived tokens
	// still have two minutes. eventInterval is how often they get it again.
	eventAfter    = time.Minute
	eventInterval = 10 * time.Minute
)

// tokenManager renews the tokens of prepared claims before they expire, and immediately
// when a ServiceAccount was recreated. It has two goroutines for each claim: one watches the
// claim, one renews its tokens.
type tokenManager struct {
	driver *Driver
	jitter func() float64
	// wall is the node's time of day, which can be set.
	wall func() time.Time
	// renewals has an element for each renewal in progress.
	renewals chan struct{}

	mutex sync.Mutex
	// ctx ends all renewals. It is set before the first claim is added.
	ctx context.Context
	// claims are those that were added and not removed.
	claims map[types.UID]*managedClaim
	// updated is closed when the health of a space may have changed.
	updated chan struct{}
	running sync.WaitGroup
}

// managedClaim is one prepared claim. The manager's mutex guards what changes.
type managedClaim struct {
	// prepared is the claim as it is. Only the UIDs of ServiceAccounts change.
	prepared preparedClaim
	// tokens are those of the spaces.
	tokens []tokenState
	// renew is when to renew all tokens, by the monotonic clock and by the wall clock.
	renew, renewWall time.Time
	// retry is when to request again the tokens that failed. Zero: none failed.
	retry time.Time
	// ended is when the claim was found to be deallocated, or its credentials removed.
	// Zero: it has not ended.
	ended time.Time
	// failures is how often renewals have failed since the last success, failingSince is
	// the time of the first, and reported is that of the last event.
	failures               int
	failingSince, reported time.Time

	// renewNow has an element when all tokens are to be renewed whatever their times are.
	renewNow chan struct{}
	stop     context.CancelFunc
}

// tokenState is what is known of the token of one space.
type tokenState struct {
	// expires is zero until the first renewal after a restart.
	expires time.Time
	// err is why the last renewal failed, or nil.
	err error
	// spaceExpired means that the space has reached its maximum lifetime.
	spaceExpired bool
}

func newTokenManager(d *Driver) *tokenManager {
	return &tokenManager{
		driver:   d,
		jitter:   rand.Float64,
		wall:     func() time.Time { return d.Clock.Now().Round(0) },
		renewals: make(chan struct{}, maxRenewals),
		claims:   map[types.UID]*managedClaim{},
		updated:  make(chan struct{}),
	}
}

// wait returns when the context has ended and no renewal is in progress.
func (m *tokenManager) wait() {
	m.mutex.Lock()   // until a claim that is just being added has its goroutines
	m.mutex.Unlock() //nolint:staticcheck // see above
	m.running.Wait()
}

// add manages a claim that Prepare has read and whose tokens are new. It replaces what
// was known of the claim.
func (m *tokenManager) add(p preparedClaim, claim *resourceapi.ResourceClaim, tokens []tokenResult) {
	c := newManagedClaim(p)
	for i, t := range tokens {
		c.tokens[i].expires = t.token.Expires
	}
	m.setRenew(c, m.renewTime(tokens))
	m.addClaim(c, claim)
}

// importClaim manages a claim that another process has prepared. Its tokens are renewed
// when the claim was read, and after a delay if it can't be read.
func (m *tokenManager) importClaim(p preparedClaim) {
	c := newManagedClaim(p)
	m.setRenew(c, m.driver.Clock.Now().Add(firstRenewalDelay))
	m.addClaim(c, nil)
}

func newManagedClaim(p preparedClaim) *managedClaim {
	p.Spaces = slices.Clone(p.Spaces)
	return &managedClaim{prepared: p, tokens: make([]tokenState, len(p.Spaces)), renewNow: make(chan struct{}, 1), stop: func() {}}
}

func (m *tokenManager) addClaim(c *managedClaim, claim *resourceapi.ResourceClaim) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if old := m.claims[c.prepared.UID]; old != nil {
		old.stop()
	}
	m.claims[c.prepared.UID] = c
	if m.ctx.Err() == nil {
		m.start(c, claim)
	}
	m.notify()
}

// start starts the goroutines of a claim. The caller has the mutex.
func (m *tokenManager) start(c *managedClaim, claim *resourceapi.ResourceClaim) {
	ctx, _ := withClaim(m.ctx, types.NamespacedName{Namespace: c.prepared.Namespace, Name: c.prepared.Name}, c.prepared.UID)
	ctx, c.stop = context.WithCancel(ctx)
	m.running.Go(func() { m.watch(ctx, c, claim) })
	m.running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-c.renewNow:
				m.renew(ctx, c, true)
			case <-m.driver.Clock.After(m.untilDue(c)):
				m.renew(ctx, c, false)
			}
		}
	})
}

// remove stops the renewal for a claim, and removes it.
func (m *tokenManager) remove(claim types.UID) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if c := m.claims[claim]; c != nil {
		c.stop()
		delete(m.claims, claim)
		m.notify()
	}
}

// end stops the renewal for a claim. The claim stays known until it is removed.
func (m *tokenManager) end(c *managedClaim) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	c.stop()
	c.ended = m.driver.Clock.Now()
	m.notify()
}

// list returns all claims that were added and not removed.
func (m *tokenManager) list() []types.UID {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return slices.Collect(maps.Keys(m.claims))
}

// knows reports whether this allocation of a claim was added and not removed.
func (m *tokenManager) knows(p preparedClaim) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	c := m.claims[p.UID]
	return c != nil && c.prepared.AllocationID == p.AllocationID
}

// endedBefore reports whether a claim ended before a time.
func (m *tokenManager) endedBefore(claim types.UID, before time.Time) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	c := m.claims[claim]
	return c != nil && !c.ended.IsZero() && !c.ended.After(before)
}

// get returns a claim whose tokens are renewed as it is now, or nil.
func (m *tokenManager) get(claim types.UID) *preparedClaim {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	c := m.claims[claim]
	if c == nil || !c.ended.IsZero() {
		return nil
	}
	p := c.prepared
	p.Spaces = slices.Clone(p.Spaces)
	return &p
}

// watch watches a claim until it ends. claim is its newest known version, or nil.
func (m *tokenManager) watch(ctx context.Context, c *managedClaim, claim *resourceapi.ResourceClaim) {
	imported := claim == nil
	err := m.driver.watchClaim(ctx, c.prepared.Namespace, c.prepared.Name, c.prepared.UID, claim, maxRereadDelay, func(claim *resourceapi.ResourceClaim) (bool, error) {
		recreated, err := m.handleClaim(ctx, c, claim)
		if err == nil && (recreated || imported) {
			imported = false
			select {
			case c.renewNow <- struct{}{}:
			default: // a renewal of all tokens is about to begin
			}
		}
		return false, err
	})
	if errors.Is(err, errDeallocated) {
		// The tokens are revoked, or will be in a moment. The files stay until the
		// kubelet has stopped the pods.
		klog.FromContext(ctx).Info("Claim deallocated while prepared: its token is no longer renewed")
		m.end(c)
	}
}

// handleClaim updates the state of a claim's tokens, and reports whether a ServiceAccount
// was recreated.
func (m *tokenManager) handleClaim(ctx context.Context, c *managedClaim, claim *resourceapi.ResourceClaim) (recreated bool, err error) {
	a := allocation.FromClaim(claim, m.driver.Driver)
	if a == nil || a.ID != c.prepared.AllocationID {
		return false, errDeallocated
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for i, result := range a.Results {
		// What can't be read, such as data of a newer controller, says nothing about
		// the token; a later version of the claim may.
		ready, data, err := claimstatus.Read(claim, m.driver.Driver, a, result)
		if err != nil || ready == nil || i >= len(c.tokens) {
			continue
		}
		space, t := &c.prepared.Spaces[i], &c.tokens[i]
		switch {
		case data != nil && (space.ServiceAccountUID != data.ServiceAccountUID || t.spaceExpired):
			space.ServiceAccountUID, t.spaceExpired, recreated = data.ServiceAccountUID, false, true
			m.notify()
		case data == nil && ready.Reason == spaceapi.ReasonExpired && !t.spaceExpired:
			t.spaceExpired = true
			m.notify()
			klog.FromContext(ctx).Info("Space expired while in use: its token is no longer renewed", logkeys.Request, result.Request)
		}
	}
	return recreated, nil
}

// untilDue returns the time until a claim's tokens have to be looked at again.
func (m *tokenManager) untilDue(c *managedClaim) time.Duration {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	now, wait := m.driver.Clock.Now(), wallInterval
	if slices.ContainsFunc(c.tokens, func(t tokenState) bool { return !t.spaceExpired }) {
		wait = min(wait, c.renew.Sub(now))
	}
	if !c.retry.IsZero() {
		wait = min(wait, c.retry.Sub(now))
	}
	return wait
}

// due returns the spaces of a claim whose tokens are due, and their indexes: all, or those
// that failed if only their retry is due.
func (m *tokenManager) due(c *managedClaim, all bool) (indexes []int, spaces []preparedSpace) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	now := m.driver.Clock.Now()
	all = all || !now.Before(c.renew) || !m.wall().Before(c.renewWall)
	if !all && (c.retry.IsZero() || now.Before(c.retry)) {
		return nil, nil
	}
	if all {
		c.renew = time.Time{}
	}
	c.retry = time.Time{}
	for i, t := range c.tokens {
		if !t.spaceExpired && (all || t.err != nil) {
			indexes = append(indexes, i)
			spaces = append(spaces, c.prepared.Spaces[i])
		}
	}
	return indexes, spaces
}

// renew renews the tokens of a claim that are due, or all of them.
func (m *tokenManager) renew(ctx context.Context, c *managedClaim, all bool) {
	select {
	case <-ctx.Done():
		return
	case m.renewals <- struct{}{}:
		defer func() { <-m.renewals }()
	}
	indexes, spaces := m.due(c, all)
	if len(indexes) == 0 {
		return
	}
	requestCtx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	tokens := m.driver.requestTokens(requestCtx, spaces)
	m.writeTokens(ctx, c, spaces, tokens)
	logger := klog.FromContext(ctx)
	err := m.finish(c, indexes, tokens)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		logger.Info("Credentials were removed: tokens are not renewed until the claim is prepared again")
		m.end(c)
	case err == nil:
		logger.V(2).Info("Tokens renewed")
		m.driver.Metrics.Renewals.WithLabelValues(metrics.Succeeded).Inc()
	case ctx.Err() != nil, errors.Is(err, errInterrupted):
		logger.V(2).Info("Token not renewed: it is no longer needed", "err", err)
	default:
		logger.Error(err, "Token not renewed, trying again", "in", m.untilDue(c))
		m.driver.Metrics.Renewals.WithLabelValues(metrics.Failed).Inc()
		m.report(c, err)
	}
}

// writeTokens writes the tokens that were granted, and updates the metadata with the
// ServiceAccounts that they are for: otherwise a restart would begin with a renewal that
// fails.
func (m *tokenManager) writeTokens(ctx context.Context, c *managedClaim, spaces []preparedSpace, tokens []tokenResult) {
	// Prepare and Unprepare may be in progress.
	locked, unlock, err := m.driver.locks.lock(ctx, c.prepared.UID)
	if err == nil {
		defer unlock()
		err = context.Cause(locked) // they may have stopped or replaced the claim
	}
	written := false
	for i := range tokens {
		t := &tokens[i]
		if t.err == nil {
			t.err = err
		}
		if t.err == nil {
			t.err = m.driver.store.writeToken(c.prepared.UID, spaces[i].Subdir, t.token)
			written = written || t.err == nil
		}
	}
	p := m.get(c.prepared.UID)
	if !written || p == nil {
		return
	}
	if stored, err := m.driver.store.get(p.UID); err == nil && slices.Equal(stored.Spaces, p.Spaces) {
		return
	}
	if err := m.driver.store.update(*p); err != nil {
		// The tokens are there. The next renewal repeats this.
		klog.FromContext(ctx).Error(err, "Cannot update the metadata of a claim")
	}
}

// finish sets when tokens are due again: the new ones together, by the first of them, and
// those that could not be renewed after a delay. It returns the errors of the latter.
func (m *tokenManager) finish(c *managedClaim, indexes []int, tokens []tokenResult) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	now, delay := m.driver.Clock.Now(), lastRetry
	var errs []error
	for i, result := range tokens {
		t := &c.tokens[indexes[i]]
		t.err = result.err
		switch {
		case t.err == nil:
			t.expires = result.token.Expires
		case !t.spaceExpired: // else it is no longer needed
			errs = append(errs, t.err)
			delay = min(delay, retryDelay(c.failures, t.expires.Sub(now)))
		}
	}
	if len(errs) > 0 {
		c.failures++
		c.retry = now.Add(delay)
	} else {
		c.failures, c.failingSince, c.reported = 0, time.Time{}, time.Time{}
	}
	switch renew := m.renewTime(tokens); {
	case c.renew.IsZero():
		m.setRenew(c, cmp.Or(renew, c.retry))
	case !renew.IsZero() && renew.Before(c.renew): // than that of the tokens that were not requested
		m.setRenew(c, renew)
	}
	m.notify()
	return errors.Join(errs...)
}

// retryDelay returns when to repeat a renewal after a number of failures: the sooner the
// token expires, the shorter the delay, so that an outage which ends just before that does
// not cost it.
func retryDelay(failures int, left time.Duration) time.Duration {
	delay := min(firstRetry<<min(failures, 10), lastRetry)
	if left > 0 {
		delay = min(delay, max(firstRetry, left/4))
	}
	return delay
}

// renewTime returns when the first of the tokens that were granted is to be renewed, or
// zero.
func (m *tokenManager) renewTime(tokens []tokenResult) time.Time {
	var first time.Time
	jitter := m.jitter()
	for _, t := range tokens {
		if at := token.RenewTime(t.token, jitter); t.err == nil && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

func (m *tokenManager) setRenew(c *managedClaim, at time.Time) {
	c.renew, c.renewWall = at, m.wall().Add(at.Sub(m.driver.Clock.Now()))
}

// report records an event about a claim whose tokens can't be renewed for some time.
func (m *tokenManager) report(c *managedClaim, err error) {
	now := m.driver.Clock.Now()
	if c.failingSince.IsZero() {
		c.failingSince = now
	}
	if now.Sub(c.failingSince) < eventAfter || !c.reported.IsZero() && now.Sub(c.reported) < eventInterval {
		return
	}
	c.reported = now
	claim := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: c.prepared.Namespace, Name: c.prepared.Name, UID: c.prepared.UID}}
	m.driver.Events.Eventf(claim, corev1.EventTypeWarning, spaceapi.ReasonTokenRenewalFailed,
		"Node %s has not been able to renew the tokens of this claim for %s: %v", m.driver.Node, now.Sub(c.failingSince).Round(time.Second), err)
}

// summary returns what metrics say of the tokens.
func (m *tokenManager) summary() metrics.Tokens {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	var out metrics.Tokens
	for _, c := range m.claims {
		if !c.ended.IsZero() {
			continue
		}
		out.Claims++
		for _, t := range c.tokens {
			if t.spaceExpired || t.expires.IsZero() {
				continue
			}
			if left := t.expires.Sub(m.driver.Clock.Now()); !out.Known || left < out.Left {
				out.Known, out.Left = true, left
			}
		}
	}
	return out
}

// subscribe returns a channel that is closed at the next change.
func (m *tokenManager) subscribe() <-chan struct{} {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.updated
}

// notify informs subscribers of a change. The caller has the mutex.
func (m *tokenManager) notify() {
	close(m.updated)
	m.updated = make(chan struct{})
}
