// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// settle is how long changes are collected before everything is read again.
const settle = 500 * time.Millisecond

// await waits for a change of claims in a namespace, or of the namespaces of spaces, after a
// snapshot. It also returns when the API server closes a watch.
func (r *reader) await(ctx context.Context, s *snapshot) error {
	claims, err := r.client.ResourceV1().ResourceClaims(r.namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: s.claimsVersion})
	if err != nil {
		return err
	}
	defer claims.Stop()
	options := r.ofSpaces()
	options.ResourceVersion = s.namespacesVersion
	var ofNamespaces <-chan watch.Event
	namespaces, err := r.client.CoreV1().Namespaces().Watch(ctx, options)
	switch {
	case err == nil:
		defer namespaces.Stop()
		ofNamespaces = namespaces.ResultChan()
	case !apierrors.IsForbidden(err):
		return err
	}
	select {
	case <-ctx.Done():
	case <-claims.ResultChan():
	case <-ofNamespaces:
	}
	select {
	case <-ctx.Done():
	case <-r.clock.After(settle):
	}
	return ctx.Err()
}

// changed returns the spaces that are not as they were shown, and those that are gone, and
// records what is shown.
func changed(shown map[string]spaceSummary, spaces []spaceSummary) []spaceSummary {
	var out []spaceSummary
	current, claims := map[string]bool{}, map[string]bool{}
	for _, space := range spaces {
		key := space.Metadata.UID + "/" + space.AllocationID + "/" + space.Request
		current[key], claims[space.Metadata.UID] = true, true
		if last, known := shown[key]; !known || !reflect.DeepEqual(last, space) {
			shown[key] = space
			out = append(out, space)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(shown)) {
		space := shown[key]
		if current[key] {
			continue
		}
		delete(shown, key)
		// A claim that waited and has a space now is not gone.
		if space.AllocationID == "" && claims[space.Metadata.UID] {
			continue
		}
		space.State = stateGone
		out = append(out, space)
	}
	return out
}
