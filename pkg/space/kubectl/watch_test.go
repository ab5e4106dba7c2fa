// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"bufio"
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/kubectl/model"
)

// A claim that has gone says no more; its namespace goes later.
func TestTheEndOfANamespaceIsShownWhenItsClaimHasGone(t *testing.T) {
	keys := spaceapi.KeysFor(spaceapi.DefaultDriverName)
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "ephemeral", Labels: map[string]string{keys.ClaimUID: "uid"}, Annotations: map[string]string{keys.ClaimNamespace: "team", keys.ClaimName: "gone"},
	}})
	out, in := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l := &list{options: &options{streams: genericiooptions.IOStreams{Out: in, ErrOut: io.Discard}, clock: clock.RealClock{}}, watch: true}
	ended := make(chan error, 1)
	go func() {
		ended <- l.follow(ctx, &reader{client: client, driver: spaceapi.DefaultDriverName, clock: clock.RealClock{}}, "team")
		_ = in.Close()
	}()
	lines := bufio.NewScanner(out)
	await := func(words ...string) {
		t.Helper()
		for _, word := range words {
			if !lines.Scan() || !strings.Contains(lines.Text(), word) {
				t.Fatalf("the line is %q, want it to have %q", lines.Text(), word)
			}
		}
	}
	await("CLAIM", "gone")
	if err := client.CoreV1().Namespaces().Delete(ctx, "ephemeral", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await("Gone")
	go func() { _, _ = io.Copy(io.Discard, out) }()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAClaimThatGetsItsSpaceIsNotShownAsGone(t *testing.T) {
	shown := map[string]model.Space{}
	waits := model.Space{Metadata: model.Metadata{UID: "a"}, State: model.StatePending}
	ready := model.Space{Metadata: model.Metadata{UID: "a"}, State: model.StateReady, AllocationID: "one", Request: "space", Space: "ephemeral"}
	states := func(spaces ...model.Space) string {
		var out []string
		for _, space := range changed(shown, spaces) {
			out = append(out, space.State)
		}
		return strings.Join(out, ",")
	}
	for i, step := range []struct {
		spaces []model.Space
		want   string
	}{{[]model.Space{waits}, "Pending"}, {[]model.Space{ready}, "Ready"}, {[]model.Space{ready}, ""}, {[]model.Space{waits}, "Pending,Gone"}, {nil, "Gone"}} {
		if got := states(step.spaces...); got != step.want {
			t.Errorf("step %d shows %q, want %q", i, got, step.want)
		}
	}
}

// What is allocated while things are read has its namespace already.
func TestClaimsAreReadAfterTheNamespacesOfSpaces(t *testing.T) {
	client := fake.NewClientset()
	r := &reader{client: client, driver: spaceapi.DefaultDriverName, clock: clock.RealClock{}}
	s, err := r.claims(t.Context(), "team")
	if err == nil {
		err = r.spaces(t.Context(), s, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	var read []string
	for _, action := range client.Actions() {
		read = append(read, action.GetResource().Resource)
	}
	if slices.Index(read, "namespaces") > slices.Index(read, "resourceclaims") || slices.Index(read, "namespaces") < 0 {
		t.Errorf("what is read, in order: %v", read)
	}
}
