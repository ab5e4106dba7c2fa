// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"
)

// deadline returns the deadline of the Job in seconds, or -1 if there is none.
func deadline(t *testing.T, api *fake.Clientset) int64 {
	t.Helper()
	job, err := api.BatchV1().Jobs("team").Get(t.Context(), "try", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return -1
	}
	if err != nil {
		t.Fatal(err)
	}
	return *job.Spec.ActiveDeadlineSeconds
}

func TestHolder_extendsItsDeadlineUntilItIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fake.NewClientset()
		ctx, interrupt := context.WithCancel(t.Context())
		interrupt() // an interrupted program knows what it has created
		h, err := start(ctx, &Holder{Options: options(), api: api, clock: clock.RealClock{}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := api.ResourceV1().ResourceClaims("team").Get(t.Context(), "try", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := deadline(t, api); got != 30 {
			t.Errorf("the deadline is %d, want 30", got)
		}
		time.Sleep(time.Minute) //nolint:forbidigo // the time of the bubble
		synctest.Wait()
		if got := deadline(t, api); got != 90 {
			t.Errorf("after a minute, the deadline is %d, want 90", got)
		}
		if err := h.Keep(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) //nolint:forbidigo // as above
		synctest.Wait()
		if got := deadline(t, api); got != 3660 {
			t.Errorf("the deadline is %d, want 3660", got)
		}
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := deadline(t, api); got != -1 {
			t.Error("the Job still exists")
		}
	})
}

func TestHolder_noticesItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fake.NewClientset()
		h, err := start(t.Context(), &Holder{Options: options(), api: api, clock: clock.RealClock{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := api.BatchV1().Jobs("team").Delete(t.Context(), "try", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if <-h.Ended(); time.Since(begin) > interval {
			t.Errorf("it takes %s", time.Since(begin))
		}
		if err := h.Close(t.Context()); err != nil {
			t.Errorf("close a holder that has ended: %v", err)
		}
	})
}

func TestStart_leavesNothingIfItFails(t *testing.T) {
	refusal := errors.New("no more claims")
	api := fake.NewClientset()
	api.PrependReactor("create", "resourceclaims", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, refusal })
	if _, err := start(t.Context(), &Holder{Options: options(), api: api, clock: clock.RealClock{}}); !errors.Is(err, refusal) {
		t.Errorf("got error %v", err)
	}
	if got := deadline(t, api); got != -1 {
		t.Error("the Job still exists")
	}
}

func TestStart_doesNotUseWhatExists(t *testing.T) {
	claim := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "try"}}
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "try"}}
	for name, existing := range map[string]runtime.Object{"resourceclaims": claim, "jobs": job} {
		api := fake.NewClientset(existing)
		_, err := start(t.Context(), &Holder{Options: options(), api: api, clock: clock.RealClock{}})
		if !apierrors.IsAlreadyExists(err) || !strings.Contains(err.Error(), name) {
			t.Errorf("with existing %s, got error %v", name, err)
		}
		for _, action := range api.Actions() {
			if action.GetVerb() == "delete" {
				t.Errorf("with existing %s, it deletes %s", name, action.GetResource().Resource)
			}
		}
	}
}
