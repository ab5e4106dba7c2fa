// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// writes are the requests by which events reach the API server.
type writes chan *corev1.Event

func (w writes) Create(e *corev1.Event) (*corev1.Event, error)          { w <- e; return e, nil }
func (w writes) Update(e *corev1.Event) (*corev1.Event, error)          { w <- e; return e, nil }
func (w writes) Patch(e *corev1.Event, _ []byte) (*corev1.Event, error) { w <- e; return e, nil }

// flood makes a controller with the recorder that it has in earnest.
func flood(t *testing.T, c *cluster) writes {
	t.Helper()
	sink := make(writes, 1000)
	events := record.NewBroadcaster(record.WithContext(t.Context()))
	t.Cleanup(events.Shutdown)
	events.StartRecordingToSink(sink)
	c.Events = events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component})
	return sink
}

// until returns what was written before the events about the last object, by object
// and then by name of the event.
func (w writes) until(t *testing.T, last types.UID) (count map[types.UID]int, events map[types.UID]map[string]bool) {
	t.Helper()
	count, events = map[types.UID]int{}, map[types.UID]map[string]bool{}
	for {
		select {
		case e := <-w:
			uid := e.InvolvedObject.UID
			if uid == last {
				return count, events
			}
			count[uid]++
			if events[uid] == nil {
				events[uid] = map[string]bool{}
			}
			events[uid][e.Name] = true
		case <-t.Context().Done():
			t.Fatal("the events were not written")
		}
	}
}

func TestAClaimThatFailsAHundredTimesLeavesFewEventsAndFewRequests(t *testing.T) {
	claim := claimOf("a")
	c := newController(t, claim)
	sink := flood(t, c)
	for i := range 100 {
		c.Events.Event(reference(claim), corev1.EventTypeWarning, spaceapi.ReasonProvisioningFailed, fmt.Sprintf("attempt %d failed", i))
	}
	c.Events.Event(reference(claim), corev1.EventTypeNormal, spaceapi.ReasonDeleted, "its own kind has its own limit")
	end := claimOf("a")
	end.UID = "end"
	c.Events.Event(reference(end), corev1.EventTypeWarning, spaceapi.ReasonProvisioningFailed, "end")
	count, events := sink.until(t, end.UID)
	if requests := count[claim.UID]; requests < 2 || requests > 50 {
		t.Errorf("101 events took %d requests, want at most 50", requests)
	}
	if n := len(events[claim.UID]); n < 2 || n > 20 {
		t.Errorf("101 events left %d objects, want at most 20", n)
	}
}

func TestManyClaimsThatFailAtOnceEachHaveTheirEvent(t *testing.T) {
	c := newController(t)
	sink := flood(t, c)
	for i := range 200 {
		claim := claimOf("a")
		claim.UID = types.UID(fmt.Sprint("claim-", i))
		c.Events.Event(reference(claim), corev1.EventTypeWarning, spaceapi.ReasonProvisioningFailed, "the API server does not answer")
	}
	end := claimOf("a")
	end.UID = "end"
	c.Events.Event(reference(end), corev1.EventTypeWarning, spaceapi.ReasonProvisioningFailed, "end")
	if count, _ := sink.until(t, end.UID); len(count) != 200 {
		t.Errorf("%d of 200 claims have an event", len(count))
	}
}
