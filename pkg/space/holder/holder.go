// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package holder keeps a space for a program that does not run in a pod. A holder is a Job whose pod
// uses the claim, and which owns it. The program extends the Job's deadline for as long as it needs
// the space. When it stops doing so, for whatever reason, Kubernetes ends the Job and deletes the
// pod and the claim. All requests are made with the permissions of a user in one namespace.
package holder

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
	batchv1 "k8s.io/api/batch/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceclient "github.com/space-dra/space-dra-driver/pkg/space/client"
)

const (
	// Grace is how long a space exists after the last heartbeat.
	Grace = 30 * time.Second
	// interval is the time between heartbeats. Two of them can fail.
	interval = 10 * time.Second
	// requestTimeout limits requests that a signal does not interrupt.
	requestTimeout = 10 * time.Second
	// tokenPeriod is how long a token is used until it is read again. The kubelet plugin renews tokens
	// long before they expire.
	tokenPeriod = time.Minute
)

// Holder keeps a space.
type Holder struct {
	Options
	config *rest.Config
	api    kubernetes.Interface
	clock  clock.PassiveClock

	job   *batchv1.Job
	claim *resourceapi.ResourceClaim
	// begin is before the creation of the Job.
	begin time.Time
	// stop stops the heartbeat, stopped is closed then, and ended when the Job no longer exists.
	stop           context.CancelFunc
	stopped, ended chan struct{}

	// Wait sets these.
	pod      string
	space    *spaceapi.SpaceStatus
	waitsFor atomic.Pointer[string]
}

// Start creates a holder and its claim, and begins to extend the deadline of the holder. If it fails,
// it deletes the holder. ctx does not interrupt the creation, after which the caller could not know
// what exists; nor does it end the holder, which Close does.
func Start(ctx context.Context, config *rest.Config, options Options) (*Holder, error) {
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return start(ctx, &Holder{Options: options, config: config, api: api, clock: clock.RealClock{}})
}

func start(ctx context.Context, h *Holder) (*Holder, error) {
	ctx = context.WithoutCancel(ctx)
	request, cancel := context.WithTimeout(ctx, Grace)
	defer cancel()
	claims := h.api.ResourceV1().ResourceClaims(h.Namespace)
	// The pod of the Job would use a claim that exists.
	switch _, err := claims.Get(request, h.Name, metav1.GetOptions{}); {
	case err == nil:
		return nil, apierrors.NewAlreadyExists(resourceapi.Resource("resourceclaims"), h.Name)
	case !spaceclient.IsNotFound(err):
		return nil, err
	}
	var err error
	h.begin = h.clock.Now()
	if h.job, err = h.api.BatchV1().Jobs(h.Namespace).Create(request, h.newJob(Grace), metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	h.stopped, h.ended = make(chan struct{}), make(chan struct{})
	beat, stop := context.WithCancel(ctx)
	h.stop = stop
	go h.heartbeat(beat)
	if h.claim, err = claims.Create(request, h.newClaim(h.job), metav1.CreateOptions{}); err != nil {
		_ = h.Close(ctx) // If that fails, it ends by itself.
		return nil, err
	}
	return h, nil
}

// heartbeat extends the deadline of the Job until ctx is done or the Job no longer exists.
func (h *Holder) heartbeat(ctx context.Context) {
	defer close(h.stopped)
	_ = wait.PollUntilContextCancel(ctx, interval, false, func(ctx context.Context) (bool, error) {
		err := h.extend(ctx, Grace)
		if gone := spaceclient.IsNotFound(err) || apierrors.IsConflict(err); !gone {
			return false, nil
		}
		close(h.ended)
		return true, nil
	})
}

// extend sets the deadline of the Job to a duration from now. The deadline counts from the start of the
// Job, which is later than begin by the time until its controller sees it: only the clock of this
// machine matters.
func (h *Holder) extend(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := h.api.BatchV1().Jobs(h.Namespace).Patch(ctx, h.Name, types.MergePatchType, deadlinePatch(h.job.UID, h.elapsed()+d), metav1.PatchOptions{})
	return err
}

// elapsed returns the time since the creation of the Job. The monotonic clock stops while a laptop
// sleeps, and the other one can be set back.
func (h *Holder) elapsed() time.Duration {
	now := h.clock.Now()
	return max(now.Sub(h.begin), now.Round(0).Sub(h.begin.Round(0)))
}

// Ended is closed when the holder no longer exists, for example because its node was drained.
func (h *Holder) Ended() <-chan struct{} { return h.ended }

// Keep lets the holder exist for a duration from now, without heartbeats.
func (h *Holder) Keep(ctx context.Context, d time.Duration) error {
	h.stopHeartbeat()
	if err := h.extend(ctx, d); err != nil {
		return fmt.Errorf("extend the deadline of Job %s: %w", h.Name, err)
	}
	return nil
}

// stopHeartbeat waits until no heartbeat is in progress.
func (h *Holder) stopHeartbeat() {
	h.stop()
	<-h.stopped
}

// Close deletes the holder. Kubernetes then deletes its pod and its claim. If that fails, the holder
// ends by itself.
func (h *Holder) Close(ctx context.Context) error {
	h.stopHeartbeat()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return Delete(ctx, h.api, h.job)
}

// Delete deletes the Job of a holder.
func Delete(ctx context.Context, api kubernetes.Interface, job *batchv1.Job) error {
	return spaceclient.IgnoreNotFound(api.BatchV1().Jobs(job.Namespace).Delete(ctx, job.Name, metav1.DeleteOptions{
		PropagationPolicy: ptr.To(metav1.DeletePropagationBackground), Preconditions: metav1.NewUIDPreconditions(string(job.UID)),
	}))
}

// SpaceNamespace returns the namespace of the space, after Wait.
func (h *Holder) SpaceNamespace() string { return h.space.Namespace }

// Config returns a configuration for clients that work in the space, after Wait. The API server and how
// to connect to it are those of the user. The credentials are those of the space, and are renewed.
func (h *Holder) Config() *rest.Config {
	config := rest.AnonymousClientConfig(h.config)
	config.Wrap(transport.ResettableTokenSourceWrapTransport(transport.NewCachedTokenSource(h)))
	return config
}

// Token implements oauth2.TokenSource.
func (h *Holder) Token() (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	token, err := PrintToken(ctx, h.config, h.Namespace, h.pod, Container, TokenCommand(h.claim.UID))
	if err != nil {
		return nil, fmt.Errorf("read the token of the space in pod %s/%s: %w", h.Namespace, h.pod, err)
	}
	return &oauth2.Token{AccessToken: strings.TrimSpace(string(token)), Expiry: h.clock.Now().Add(tokenPeriod)}, nil
}
