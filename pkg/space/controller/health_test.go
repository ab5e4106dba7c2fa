// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/space-dra/space-dra-driver/pkg/space/client"
)

// wantHealth fails the test unless a path answers so, and says so.
func (v *vitals) wantHealth(t *testing.T, path string, code int, words ...string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	(&Options{}).health(v).Handler().ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	for _, word := range words {
		if !strings.Contains(recorder.Body.String(), word) {
			t.Errorf("%s says %q, without %q", path, recorder.Body, word)
		}
	}
	if recorder.Code != code {
		t.Errorf("%s says %d, want %d: %s", path, recorder.Code, code, recorder.Body)
	}
}

type answers struct{ code atomic.Int64 }

// RoundTrip implements http.RoundTripper.
func (a *answers) RoundTrip(*http.Request) (*http.Response, error) {
	if a.code.Load() == 0 {
		return nil, errors.New("connection refused")
	}
	recorder := httptest.NewRecorder()
	recorder.WriteHeader(int(a.code.Load()))
	return recorder.Result(), nil
}

func TestTheControllerIsReadyWhileItsCachesAreWhatTheClusterHas(t *testing.T) {
	now := clocktesting.NewFakeClock(time.Now())
	server := &answers{}
	config := &rest.Config{Host: "http://api.example.com", Transport: server}
	v := &vitals{clock: now, reads: client.WatchOver(config, now), unreadyAfter: time.Minute, tasks: newTasks(now)}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	read := func(code int, later time.Duration) {
		server.code.Store(int64(code))
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://api.example.com/api/v1/namespaces?watch=true", nil)
		if resp, err := transport.RoundTrip(r); err == nil {
			_ = resp.Body.Close()
		}
		now.Step(later)
	}
	v.wantHealth(t, "/readyz", http.StatusServiceUnavailable, "the cluster's state is not read yet")
	read(http.StatusForbidden, time.Second)
	v.wantHealth(t, "/readyz", http.StatusServiceUnavailable, "namespaces", "403")
	read(http.StatusOK, time.Second)
	v.synced.Store(true)
	v.wantHealth(t, "/readyz", http.StatusOK)
	now.Step(time.Hour)
	v.wantHealth(t, "/readyz", http.StatusOK)

	read(0, time.Minute)
	v.wantHealth(t, "/readyz", http.StatusOK)
	read(0, time.Second)
	v.wantHealth(t, "/readyz", http.StatusServiceUnavailable, "namespaces for 1m1s: connection refused")
	now.Step(time.Hour)
	v.wantHealth(t, "/healthz", http.StatusOK)
	read(http.StatusOK, 0)
	v.wantHealth(t, "/readyz", http.StatusOK)
}

func TestTheControllerIsLiveUnlessAWorkerNeverEnds(t *testing.T) {
	c := newController(t)
	v := &vitals{clock: c.now, tasks: c.tasks}
	began, end := make(chan struct{}), make(chan struct{})
	c.api.PrependReactor("get", "resourceclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
		close(began)
		<-end
		return true, nil, errors.New("too late")
	})
	claim := claimOf("a")
	c.cached(c.namespaceOf(claim)) // to be ended, which it asks about first
	c.queue.Add(types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name})
	done := make(chan struct{})
	go func() {
		c.next(t.Context())
		close(done)
	}()
	<-began
	c.now.Step(stuckTaskAfter)
	v.wantHealth(t, "/healthz", http.StatusOK)
	c.now.Step(time.Second)
	v.wantHealth(t, "/healthz", http.StatusServiceUnavailable, "a worker has been at ResourceClaim", claim.Name)
	close(end)
	<-done
	v.wantHealth(t, "/healthz", http.StatusOK)
}

func TestWhatAWorkerIsAtEndsThoughTheAPIServerSwallowsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tasks := newTasks(clock.RealClock{})
		ctx, done := tasks.begin(t.Context(), "something")
		defer done()
		<-ctx.Done()
		if err := tasks.stuck(); err != nil {
			t.Errorf("it is stuck before it had the time to end: %v", err)
		}
	})
}

// newLeaseAPI is an API server for Leases. By itself, the fake one does so much for each
// change of an object that hours of leader election would take minutes.
func newLeaseAPI() *fake.Clientset {
	api := fake.NewClientset()
	api.PrependReactor("*", "leases", clienttesting.ObjectReaction(clienttesting.NewObjectTracker(scheme.Scheme, scheme.Codecs.UniversalDecoder())))
	return api
}

// lead takes part in a leader election, as Run does.
func lead(ctx context.Context, api *fake.Clientset, work func(context.Context) error) (*vitals, <-chan error) {
	o := &Options{
		LeaderElect: true, LeaseNamespace: "driver", LeaseName: "lease",
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
	}
	v := &vitals{clock: clock.RealClock{}, tasks: newTasks(clock.RealClock{})}
	v.election.clock = v.clock
	ended := make(chan error, 1)
	go func() { ended <- o.lead(ctx, api, &v.election, work) }()
	return v, ended
}

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func TestLeadersAndStandbysAreLiveHoweverLongItLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		api := newLeaseAPI()
		var all []<-chan error
		for range 2 {
			v, ended := lead(ctx, api, untilDone)
			all = append(all, ended)
			for range 10 {
				<-time.After(time.Minute)
				v.wantHealth(t, "/healthz", http.StatusOK)
			}
		}
		cancel()
		for _, ended := range all {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAStandbyThatCantReachTheAPIServerIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		api := newLeaseAPI()
		api.PrependReactor("*", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("connection refused")
		})
		v, ended := lead(ctx, api, untilDone)
		<-time.After(time.Hour)
		v.wantHealth(t, "/healthz", http.StatusOK)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestALeaderWhoseWorkDoesNotEndWithItsLeaseIsNotLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newLeaseAPI()
		var lost atomic.Bool
		api.PrependReactor("*", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			return lost.Load(), nil, errors.New("connection refused")
		})
		hang := make(chan struct{})
		v, ended := lead(t.Context(), api, func(context.Context) error {
			<-hang
			return nil
		})
		<-time.After(time.Minute)
		v.wantHealth(t, "/healthz", http.StatusOK)
		lost.Store(true)
		// It is to end when it can no longer renew the lease. It had the time to.
		<-time.After(30 * time.Second)
		v.wantHealth(t, "/healthz", http.StatusOK)
		<-time.After(time.Minute)
		v.wantHealth(t, "/healthz", http.StatusServiceUnavailable, "the leader election has not looked at its Lease for")
		close(hang)
		if err := <-ended; !errors.Is(err, errLostLease) {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestAnElectionWithoutAnAnswerIsNoPulse(t *testing.T) {
	now := clocktesting.NewFakeClock(time.Now())
	p := &pulse{clock: now, silence: 35 * time.Second, Interface: silentLock{}}
	if err := p.stopped(); err != nil {
		t.Errorf("before it began: %v", err)
	}
	_, _, _ = p.Get(t.Context())
	now.Step(36 * time.Second)
	if err := p.stopped(); err == nil || !strings.Contains(err.Error(), "for 36s") {
		t.Errorf("got error %v", err)
	}
}

type silentLock struct{ resourcelock.Interface }

// Get implements resourcelock.Interface.
func (silentLock) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	return nil, nil, errors.New("no answer")
}
