// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversionscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/client-go/util/flowcontrol"
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
	// changeInterval and changeBurst limit how often a claim is read because it has changed. Its
	// author can change it again and again.
	changeInterval = 30 * time.Second
	changeBurst    = 10
	// backoffSteps is how often a delay can double. Each delay reaches its maximum in fewer steps.
	backoffSteps = 100
)

// watchClaim calls handle with a claim whenever it has changed. It begins with the given version or, if
// that is nil, with the one that it reads. For a claim that does not exist, it calls handle with an empty
// one.
// It returns when handle or ctx is done, with the last error of the API
// server or of handle, or nil. It continues when the API server is unavailable for some time. It
// needs permission to get and to watch, and no permission to list, which client-go's informers
// need.
func (d *Driver) watchClaim(ctx context.Context, name types.NamespacedName, claim *resourceapi.ResourceClaim, maxDelay time.Duration, handle func(*resourceapi.ResourceClaim) (done bool, err error)) (last error) {
	logger := klog.FromContext(ctx).V(2)
	backoff := wait.Backoff{Duration: rereadDelay, Cap: maxDelay, Factor: 2, Jitter: 0.5, Steps: backoffSteps}
	changes := flowcontrol.NewTokenBucketRateLimiter(float32(time.Second)/float32(changeInterval), changeBurst)
	reread := false
	// The error of Until is that of ctx.
	_ = backoff.DelayWithReset(d.Clock, rereadReset).Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		for {
			if claim == nil || reread {
				claim, last = d.claims.get(ctx, name)
			}
			reread = true
			var done bool
			switch {
			case client.IsNotFound(last):
				done, last = handle(&resourceapi.ResourceClaim{})
				return done, nil
			case last == nil:
				done, last = handle(claim)
			}
			if last != nil {
				logger.Info("Cannot read the claim", "err", last)
				return false, nil //nolint:nilerr // Until tries again
			}
			if done {
				return true, nil
			}
			err := d.awaitChange(ctx, name, claim.ResourceVersion)
			if errors.Is(err, watchtools.ErrWatchClosed) || wait.Interrupted(err) {
				return false, nil
			}
			if err != nil {
				last = err
				logger.Info("Cannot watch the claim", "err", last)
				return false, nil //nolint:nilerr // Until tries again
			}
			if changes.Wait(ctx) != nil {
				return false, nil //nolint:nilerr // Until tries again
			}
		}
	})
	return last
}

// awaitChange waits until there is a newer version of a claim.
func (d *Driver) awaitChange(ctx context.Context, name types.NamespacedName, version string) error {
	w, err := d.WatchClaim(ctx, name, version)
	if err != nil {
		return err
	}
	_, err = watchtools.UntilWithoutRetry(ctx, w, func(event watch.Event) (bool, error) {
		if event.Type == watch.Error { // such as a version that the server no longer has
			return false, apierrors.FromObject(event.Object)
		}
		return true, nil
	})
	return err
}

// ClaimWatcher watches a claim for changes after a resourceVersion. Callers ignore the objects of the
// events.
type ClaimWatcher func(ctx context.Context, name types.NamespacedName, version string) (watch.Interface, error)

// newClaimWatcher returns a ClaimWatcher whose events contain a row of a Table instead of the claim.
// A watch keeps a buffer as large as its largest event, and large claims may all change at the
// same time.
func newClaimWatcher(config *rest.Config) (ClaimWatcher, error) {
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = "/apis", &resourceapi.SchemeGroupVersion
	config.NegotiatedSerializer = metainternalversionscheme.Codecs.WithoutConversion()
	config.AcceptContentTypes = "application/json;as=Table;v=v1;g=meta.k8s.io"
	tables, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, name types.NamespacedName, version string) (watch.Interface, error) {
		return tables.Get().Namespace(name.Namespace).Resource("resourceclaims").VersionedParams(&metav1.ListOptions{
			Watch:           true,
			FieldSelector:   fields.OneTermEqualSelector(metav1.ObjectNameField, name.Name).String(),
			ResourceVersion: version,
		}, scheme.ParameterCodec).Param("includeObject", string(metav1.IncludeNone)).Watch(ctx)
	}, nil
}
