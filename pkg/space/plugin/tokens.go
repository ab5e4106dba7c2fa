// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
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

// tokenManager renews the tokens of prepared claims before they expire, and at once when
// a ServiceAccount was recreated. It has two goroutines for each claim: one watches the
// claim, one renews its tokens.
type tokenManager struct {
	driver *Driver
	jitter func() float64
	// wall is the node's time of day, which can be set.
	wall func() time.Time
	// slots has an element for each renewal in progress.
	slots chan struct{}

	mutex sync.Mutex
	// ctx ends all renewals. It is set before the first claim is added.
	ctx    context.Context
	claims map[types.UID]*managedClaim
	// known are the allocation IDs of all claims that were added and not removed. A
	// claim that ended is known until the kubelet unprepares it.
	known map[types.UID]string
	// updated is closed when the health of a space may have changed.
	updated chan struct{}
	running sync.WaitGroup
}

// managedClaim is one prepared claim. The manager's mutex guards what changes.
type managedClaim struct {
	// prepared is the claim as it is. Only the UIDs of ServiceAccounts change.
	prepared preparedClaim
	// stored are the spaces as the store has them.
	stored []preparedSpace
	// tokens are those of the spaces.
	tokens []tokenState
	// renewNow means that the tokens are to be renewed whatever their times are.
	renewNow bool
	// wake has an element when renewNow has changed.
	wake chan struct{}
	stop context.CancelFunc

	// Only the goroutine that renews uses the rest. failures is how often it has failed
	// since the last success, failingSince is the time of the first, and reported is
	// that of the last event.
	failures               int
	failingSince, reported time.Time
}

// tokenState is what is known of the token of one space. Times that are not known are zero.
type tokenState struct {
	// renew is when to renew it, by the monotonic clock and by the wall clock.
	renew, renewWall time.Time
	expires          time.Time
	// err is why the last renewal failed, or nil.
	err error
	// spaceExpired means that the space has reached its maximum lifetime.
	spaceExpired bool
}

func newTokenManager(d *Driver) *tokenManager {
	return &tokenManager{
		driver:  d,
		jitter:  rand.Float64,
		wall:    func() time.Time { return d.Clock.Now().Round(0) },
		slots:   make(chan struct{}, maxRenewals),
		claims:  map[types.UID]*managedClaim{},
		known:   map[types.UID]string{},
		updated: make(chan struct{}),
	}
}

// wait returns when the context has ended and nothing is in progress any more.
func (m *tokenManager) wait(ctx context.Context) {
	<-ctx.Done()
	m.mutex.Lock()   // a claim that is just being added
	m.mutex.Unlock() //nolint:staticcheck // see above
	m.running.Wait()
}

// add manages a claim that Prepare has read and whose tokens are new. It replaces what
// was known of the claim.
func (m *tokenManager) add(p preparedClaim, claim *resourceapi.ResourceClaim, tokens []token.Token) {
	c := newManagedClaim(p)
	renew := m.renewTime(tokens)
	for i, t := range tokens {
		c.tokens[i].expires = t.Expires
		m.setRenew(&c.tokens[i], renew)
	}
	m.addClaim(c, claim)
}

// importClaim manages a claim that another process has prepared. Its tokens are renewed
// when the claim was read, and after a delay if it can't be read.
func (m *tokenManager) importClaim(p preparedClaim) {
	c := newManagedClaim(p)
	for i := range c.tokens {
		m.setRenew(&c.tokens[i], m.driver.Clock.Now().Add(firstRenewalDelay))
	}
	m.addClaim(c, nil)
}

func newManagedClaim(p preparedClaim) *managedClaim {
	stored := p.Spaces
	p.Spaces = slices.Clone(stored)
	return &managedClaim{prepared: p, stored: stored, tokens: make([]tokenState, len(stored)), wake: make(chan struct{}, 1), stop: func() {}}
}

