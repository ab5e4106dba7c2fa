// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
)

// check checks the result of a condition, and what Wait would say if it were interrupted.
func check(t *testing.T, h *Holder, done bool, err error, wantDone bool, wantErr, waitsFor string) {
	t.Helper()
	if done != wantDone || (err != nil) != (wantErr != "") || err != nil && !strings.Contains(err.Error(), wantErr) {
		t.Errorf("got done %t, error %v, want %t, %q", done, err, wantDone, wantErr)
	}
	if got := strings.TrimPrefix(h.WaitsFor(), ": "); got != waitsFor {
		t.Errorf("it waits for %q, want %q", got, waitsFor)
	}
}

func TestCheckPod_knowsWhatDoesNotStart(t *testing.T) {
	waiting := func(reason string) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "the image"}}}}}
	}
	unscheduled := func(message string) corev1.PodStatus {
		return corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: message}}}
	}
	for name, test := range map[string]struct {
		event    watch.EventType
		status   corev1.PodStatus
		done     bool
		err      string
		waitsFor string
	}{
		"runs":           {watch.Modified, corev1.PodStatus{Phase: corev1.PodRunning}, true, "", ""},
		"is new":         {watch.Added, corev1.PodStatus{}, false, "", ""},
		"is created":     {watch.Modified, waiting("ContainerCreating"), false, "", ""},
		"has no image":   {watch.Modified, waiting("ErrImagePull"), false, "cannot start: ErrImagePull: the image", ""},
		"has no room":    {watch.Modified, unscheduled("0/2 nodes are available"), false, "", "0/2 nodes are available"},
		"has no class":   {watch.Modified, unscheduled("request space: device class ci does not exist"), false, "DeviceClass ci does not exist", ""},
		"was deleted":    {watch.Deleted, corev1.PodStatus{Phase: corev1.PodRunning}, false, "has ended: it was deleted", ""},
		"was evicted":    {watch.Modified, corev1.PodStatus{Phase: corev1.PodFailed, Message: "The node was low on memory."}, false, "has ended: The node was low", ""},
		"has no program": {watch.Modified, corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "StartError", Message: "not found in $PATH"}}}}}, false, "has ended: not found", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := &Holder{Options: options()}
			done, err := h.checkPod(test.event, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod"}, Status: test.status})
			check(t, h, done, err, test.done, test.err, test.waitsFor)
			if done != (h.pod == "pod") {
				t.Errorf("the pod is %q", h.pod)
			}
		})
	}
}

func TestCheckClaim_knowsWhetherTheSpaceBecomesReady(t *testing.T) {
	for reason, test := range map[string]struct {
		err, waitsFor string
	}{
		spaceapi.ReasonProvisioned:        {},
		spaceapi.ReasonProvisioningFailed: {"", "ProvisioningFailed: a message"},
		spaceapi.ReasonInvalidParameters:  {"ResourceClaim try gets no space: InvalidParameters: a message", ""},
	} {
		t.Run(reason, func(t *testing.T) {
			h := &Holder{Options: options()}
			claim := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "try", UID: "uid"}}
			done, err := h.checkClaim(watch.Added, claim)
			check(t, h, done, err, false, "", "")
			claim.Status.Allocation = &resourceapi.AllocationResult{Devices: resourceapi.DeviceAllocationResult{Results: []resourceapi.DeviceRequestAllocationResult{{Driver: h.Driver, Request: request, Pool: "spaces", Device: "space"}}}}
			done, err = h.checkClaim(watch.Modified, claim)
			check(t, h, done, err, false, "", "")
			a := allocation.FromClaim(claim, h.Driver)
			entry := claimstatus.Entry{Result: a.Results[0], Ready: metav1.Condition{Status: metav1.ConditionFalse, Reason: reason, Message: "a message"}}
			if reason == spaceapi.ReasonProvisioned {
				entry.Ready.Status = metav1.ConditionTrue
				entry.Data = &spaceapi.SpaceStatus{TypeMeta: metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: spaceapi.SpaceStatusKind}, AllocationID: a.ID, Namespace: "ns"}
			}
			if _, err := claimstatus.Apply(claim, h.Driver, []claimstatus.Entry{entry}, metav1.Time{}); err != nil {
				t.Fatal(err)
			}
			done, err = h.checkClaim(watch.Modified, claim)
			check(t, h, done, err, reason == spaceapi.ReasonProvisioned, test.err, test.waitsFor)
			if done && h.SpaceNamespace() != "ns" {
				t.Errorf("the namespace is %q", h.SpaceNamespace())
			}
			if done, err := h.checkClaim(watch.Deleted, claim); done || err == nil {
				t.Errorf("of a deleted claim, got done %t, error %v", done, err)
			}
		})
	}
}

func TestPodRejected_waitsForTheServiceAccount(t *testing.T) {
	quota := `Error creating: pods "try-" is forbidden: exceeded quota: pods`
	if err := podRejected(&corev1.Event{Message: quota}); err == nil || !strings.Contains(err.Error(), quota) {
		t.Errorf("got %v", err)
	}
	if err := podRejected(&corev1.Event{Message: `pods "try-" is forbidden: error looking up service account team/default`}); err != nil {
		t.Errorf("got %v", err)
	}
}
