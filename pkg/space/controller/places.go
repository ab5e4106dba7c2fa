// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/space-dra/space-dra-driver/pkg/space/identity"
)

// places remembers where the pods are that use claims: a pod stays where it was bound.
type places struct {
	mutex  sync.Mutex
	claims map[types.NamespacedName]place
}

type place struct {
	// nodes are those that no note has yet: what one says need not be in memory twice.
	nodes map[types.UID]string
	// unbound are the pods that were not bound at the last look, and delay is how
	// long was waited before that.
	unbound []types.UID
	delay   time.Duration
	// written are the namespaces whose note was written, by name, until the cache
	// has it: pods can come and go faster than it follows.
	written map[string]*corev1.Namespace
	// late are the namespaces, by name, whose note lacks the names of pods, and when
	// it is to be written for that alone.
	late map[string]time.Time
	// begun is the allocation that was last said to be dealt with.
	begun string
}

func newPlaces() *places { return &places{claims: map[types.NamespacedName]place{}} }

// of returns what is known of a claim's pods.
func (p *places) of(claim types.NamespacedName) map[types.UID]string {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	out := map[types.UID]string{}
	maps.Copy(out, p.claims[claim].nodes)
	return out
}

// waitsFor says whether these pods, and no others, were found not to be bound.
func (p *places) waitsFor(claim types.NamespacedName, unbound []resourceapi.ResourceClaimConsumerReference) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return len(unbound) > 0 && slices.Equal(p.claims[claim].unbound, uids(unbound))
}

// again returns when to look again for pods that are not bound.
func (p *places) again(claim types.NamespacedName, unbound []resourceapi.ResourceClaimConsumerReference) time.Duration {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	last := p.claims[claim]
	delay := firstLookAgain
	if slices.Equal(last.unbound, uids(unbound)) {
		delay = min(2*last.delay, lastLookAgain)
	}
	last.delay = delay
	p.claims[claim] = last
	return delay
}

// set remembers what a look found beyond what the cache has on the claim's namespaces.
func (p *places) set(claim types.NamespacedName, nodes, noted map[types.UID]string, unbound []resourceapi.ResourceClaimConsumerReference) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	last := p.claims[claim]
	last.nodes, last.unbound = nil, uids(unbound)
	for pod, node := range nodes {
		if noted[pod] == node && node != "" {
			continue
		}
		if last.nodes == nil {
			last.nodes = map[types.UID]string{}
		}
		last.nodes[pod] = node
	}
	p.claims[claim] = last
}

// wrote remembers a namespace as it was after its note was written.
func (p *places) wrote(claim types.NamespacedName, ns *corev1.Namespace) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	last := p.claims[claim]
	if last.written == nil {
		last.written = map[string]*corev1.Namespace{}
	}
	// Of all that an API server answers, only this matters.
	last.written[ns.Name] = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: ns.Name, UID: ns.UID, ResourceVersion: ns.ResourceVersion, Annotations: ns.Annotations,
	}}
	delete(last.late, ns.Name)
	p.claims[claim] = last
}

// latest returns a namespace from the cache or, if that lags behind, as it was
// after its note was written.
func (p *places) latest(claim types.NamespacedName, cached *corev1.Namespace) *corev1.Namespace {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	written := p.claims[claim].written
	if ns := written[cached.Name]; ns != nil && ns.UID == cached.UID {
		if order, err := resourceversion.CompareResourceVersion(cached.ResourceVersion, ns.ResourceVersion); err == nil && order < 0 {
			return ns
		}
	}
	if delete(written, cached.Name); written != nil && len(written) == 0 {
		last := p.claims[claim]
		last.written = nil
		p.claims[claim] = last
	}
	return cached
}

// due says how long the note on a namespace may stay as it is that only lacks the
// names of pods.
func (p *places) due(claim types.NamespacedName, namespace string, now time.Time) time.Duration {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	last := p.claims[claim]
	if last.late == nil {
		last.late = map[string]time.Time{}
		p.claims[claim] = last
	}
	at, known := last.late[namespace]
	if !known {
		at = now.Add(namesDelay)
		last.late[namespace] = at
	}
	return at.Sub(now)
}

// upToDate is for a namespace whose note lacks nothing, or nothing any more.
func (p *places) upToDate(claim types.NamespacedName, namespace string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	last := p.claims[claim]
	if delete(last.late, namespace); last.late != nil && len(last.late) == 0 {
		last.late = nil
		p.claims[claim] = last
	}
}

// begin says whether this is the first that is heard of an allocation.
func (p *places) begin(a *identity.Allocation) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	last := p.claims[a.Claim]
	if last.begun == a.ID {
		return false
	}
	last.begun = a.ID
	p.claims[a.Claim] = last
	return true
}

// forget is for a claim without an allocation.
func (p *places) forget(claim types.NamespacedName) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	delete(p.claims, claim)
}