func (m *tokenManager) addClaim(c *managedClaim, claim *resourceapi.ResourceClaim) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	uid := c.prepared.UID
	if old := m.claims[uid]; old != nil {
		old.stop()
	}
	m.claims[uid] = c
	m.known[uid] = c.prepared.AllocationID
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
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-c.wake:
			case <-m.driver.Clock.After(m.untilDue(c)):
			}
			m.renew(ctx, c)
		}
	})
}

// remove forgets a claim.
func (m *tokenManager) remove(claim types.UID) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if c := m.claims[claim]; c != nil {
		c.stop()
	}
	delete(m.claims, claim)
	delete(m.known, claim)
	m.notify()
}

// end stops renewing for a claim that ended, unless it was prepared again.
func (m *tokenManager) end(c *managedClaim) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	c.stop()
	if m.claims[c.prepared.UID] == c {
		delete(m.claims, c.prepared.UID)
		m.notify()
	}
}

// allocations returns the allocation IDs of all known claims.
func (m *tokenManager) allocations() map[types.UID]string {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return maps.Clone(m.known)
}

// manages reports whether this allocation of a claim is watched.
func (m *tokenManager) manages(claim types.UID, allocationID string) bool {
	p := m.get(claim)
	return p != nil && p.AllocationID == allocationID
}

