// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

// Reads knows for how long the lists and watches have been in vain that caches are
// filled by. An informer does not tell: while the API server refuses connections it
// tries again and again, and calls no handler.
type Reads struct {
	clock clock.PassiveClock

	mutex sync.Mutex
	// vain has what was asked for without success since it last had one.
	vain map[string]vain
}

type vain struct {
	since time.Time
	// last is why, if there was an answer or the connection broke.
	last error
}

// WatchOver has the requests noted that clients of this configuration make from now
// on. They are to be those of informers, of which there are a few.
func WatchOver(config *rest.Config, clock clock.PassiveClock) *Reads {
	r := &Reads{clock: clock, vain: map[string]vain{}}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return reader{next: next, reads: r} })
	return r
}

// Stale says which of the caches have not been brought up to date for longer than
// this although somebody tried, or is nil. One that is watched is up to date, however
// long nothing happens.
func (r *Reads) Stale(after time.Duration) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var texts []string
	for what, v := range r.vain {
		if took := r.clock.Since(v.since); took > after {
			why := "there is no answer"
			if v.last != nil {
				why = v.last.Error()
			}
			texts = append(texts, fmt.Sprintf("%s for %s: %s", what, took.Round(time.Second), why))
		}
	}
	if len(texts) == 0 {
		return nil
	}
	slices.Sort(texts)
	return errors.New("read in vain " + strings.Join(texts, "; "))
}

// asks notes that something is asked for, from when on it may be in vain.
func (r *Reads) asks(what string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if _, already := r.vain[what]; !already {
		r.vain[what] = vain{since: r.clock.Now()}
	}
}

// got notes what came of it.
func (r *Reads) got(what string, err error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if err == nil {
		delete(r.vain, what)
	} else if v, asked := r.vain[what]; asked {
		v.last = err
		r.vain[what] = v
	}
}

type reader struct {
	next  http.RoundTripper
	reads *Reads
}

// RoundTrip implements http.RoundTripper. A watch is a success when it begins.
func (r reader) RoundTrip(req *http.Request) (*http.Response, error) {
	what := collection(req)
	r.reads.asks(what)
	resp, err := r.next.RoundTrip(req)
	switch {
	case err != nil:
		r.reads.got(what, err)
	case resp.StatusCode >= http.StatusMultipleChoices:
		r.reads.got(what, errors.New(resp.Status))
	default:
		r.reads.got(what, nil)
	}
	return resp, err
}

// WrappedRoundTripper lets client-go close idle connections.
func (r reader) WrappedRoundTripper() http.RoundTripper { return r.next }

// collection is the same for all lists and watches of an informer, and for no other.
func collection(r *http.Request) string {
	_, resource := request(r)
	for _, selector := range []string{"fieldSelector", "labelSelector"} {
		if value := r.URL.Query().Get(selector); value != "" {
			resource += " with " + value
		}
	}
	return resource
}
