// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

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
	for first := true; ctx.Err() == nil; first = false {
		// The watch begins before the reading, so that nothing between them is missed.
		changes, err := r.client.ResourceV1().ResourceClaims(namespace).Watch(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("watch ResourceClaims: %w", err)
		}
		for open := true; open; {
			snapshot, spaces, err := l.read(ctx, r, namespace)
			if err != nil {
				changes.Stop()
				return err
			}
			if note := snapshot.Note(); note != "" && first && len(shown) == 0 {
				fmt.Fprintln(l.streams.ErrOut, note)
			}
			if news := changed(shown, spaces); len(news) > 0 {
				if err := l.show(snapshot, news, l.noHeaders || !first); err != nil {
					changes.Stop()
					return err
				}
				first = false
			}
			open = l.await(ctx, changes.ResultChan())
		}
		changes.Stop()
	}
	return nil
}

// await waits for a change and for those that come right after it. It says whether
// there can be more.
func (l *list) await(ctx context.Context, changes <-chan watch.Event) bool {
	select {
	case <-ctx.Done():
		return false
	case _, open := <-changes:
		if !open {
			return false
		}
	}
	settled := l.clock.After(settle)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-settled:
			return true
		case _, open := <-changes:
			if !open {
				return false
			}
		}
	}
}

// changed returns the spaces that are not as they were shown, and those that are no
// longer there, and notes them as shown.
func changed(shown map[string]model.Space, spaces []model.Space) []model.Space {
	var out []model.Space
	now := map[string]bool{}
	for _, space := range spaces {
		key := keyOf(space)
		now[key] = true
		if last, known := shown[key]; !known || fmt.Sprint(last) != fmt.Sprint(space) {
			shown[key] = space
			out = append(out, space)
		}
	}
	for key, space := range shown {
		if !now[key] {
			delete(shown, key)
			space.State = gone
			out = append(out, space)
		}
	}
	return out
}

func keyOf(space model.Space) string {
	return space.Metadata.UID + "/" + space.AllocationID + "/" + space.Request
}
