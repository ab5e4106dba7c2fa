// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
)

// apiServer answers each request by what is set: a code, or 0 for no answer.
type apiServer struct {
	t     *testing.T
	clock *clocktesting.FakeClock
	reads *Reads
	ask   http.RoundTripper
	code  int
}

var errRefused = errors.New("connection refused")

// RoundTrip implements http.RoundTripper.
func (s *apiServer) RoundTrip(*http.Request) (*http.Response, error) {
	if s.code == 0 {
		return nil, errRefused
	}
	recorder := httptest.NewRecorder()
	recorder.WriteHeader(s.code)
	return recorder.Result(), nil
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{t: t, clock: clocktesting.NewFakeClock(time.Now()), code: http.StatusOK}
	config := &rest.Config{Host: "http://api.example.com", Transport: s}
	s.reads = WatchOver(config, s.clock)
	var err error
	if s.ask, err = rest.TransportFor(config); err != nil {
		t.Fatal(err)
	}
	return s
}

// get asks for something and goes on by a time.
func (s *apiServer) get(path string, code int, later time.Duration) {
	s.t.Helper()
	s.code = code
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://api.example.com"+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp, err := s.ask.RoundTrip(r); err == nil {
		_ = resp.Body.Close()
	}
	s.clock.Step(later)
}

func (s *apiServer) want(parts ...string) {
	s.t.Helper()
	err := s.reads.Stale(time.Minute)
	if len(parts) == 0 {
		if err != nil {
			s.t.Errorf("stale: %v", err)
		}
		return
	}
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			s.t.Errorf("got error %v, want one with %q", err, part)
		}
	}
}

const (
	claims   = "/apis/resource.k8s.io/v1/resourceclaims"
	accounts = "/api/v1/serviceaccounts?fieldSelector=metadata.name%3Dspace"
)

func TestWhatIsWatchedIsNotStaleHoweverLongNothingHappens(t *testing.T) {
	s := newAPIServer(t)
	s.want()
	s.get(claims+"?limit=500", http.StatusOK, 0)
	s.get(claims+"?watch=true", http.StatusOK, 10*time.Minute)
	s.want()
}

func TestWhatIsReadInVainIsStaleAfterAWhileUntilItSucceeds(t *testing.T) {
	s := newAPIServer(t)
	s.get(accounts, http.StatusOK, time.Hour)
	s.get(accounts+"&watch=true", 0, 40*time.Second)
	s.want()
	s.get(accounts+"&watch=true", http.StatusServiceUnavailable, 40*time.Second)
	s.want("serviceaccounts with metadata.name=space for 1m20s", "503")
	// Another one's success says nothing about it.
	s.get(claims, http.StatusOK, 0)
	s.get(strings.ReplaceAll(accounts, "space", "other"), http.StatusOK, 0)
	s.want("serviceaccounts with metadata.name=space")
	s.get(accounts, 0, time.Second)
	s.want("connection refused")
	s.get(accounts, http.StatusOK, time.Hour)
	s.want()
}

func TestAVersionThatIsNoLongerKnownIsNoTroubleWhenAllIsReadAnew(t *testing.T) {
	s := newAPIServer(t)
	s.get(claims+"?watch=true", http.StatusGone, time.Second)
	s.get(claims, http.StatusOK, time.Hour)
	s.want()
}

func TestARequestWithoutAnyAnswerIsStaleToo(t *testing.T) {
	s := newAPIServer(t)
	s.reads.asks("pods")
	s.clock.Step(2 * time.Minute)
	s.want("pods for 2m0s: there is no answer")
}
