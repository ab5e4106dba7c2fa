// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// sight is what of a cluster is in sight, as it is now.
type sight struct {
	nodes, pods, claims, slices cache.Store
	// changed has something in it after something changed.
	changed chan struct{}
}

// newSight follows what is in the cluster until the context ends.
func newSight(ctx context.Context, client kubernetes.Interface) (*sight, error) {
	s := &sight{changed: make(chan struct{}, 1)}
	factory := informers.NewSharedInformerFactory(client, 0)
	for _, one := range []struct {
		informer cache.SharedIndexInformer
		store    *cache.Store
	}{
		{factory.Core().V1().Nodes().Informer(), &s.nodes},
		{factory.Core().V1().Pods().Informer(), &s.pods},
		{factory.Resource().V1().ResourceClaims().Informer(), &s.claims},
		{factory.Resource().V1().ResourceSlices().Informer(), &s.slices},
	} {
		*one.store = one.informer.GetStore()
		if _, err := one.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { s.notice() },
			UpdateFunc: func(any, any) { s.notice() },
			DeleteFunc: func(any) { s.notice() },
		}); err != nil {
			return nil, fmt.Errorf("follow the cluster: %w", err)
		}
	}
	factory.StartWithContext(ctx)
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return nil, fmt.Errorf("follow the cluster: %v was not read: %w", kind, context.Cause(ctx))
		}
	}
	return s, nil
}

func (s *sight) notice() {
	select {
	case s.changed <- struct{}{}:
	default: // It was not looked at since the last change.
	}
}

// await waits until nothing is wrong any more.
func (s *sight) await(ctx context.Context, wrong func() string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("it took too long"))
	defer cancel()
	for {
		what := wrong()
		if what == "" {
			return nil
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
	}
}

// pod is a pod by its key, or one without anything.
func (s *sight) pod(key string) *corev1.Pod {
	if object, exists, err := s.pods.GetByKey(key); err == nil && exists {
		return object.(*corev1.Pod)
	}
	return &corev1.Pod{}
}

// claim is a claim by its key, or one without anything.
func (s *sight) claim(key string) *resourceapi.ResourceClaim {
	if object, exists, err := s.claims.GetByKey(key); err == nil && exists {
		return object.(*resourceapi.ResourceClaim)
	}
	return &resourceapi.ResourceClaim{}
}
