// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/client"
)

const (
	// rereadDelay is how long to wait before a claim is read again after a watch ended
	// or a read failed. It does not grow while a pod waits for the claim.
	rereadDelay = time.Second
	// maxRereadDelay is the longest delay for a claim that is prepared.
	maxRereadDelay = 30 * time.Second
	// rereadReset is the time without a read after which the delay is rereadDelay again. API
	// servers end watches less often.
	rereadReset = 10 * time.Minute
	// backoffSteps is how often a delay can grow: more often than it takes to its maximum.
	backoffSteps = 100
)

// watchClaim calls handle with each version of a claim, beginning with the newest known
// one, or with the one that it reads if that is nil. A claim that does not exist is empty.
// It returns when handle is done or when the context ends, with the last error of the API
// server, or nil. It continues when the API server is unavailable for some time. It needs
// permission to get and to watch, and no permission to list, which client-go's informers
// need.
func (d *Driver) watchClaim(ctx context.Context, name types.NamespacedName, claim *resourceapi.ResourceClaim, maxDelay time.Duration, handle func(*resourceapi.ResourceClaim) (done bool)) (last error) {
	logger := klog.FromContext(ctx).V(2)
	claims := d.Client.ResourceV1().ResourceClaims(name.Namespace)
	backoff := wait.Backoff{Duration: rereadDelay, Cap: maxDelay, Factor: 2, Jitter: 0.5, Steps: backoffSteps}
	reread := false
	// The error of Until is that of ctx.
	_ = backoff.DelayWithReset(d.Clock, rereadReset).Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		if claim == nil || reread {
			claim, last = claims.Get(ctx, name.Name, metav1.GetOptions{})
		}
		reread = true
		switch {
		case client.IsNotFound(last):
			return handle(&resourceapi.ResourceClaim{}), nil
		case last != nil:
			logger.Info("Cannot read the claim", "err", last)
			return false, nil //nolint:nilerr // it is read again
		case handle(claim):
			return true, nil
		}
		w, err := claims.Watch(ctx, metav1.ListOptions{
			FieldSelector:   fields.OneTermEqualSelector(metav1.ObjectNameField, name.Name).String(),
			ResourceVersion: claim.ResourceVersion,
		})
		if err == nil {
			_, err = watchtools.UntilWithoutRetry(ctx, w, func(event watch.Event) (bool, error) {
				next, ok := event.Object.(*resourceapi.ResourceClaim)
				switch {
				case !ok: // an error, such as a version that the server no longer has
					return false, apierrors.FromObject(event.Object)
				case event.Type == watch.Deleted:
					next = &resourceapi.ResourceClaim{}
				}
				return handle(next), nil
			})
		}
		if err == nil || errors.Is(err, watchtools.ErrWatchClosed) || wait.Interrupted(err) {
			return err == nil, nil
		}
		last = err
		logger.Info("Cannot watch the claim", "err", last)
		return false, nil
	})
	return last
}
