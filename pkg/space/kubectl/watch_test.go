// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/kubectl/pkg/cmd/get"
	"k8s.io/utils/clock"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// Nothing changes of a claim that is gone, when its namespace goes later.
func TestList_watchesNamespaces(t *testing.T) {
	keys := spaceapi.KeysFor(driver)
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "ephemeral", Labels: map[string]string{keys.ClaimUID: "uid"}, Annotations: map[string]string{keys.ClaimNamespace: "team", keys.ClaimName: "gone"},
	}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watches := 0
	client.PrependWatchReactor("namespaces", func(clienttesting.Action) (bool, watch.Interface, error) {
		w := watch.NewRaceFreeFake()
		if watches++; watches > 1 {
			cancel()
			return true, w, nil
		}
		w.Delete(&corev1.Namespace{})
		return true, w, client.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("namespaces"), "", "ephemeral")
	})
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	l := &list{options: &options{streams: streams}, flags: get.NewGetPrintFlags(), watch: true}
	if err := l.run(ctx, &reader{client: client, driver: driver, namespace: "team", clock: clock.RealClock{}}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if got := strings.Fields(out.String()); !slices.Contains(got, "CLAIM") || !slices.Contains(got, stateEnded) || !slices.Contains(got, stateGone) || strings.Count(out.String(), "CLAIM") != 1 {
		t.Errorf("this is shown:\n%s", out)
	}
}

func TestAwait_needsNoRightToWatchNamespaces(t *testing.T) {
	client := fake.NewClientset()
	client.PrependWatchReactor("namespaces", func(clienttesting.Action) (bool, watch.Interface, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("namespaces"), "", nil)
	})
	client.PrependWatchReactor("resourceclaims", func(clienttesting.Action) (bool, watch.Interface, error) {
		w := watch.NewRaceFreeFake()
		w.Modify(claim("c", driver))
		return true, w, nil
	})
	r := &reader{client: client, driver: driver, namespace: "team", clock: clock.RealClock{}}
	if err := r.await(t.Context(), &snapshot{}); err != nil {
		t.Error(err)
	}
}

func TestChanged_doesNotTakeAnAllocatedClaimForGone(t *testing.T) {
	shown := map[string]spaceSummary{}
	waits := spaceSummary{Metadata: claimMetadata{UID: "a"}, State: statePending}
	ready := spaceSummary{Metadata: claimMetadata{UID: "a"}, State: stateReady, AllocationID: "one", Request: "space", Space: "ephemeral"}
	states := func(spaces ...spaceSummary) string {
		var out []string
		for _, space := range changed(shown, spaces) {
			out = append(out, space.State)
		}
		return strings.Join(out, ",")
	}
	for i, step := range []struct {
		spaces []spaceSummary
		want   string
	}{{[]spaceSummary{waits}, "Pending"}, {[]spaceSummary{ready}, "Ready"}, {[]spaceSummary{ready}, ""}, {[]spaceSummary{waits}, "Pending,Gone"}, {nil, "Gone"}} {
		if got := states(step.spaces...); got != step.want {
			t.Errorf("step %d shows %q, want %q", i, got, step.want)
		}
	}
}