// get returns a claim as it is now, or nil.
func (m *tokenManager) get(claim types.UID) *preparedClaim {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	c := m.claims[claim]
	if c == nil {
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
		replaced, err := m.handleClaim(ctx, c, claim)
		if err == nil && (replaced || imported) {
			imported = false
			m.mutex.Lock()
			c.renewNow = true
			m.mutex.Unlock()
			select {
			case c.wake <- struct{}{}:
			default: // it is awake already
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

// handleClaim takes from a claim what concerns its tokens, and reports whether a
// ServiceAccount was recreated. The caller renews then, all tokens at once.
func (m *tokenManager) handleClaim(ctx context.Context, c *managedClaim, claim *resourceapi.ResourceClaim) (replaced bool, err error) {
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
			space.ServiceAccountUID, t.spaceExpired, replaced = data.ServiceAccountUID, false, true
			m.notify()
		case data == nil && ready.Reason == spaceapi.ReasonExpired && !t.spaceExpired:
			t.spaceExpired = true
			m.notify()
			klog.FromContext(ctx).Info("Space expired while in use: its token is no longer renewed", logkeys.Request, result.Request)
		}
	}
	return replaced, nil
}

// untilDue returns the time until a claim's tokens have to be looked at again.
func (m *tokenManager) untilDue(c *managedClaim) time.Duration {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	wait := wallInterval
	for _, t := range c.tokens {
		if !t.spaceExpired {
			wait = min(wait, t.renew.Sub(m.driver.Clock.Now()))
		}
	}
	return wait
}

// tokenRenewal is one attempt to renew the token of a space. The result of one space does
// not concern the others.
type tokenRenewal struct {
	// index is that of the space in the claim.
	index int
	// space is as it was when the attempt started.
	space preparedSpace
	token token.Token
	err   error
}

// due returns the renewals that are due. It compares two clocks, and goes by the one
// that is ahead.
//
// The monotonic clock, by which times of the same process are compared, does not change
// when the node's time is set: tokens are renewed in time although that was put back. It
// stands still while a machine is suspended, but tokens live no longer for that; the wall
// clock shows it. If that was only set ahead, tokens are renewed once too early.
func (m *tokenManager) due(c *managedClaim) []*tokenRenewal {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	var due, failing []*tokenRenewal
	for i, t := range c.tokens {
		r := &tokenRenewal{index: i, space: c.prepared.Spaces[i]}
		switch {
		case t.spaceExpired:
		case c.renewNow || !m.driver.Clock.Now().Before(t.renew) || !m.wall().Before(t.renewWall):
			due = append(due, r)
		case t.err != nil:
			failing = append(failing, r)
		}
	}
	if c.renewNow {
		c.renewNow, c.failures = false, 0
	}
	if len(due) == 0 {
		return nil
	}
	// What fails is repeated with the others, so that an attempt without an error means
	// that nothing fails any more.
	return append(due, failing...)
}

// renew renews the tokens of a claim that are due.
func (m *tokenManager) renew(ctx context.Context, c *managedClaim) {
	select {
	case <-ctx.Done():
		return
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	}
	renewals := m.due(c)
	if len(renewals) == 0 {
		return
	}
	m.requestTokens(ctx, renewals)
	m.writeTokens(ctx, c, renewals)
	logger := klog.FromContext(ctx)
	err := m.finish(c, renewals)
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

// requestTokens requests all tokens at the same time: an answer that does not come must
// not take the time of the others.
func (m *tokenManager) requestTokens(ctx context.Context, renewals []*tokenRenewal) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, r := range renewals {
		all.Go(func() { r.token, r.err = m.driver.requestToken(ctx, r.space) })
	}
	all.Wait()
}

// writeTokens writes the tokens that were granted, and updates the metadata with the
// ServiceAccounts that they are for: otherwise a restart would begin with a renewal that
// fails.
func (m *tokenManager) writeTokens(ctx context.Context, c *managedClaim, renewals []*tokenRenewal) {
	granted := slices.DeleteFunc(slices.Clone(renewals), func(r *tokenRenewal) bool { return r.err != nil })
	if len(granted) == 0 {
		return
	}
	// Prepare and Unprepare may be in progress.
	locked, unlock, err := m.driver.locks.lock(ctx, c.prepared.UID)
	if err == nil {
		defer unlock()
		err = context.Cause(locked) // they may have stopped or replaced the claim
	}
	written := false
	for _, r := range granted {
		if r.err = err; err == nil {
			r.err = m.driver.store.writeToken(c.prepared.UID, r.space.Subdir, r.token)
			written = written || r.err == nil
		}
	}
	p := m.get(c.prepared.UID)
	if !written || p == nil || slices.Equal(p.Spaces, c.stored) {
		return
	}
	if err := m.driver.store.update(*p); err != nil {
		// The tokens are there. The next renewal repeats this.
		klog.FromContext(ctx).Error(err, "Cannot update the metadata of a claim")
		return
	}
	c.stored = p.Spaces
}

// finish sets when tokens are due again: the new ones together, by the first of them, and
// those that could not be renewed after a delay. It returns the errors of the latter.
func (m *tokenManager) finish(c *managedClaim, renewals []*tokenRenewal) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	var granted []token.Token
	var errs []error
	for _, r := range renewals {
		if r.err == nil {
			granted = append(granted, r.token)
		} else if !c.tokens[r.index].spaceExpired { // else it is no longer needed
			errs = append(errs, r.err)
		}
	}
	renew, now := m.renewTime(granted), m.driver.Clock.Now()
	delay := lastRetry
	for _, r := range renewals {
		t := &c.tokens[r.index]
		if t.err = r.err; r.err == nil {
			t.expires = r.token.Expires
			m.setRenew(t, renew)
			continue
		}
		delay = min(delay, retryDelay(c.failures, t.expires.Sub(now)))
	}
	for _, r := range renewals {
		if r.err != nil {
			m.setRenew(&c.tokens[r.index], now.Add(delay))
		}
	}
	if len(errs) > 0 {
		c.failures++
	} else {
		c.failures, c.failingSince, c.reported = 0, time.Time{}, time.Time{}
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

// renewTime returns when the first of the tokens is to be renewed.
func (m *tokenManager) renewTime(tokens []token.Token) time.Time {
	var first time.Time
	jitter := m.jitter()
	for _, t := range tokens {
		if at := token.RenewTime(t, jitter); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

func (m *tokenManager) setRenew(t *tokenState, at time.Time) {
	t.renew, t.renewWall = at, m.wall().Add(at.Sub(m.driver.Clock.Now()))
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
	out := metrics.Tokens{Claims: len(m.claims)}
	for _, c := range m.claims {
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
