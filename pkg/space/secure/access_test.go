// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package secure

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
)

// door is a handler whose API server knows the tokens good and bad, of which the
// first may read metrics.
type door struct {
	t       *testing.T
	now     *clocktesting.FakeClock
	handler http.Handler
	api     *fake.Clientset
	asked   []authorizationv1.SubjectAccessReviewSpec
	// broken is that the API server is away; allowed, that good may read.
	broken, allowed atomic.Bool
}

func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{t: t, now: clocktesting.NewFakeClock(time.Now()), api: fake.NewClientset()}
	d.allowed.Store(true)
	d.api.PrependReactor("create", "tokenreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		if d.broken.Load() {
			return true, nil, fmt.Errorf("cannot decode the answer to %s", review.Spec.Token)
		}
		if token := review.Spec.Token; token == "good" || token == "bad" {
			review.Status.Authenticated = true
			review.Status.User = authenticationv1.UserInfo{Username: token + "-user", UID: "7", Groups: []string{"all"}, Extra: map[string]authenticationv1.ExtraValue{"pod": {"a"}}}
		} else {
			review.Status.Error = "no such token: " + token
		}
		return true, review, nil
	})
	d.api.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		if d.broken.Load() {
			return true, nil, errors.New("the API server is away")
		}
		d.asked = append(d.asked, review.Spec)
		review.Status.Allowed = review.Spec.User == "good-user" && d.allowed.Load()
		return true, review, nil
	})
	d.handler = Handler(d.api, d.now, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the token goes further than it has to")
		}
		_, _ = fmt.Fprint(w, "some_metric 1")
	}))
	return d
}

// want asks for a path with a header, and is answered so.
func (d *door) want(path, authorization string, code int) *httptest.ResponseRecorder {
	d.t.Helper()
	r := httptest.NewRequestWithContext(d.t.Context(), http.MethodGet, path, nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	recorder := httptest.NewRecorder()
	d.handler.ServeHTTP(recorder, r)
	if recorder.Code != code {
		d.t.Errorf("%s with %q: got %d, want %d: %s", path, authorization, recorder.Code, code, recorder.Body)
	}
	if said := strings.Contains(recorder.Body.String(), "some_metric"); said != (code == http.StatusOK) {
		d.t.Errorf("%s with %q: %d and %q", path, authorization, code, recorder.Body)
	}
	return recorder
}

// calls is how often the API server was asked.
func (d *door) calls() int { return len(d.api.Actions()) }

func TestWhoHasNoTokenIsNotAskedAbout(t *testing.T) {
	d := newDoor(t)
	for _, header := range []string{"", "Bearer", "Bearer ", "Basic Z29vZDpnb29k", "good"} {
		if got := d.want("/metrics", header, http.StatusUnauthorized).Header().Get("WWW-Authenticate"); got != "Bearer" {
			t.Errorf("the client is told to come with %q", got)
		}
	}
	if d.calls() > 0 {
		t.Errorf("the API server was asked: %v", d.api.Actions())
	}
}

func TestOnlyWhoMayGetTheURLReadsMetrics(t *testing.T) {
	d := newDoor(t)
	d.want("/metrics", "Bearer unknown", http.StatusUnauthorized)
	d.want("/metrics", "Bearer bad", http.StatusForbidden)
	d.want("/metrics", "bearer good", http.StatusOK)
	d.want("/healthz", "Bearer good", http.StatusNotFound)
	last := d.asked[len(d.asked)-1]
	if last.NonResourceAttributes == nil || *last.NonResourceAttributes != (authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"}) {
		t.Errorf("asked about %+v", last)
	}
	// An authorizer may go by all of it.
	if last.User != "good-user" || last.UID != "7" || !slices.Equal(last.Groups, []string{"all"}) || last.Extra["pod"][0] != "a" {
		t.Errorf("asked about %+v", last)
	}
}

func TestAnAnswerHoldsForAWhileAndNoLonger(t *testing.T) {
	d := newDoor(t)
	for range 3 {
		d.want("/metrics", "Bearer good", http.StatusOK)
		d.want("/metrics", "Bearer unknown", http.StatusUnauthorized)
	}
	if got := d.calls(); got != 3 {
		t.Errorf("the API server was asked %d times, want twice about the one and once about the other", got)
	}
	d.allowed.Store(false)
	d.now.Step(allowedFor + time.Second)
	d.want("/metrics", "Bearer good", http.StatusForbidden)
	d.allowed.Store(true)
	d.now.Step(refusedFor + time.Second)
	d.want("/metrics", "Bearer good", http.StatusOK)
}

func TestNobodyReadsMetricsWhenTheAPIServerDoesNotAnswer(t *testing.T) {
	d := newDoor(t)
	d.broken.Store(true)
	d.want("/metrics", "Bearer good", http.StatusServiceUnavailable)
	// Nothing is remembered of that.
	d.broken.Store(false)
	d.want("/metrics", "Bearer good", http.StatusOK)
}

func TestWhatIsSaidToAClientHasNoTokenInIt(t *testing.T) {
	d := newDoor(t)
	for _, broken := range []bool{false, true} {
		d.broken.Store(broken)
		code := http.StatusUnauthorized
		if broken {
			code = http.StatusServiceUnavailable
		}
		token := fmt.Sprintf("secret-%t", broken)
		if body := d.want("/metrics", "Bearer "+token, code).Body.String(); strings.Contains(body, token) {
			t.Errorf("the answer has the token: %s", body)
		}
	}
}
