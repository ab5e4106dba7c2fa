// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
)

// logged is a context whose log is kept, and what it has so far of the claim.
func logged(t *testing.T, uid string) (context.Context, func() []string) {
	t.Helper()
	var out bytes.Buffer
	logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Verbosity(2), textlogger.Output(&out)))
	return klog.NewContext(t.Context(), logger), func() []string {
		var messages []string
		for line := range strings.Lines(out.String()) {
			if strings.Count(line, `claimUID="`+uid+`"`) != 1 {
				t.Errorf("the claim's UID is not in this line once: %s", line)
			}
			messages = append(messages, regexp.MustCompile(`\] "([^"]*)"`).FindStringSubmatch(line)[1])
		}
		out.Reset()
		return messages
	}
}

func (c *cluster) syncs(ctx context.Context, times int) (failed error) {
	for range times {
		if err := c.sync(ctx, key); err != nil {
			failed = err
		}
	}
	return failed
}

func TestNoPartOfASpacesStoryIsToldTwice(t *testing.T) {
	claim := claimOf("a")
	claim.Status.ReservedFor = nil
	c := newController(t, claim.DeepCopy())
	claims := c.claimInformer.GetIndexer()
	if err := claims.Add(claim); err != nil {
		t.Fatal(err)
	}
	ctx, story := logged(t, "claim-uid")
	wants := func(what string, want ...string) {
		t.Helper()
		if got := story(); !slices.Equal(got, want) {
			t.Errorf("%s: the log has %q, want %q", what, got, want)
		}
	}

	broken := true
	c.api.PrependReactor("create", "serviceaccounts", func(clienttesting.Action) (bool, runtime.Object, error) {
		return broken, nil, context.DeadlineExceeded
	})
	if err := c.syncs(ctx, 1); err == nil {
		t.Fatal("made a space without an account")
	}
	wants("a first try that fails", "Claim allocated", "Namespace made", "Space not ready")
	catchUp := func() {
		t.Helper()
		live, err := c.api.ResourceV1().ResourceClaims("team").Get(ctx, "claim", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := claims.Update(live); err != nil {
			t.Fatal(err)
		}
		spaces, err := c.api.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		if err != nil || len(spaces.Items) != 1 {
			t.Fatalf("namespaces: %v (error: %v)", spaces, err)
		}
		c.cached(&spaces.Items[0])
	}
	catchUp()
	if err := c.syncs(ctx, 2); err == nil {
		t.Fatal("made a space without an account")
	}
	wants("further tries that fail")
	broken = false
	if err := c.syncs(ctx, 1); err != nil {
		t.Fatal(err)
	}
	catchUp()
	wants("one that succeeds", "Space ready")
	if err := c.syncs(ctx, 3); err != nil {
		t.Fatal(err)
	}
	wants("a space that is as it should be")

	if err := claims.Delete(claim); err != nil {
		t.Fatal(err)
	}
	if err := c.api.Tracker().Delete(resourceapi.SchemeGroupVersion.WithResource("resourceclaims"), "team", "claim"); err != nil {
		t.Fatal(err)
	}
	c.api.PrependReactor("delete", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) {
		return broken, nil, context.DeadlineExceeded
	})
	broken = true
	if err := c.syncs(ctx, 2); err == nil {
		t.Fatal("deleted a namespace against the API server's will")
	}
	wants("an end that fails half-way", "Credentials revoked")
	broken = false
	if err := c.syncs(ctx, 3); err != nil {
		t.Fatal(err)
	}
	wants("an end", "Space ended")

	ns := c.namespaceOf(claim)
	now := metav1.NewTime(c.now.Now())
	ns.DeletionTimestamp = &now
	c.namespaceEvents(ctx).OnDelete(ns)
	wants("the namespace has gone", "Namespace gone")
}

func TestAFailureIsLoggedWithTheClaimItIsAbout(t *testing.T) {
	c := newController(t)
	ctx, story := logged(t, "claim-uid")
	c.cached(c.namespaceOf(claimOf("a")))
	c.api.PrependReactor("get", "resourceclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, context.DeadlineExceeded
	})
	c.queue.Add(key)
	c.next(ctx)
	if got := story(); !slices.Equal(got, []string{"Trying again later"}) {
		t.Errorf("the log has %q", got)
	}
}
