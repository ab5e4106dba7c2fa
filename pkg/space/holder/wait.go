// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
)

// Wait waits until the space is ready and its token can be read. It returns an error as soon as that will
// not happen.
func (h *Holder) Wait(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	core := h.api.CoreV1()
	results := make(chan error, 3)
	go func() {
		results <- until(ctx, h.api.ResourceV1().ResourceClaims(h.Namespace).Watch, metav1.ListOptions{FieldSelector: "metadata.name=" + h.Name}, h.checkClaim)
	}()
	go func() {
		results <- until(ctx, core.Pods(h.Namespace).Watch, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + h.Name}, h.checkPod)
	}()
	// The Job's status does not say why it has no pod. Without permission to read events, nothing does.
	go func() {
		var rejected error
		_ = until(ctx, core.Events(h.Namespace).Watch, metav1.ListOptions{FieldSelector: "reason=FailedCreate,involvedObject.uid=" + string(h.job.UID)},
			func(_ watch.EventType, e *corev1.Event) (bool, error) {
				rejected = podRejected(e)
				return rejected != nil, nil
			})
		if rejected != nil {
			results <- rejected
		}
	}()
	for range 2 {
		err := <-results
		if err != nil && ctx.Err() != nil {
			return fmt.Errorf("ResourceClaim %s has no space yet: %w%s", h.Name, context.Cause(ctx), h.WaitsFor())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// WaitsFor returns what Wait waits for, after a colon, or nothing.
func (h *Holder) WaitsFor() string {
	if waitsFor := h.waitsFor.Load(); waitsFor != nil {
		return ": " + *waitsFor
	}
	return ""
}

// until watches objects until a condition is true for one of them or returns an error. It begins with
// those that exist.
func until[T runtime.Object](ctx context.Context, start func(context.Context, metav1.ListOptions) (watch.Interface, error), options metav1.ListOptions, condition func(watch.EventType, T) (bool, error)) error {
	for {
		w, err := start(ctx, options)
		if err != nil {
			return err
		}
		_, err = watchtools.UntilWithoutRetry(ctx, w, func(e watch.Event) (bool, error) {
			object, ok := e.Object.(T)
			if !ok {
				return false, apierrors.FromObject(e.Object)
			}
			return condition(e.Type, object)
		})
		if !errors.Is(err, watchtools.ErrWatchClosed) {
			return err
		}
	}
}

// FinalReasons are those of a space that does not become ready.
var FinalReasons = []string{spaceapi.ReasonInvalidParameters, spaceapi.ReasonUnsupportedConsumer, spaceapi.ReasonExpired}

// checkClaim reports whether the space is ready, and returns an error if it will not be.
func (h *Holder) checkClaim(event watch.EventType, claim *resourceapi.ResourceClaim) (bool, error) {
	if event == watch.Deleted || claim.DeletionTimestamp != nil {
		return false, fmt.Errorf("ResourceClaim %s was deleted", h.Name)
	}
	a := allocation.FromClaim(claim, h.Driver)
	if a == nil {
		return false, nil
	}
	ready, space, err := claimstatus.Read(claim, h.Driver, a, a.Results[0])
	switch {
	case err != nil:
		return false, err
	case space != nil:
		h.space = space
		return true, nil
	case ready == nil:
		return false, nil
	}
	reason := fmt.Sprintf("%s: %s", ready.Reason, ready.Message)
	if slices.Contains(FinalReasons, ready.Reason) {
		return false, fmt.Errorf("ResourceClaim %s gets no space: %s", h.Name, reason)
	}
	h.waitsFor.Store(&reason)
	return false, nil
}

// failedReasons are those of a container that waits, although it cannot start.
var failedReasons = []string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError"}

// checkPod reports whether the pod of the holder runs, and returns an error if it will not.
func (h *Holder) checkPod(event watch.EventType, pod *corev1.Pod) (bool, error) {
	var container corev1.ContainerState
	if len(pod.Status.ContainerStatuses) > 0 {
		container = pod.Status.ContainerStatuses[0].State
	}
	switch waiting, terminated := container.Waiting, container.Terminated; {
	case event == watch.Deleted, pod.DeletionTimestamp != nil, pod.Status.Phase == corev1.PodFailed, pod.Status.Phase == corev1.PodSucceeded:
		message := cmp.Or(pod.Status.Message, pod.Status.Reason)
		if message == "" && terminated != nil {
			message = cmp.Or(terminated.Message, terminated.Reason)
		}
		return false, fmt.Errorf("pod %s, which holds the space, has ended: %s", pod.Name, cmp.Or(message, "it was deleted"))
	case pod.Status.Phase == corev1.PodRunning:
		h.pod = pod.Name
		return true, nil
	case waiting != nil && slices.Contains(failedReasons, waiting.Reason):
		return false, fmt.Errorf("pod %s, which holds the space, cannot start: %s: %s", pod.Name, waiting.Reason, waiting.Message)
	}
	for _, c := range pod.Status.Conditions {
		if c.Type != corev1.PodScheduled || c.Status != corev1.ConditionFalse {
			continue
		}
		if strings.Contains(c.Message, "device class "+h.Class+" does not exist") {
			return false, fmt.Errorf("DeviceClass %s does not exist", h.Class)
		}
		h.waitsFor.Store(&c.Message)
	}
	return false, nil
}

// podRejected returns the error of an event about a Job whose pod could not be created. In a new
// namespace, the pod's ServiceAccount may not exist yet.
func podRejected(e *corev1.Event) error {
	if strings.Contains(e.Message, "service account") {
		return nil
	}
	return fmt.Errorf("the pod that holds the space was rejected: %s", e.Message)
}
