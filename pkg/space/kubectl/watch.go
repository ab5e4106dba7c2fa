// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/kubectl/model"
)

const (
	// settle is how long changes are gathered before all is read again.
	settle = 500 * time.Millisecond
	// gone is the state that is shown last of a space that is no longer there.
	gone = "Gone"
)

// follow shows all spaces, and then those that change.
func (l *list) follow(ctx context.Context, r *reader, namespace string) error {
	shown := map[string]model.Space{}
	for first := true; ctx.Err() == nil; {
		// The watch begins before the reading, so that nothing between them is missed.
		changes, stop, err := r.watch(ctx, namespace)
		if err != nil {
			return err
		}
		for open := true; open; open = l.await(ctx, changes) {
			snapshot, spaces, err := l.read(ctx, r, namespace)
			if err != nil {
				stop()
				return err
			}
			if note := snapshot.Note(); note != "" && first && !l.toPrograms() {
				fmt.Fprintln(l.streams.ErrOut, note)
			}
			if news := changed(shown, spaces); len(news) > 0 {
				if err := l.show(snapshot, news, l.noHeaders || l.begun); err != nil {
					stop()
					return err
				}
				l.begun = true
			}
			first = false
		}
		stop()
	}
	return nil
}

// watch tells when something may have changed of the spaces of a namespace, or of all.
// Claims are what has to be readable, as for a list; the rest tells what it may. The
// channel is closed with the watch of claims.
func (r *reader) watch(ctx context.Context, namespace string) (<-chan struct{}, func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	claims, err := r.client.ResourceV1().ResourceClaims(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		cancel()
		return nil, nil, fmt.Errorf("watch ResourceClaims: %w", err)
	}
	changes := make(chan struct{}, 1)
	forward := func(w watch.Interface, matters func(runtime.Object) bool) {
		for event := range w.ResultChan() {
			if !matters(event.Object) {
				continue
			}
			select {
			case changes <- struct{}{}:
			default: // one is waiting to be seen
			}
		}
	}
	all := func(runtime.Object) bool { return true }
	ofSpaces := metav1.ListOptions{LabelSelector: spaceapi.KeysFor(r.driver).ClaimUID}
	var done sync.WaitGroup
	also := func(w watch.Interface, err error, matters func(runtime.Object) bool) {
		if err == nil {
			done.Go(func() { forward(w, matters) })
		}
	}
	namespaces, err := r.client.CoreV1().Namespaces().Watch(ctx, ofSpaces)
	also(namespaces, err, all)
	quotas, err := r.client.CoreV1().ResourceQuotas("").Watch(ctx, ofSpaces)
	also(quotas, err, all)
	pods, err := r.client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{})
	also(pods, err, func(o runtime.Object) bool {
		pod, ok := o.(*corev1.Pod)
		return ok && len(model.ClaimsOf(pod)) > 0
	})
	go func() {
		forward(claims, all)
		cancel()
		done.Wait()
		close(changes)
	}()
	return changes, cancel, nil
}

// await waits for a change and for those that come right after it. It says whether
// there can be more.
func (l *list) await(ctx context.Context, changes <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case _, open := <-changes:
		if !open {
			return false
		}
	}
	select {
	case <-ctx.Done():
		return false
	case <-l.clock.After(settle):
		return true
	}
}

// changed returns the spaces that are not as they were shown, and those that are no
// longer there, and notes them as shown.
func changed(shown map[string]model.Space, spaces []model.Space) []model.Space {
	var out []model.Space
	now, claims := map[string]bool{}, map[string]bool{}
	for _, space := range spaces {
		key := keyOf(space)
		now[key], claims[space.Metadata.UID] = true, true
		if last, known := shown[key]; !known || fmt.Sprint(last) != fmt.Sprint(space) {
			shown[key] = space
			out = append(out, space)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(shown)) {
		if now[key] {
			continue
		}
		space := shown[key]
		delete(shown, key)
		// A claim that waited and has a space now is the same claim.
		if space.AllocationID == "" && claims[space.Metadata.UID] {
			continue
		}
		space.State = gone
		out = append(out, space)
	}
	return out
}

func keyOf(space model.Space) string {
	return space.Metadata.UID + "/" + space.AllocationID + "/" + space.Request
}
