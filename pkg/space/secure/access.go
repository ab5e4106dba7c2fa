// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package secure

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// allowedFor and refusedFor are for how long an answer of the API server holds. A
	// right that is taken away lasts as long as the first.
	allowedFor = time.Minute
	refusedFor = 10 * time.Second
	// maxKnown is how many tokens are remembered.
	maxKnown = 1000
	// maxReviews is how many tokens the API server is asked about at the same time: whoever
	// reaches the port can make some up.
	maxReviews = 4
	// reviewTimeout is how long that may take.
	reviewTimeout = 10 * time.Second
)

// access asks the API server who may read.
type access struct {
	client kubernetes.Interface
	// known are verdicts by the token's hash, so that tokens are nowhere in memory for
	// longer than it takes.
	known   *cache.LRUExpireCache
	reviews chan struct{}
}

// verdict is what is said to somebody.
type verdict struct {
	code int
	// text says why not.
	text string
}

func newAccess(client kubernetes.Interface, clock clock.PassiveClock) *access {
	return &access{client: client, known: cache.NewLRUExpireCacheWithClock(maxKnown, clock), reviews: make(chan struct{}, maxReviews)}
}

// guard lets only those through who may.
func (a *access) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := a.judge(r.Context(), bearer(r))
		switch v.code {
		case http.StatusOK:
			r.Header.Del("Authorization")
			next.ServeHTTP(w, r)
			return
		case http.StatusUnauthorized:
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		http.Error(w, v.text, v.code)
	})
}

// bearer returns the request's token, or nothing.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// judge says what becomes of somebody with a token.
func (a *access) judge(ctx context.Context, token string) verdict {
	if token == "" {
		return verdict{http.StatusUnauthorized, "a bearer token is needed"}
	}
	key := sha256.Sum256([]byte(token))
	if v, ok := a.known.Get(key); ok {
		return v.(verdict)
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	v, err := a.review(ctx, token)
	if err != nil {
		// What the API server could not decode it may quote.
		text := strings.ReplaceAll(err.Error(), token, "[token]")
		klog.FromContext(ctx).Error(errors.New(text), "Cannot tell who may read metrics")
		return verdict{http.StatusServiceUnavailable, "the API server does not say who may read metrics"}
	}
	life := refusedFor
	if v.code == http.StatusOK {
		life = allowedFor
	}
	a.known.Add(key, v, life)
	return v
}

// review asks the API server.
func (a *access) review(ctx context.Context, token string) (verdict, error) {
	select {
	case a.reviews <- struct{}{}:
		defer func() { <-a.reviews }()
	case <-ctx.Done():
		return verdict{}, fmt.Errorf("wait for the reviews of other tokens: %w", ctx.Err())
	}
	// client-go logs the bodies of requests at high verbosity. Not this one.
	silent := klog.NewContext(ctx, logr.Discard())
	who, err := a.client.AuthenticationV1().TokenReviews().Create(silent,
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return verdict{}, fmt.Errorf("ask whose token it is: %w", err)
	}
	// An error there is about the token: the API server could look at it.
	if !who.Status.Authenticated {
		return verdict{http.StatusUnauthorized, "the API server does not know the token"}, nil
	}
	user := who.Status.User
	extra := map[string]authorizationv1.ExtraValue{}
	for key, values := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	may, err := a.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: "get"},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return verdict{}, fmt.Errorf("ask what %s may do: %w", user.Username, err)
	}
	if !may.Status.Allowed {
		klog.FromContext(ctx).V(2).Info("Metrics refused", "user", user.Username)
		return verdict{http.StatusForbidden, fmt.Sprintf("%s may not get the URL %s", user.Username, path)}, nil
	}
	return verdict{code: http.StatusOK}, nil
}
