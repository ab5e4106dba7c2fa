// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/identity"
)

// whyAllocated is about a claim that has an allocation: the controller has to make
// the space, and then the node has to hand it to the pod.
func (s *Snapshot) whyAllocated(claim *resourceapi.ResourceClaim, a *identity.Allocation, pods []*corev1.Pod) Explanation {
	for _, space := range s.SpacesOf(claim) {
		switch space.State {
		case StateReady:
		case StateProvisioning:
			return s.provisioning(claim, a, space)
		default:
			return unready(claim, space)
		}
	}
	for _, pod := range pods {
		if e := s.whyNotPrepared(claim, pod); e != nil {
			return *e
		}
	}
	var names []string
	for _, space := range s.SpacesOf(claim) {
		names = append(names, space.Space)
	}
	text := fmt.Sprintf("ResourceClaim %s has its space, %s, and it is ready.", claim.Name, strings.Join(names, " and "))
	cause := CauseNone
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodPending && pod.Spec.NodeName != "" {
			cause = CauseStarting
			text += fmt.Sprintf(" Pod %s is starting on node %s.", pod.Name, pod.Spec.NodeName)
		}
	}
	return Explanation{cause, text}
}

func (s *Snapshot) provisioning(claim *resourceapi.ResourceClaim, a *identity.Allocation, space Space) Explanation {
	text := fmt.Sprintf("ResourceClaim %s is allocated from pool %s, and the driver's controller has not said anything about its space yet.", claim.Name, space.Pool)
	if space.Message != "" {
		text += fmt.Sprintf(" What is there can't be read: %s.", trim(space.Message))
	}
	if !a.AllocatedAt.IsZero() {
		waited := s.Now.Sub(a.AllocatedAt)
		text += fmt.Sprintf(" That was %s ago.", Age(s.Now, a.AllocatedAt))
		if waited > controllerSlow {
			text += " It usually takes a second or two: see whether the controller runs and leads."
		}
	}
	return Explanation{CauseProvisioning, text}
}

// unready is about a space of which the controller says that it is not ready.
func unready(claim *resourceapi.ResourceClaim, space Space) Explanation {
	cause, known := causes[space.State]
	message := ruleOf(space.Message)
	switch {
	case !known:
		return explain(CauseProvisioning, "The space of ResourceClaim %s is not ready, with reason %s: %s.", claim.Name, space.State, message)
	case cause == CauseInvalid:
		return explain(cause, "ResourceClaim %s asks for what the driver does not give: %s. That is final: change the claim or its DeviceClass, and make the claim anew.", claim.Name, message)
	case cause == CauseExpired:
		return explain(cause, "The space of ResourceClaim %s was ended because it outlived its class's maxLifetime: %s. That is final: make the claim anew, or have the class changed.", claim.Name, message)
	case cause == CauseConflict:
		return explain(cause, "The namespace for ResourceClaim %s exists already and is none of the driver's: %s.", claim.Name, message)
	case cause == CauseTerminating:
		return explain(cause, "Somebody deleted the namespace of ResourceClaim %s, and a new one is made once it has gone: %s.", claim.Name, message)
	default:
		return explain(cause, "The driver could not make all of the space of ResourceClaim %s, and tries again by itself: %s.", claim.Name, message)
	}
}

// whyNotPrepared is about a pod whose space is ready, and which has not got it.
func (s *Snapshot) whyNotPrepared(claim *resourceapi.ResourceClaim, pod *corev1.Pod) *Explanation {
	if pod.Status.Phase != corev1.PodPending {
		return nil
	}
	if pod.Spec.NodeName == "" {
		if gated(pod) {
			e := explain(CauseGated, "The space of ResourceClaim %s is ready, but pod %s is not scheduled: its scheduling gates keep it from that.", claim.Name, pod.Name)
			return &e
		}
		said := s.schedulerSays(pod)
		if said == "" || slices.ContainsFunc(claim.Status.ReservedFor, func(r resourceapi.ResourceClaimConsumerReference) bool { return r.UID == pod.UID }) {
			return nil
		}
		cause, text := CauseNoNode, "The space of ResourceClaim %s is ready, but there is no node for pod %s to use it on: %s."
		if strings.Contains(said, "exclusive and in use") {
			cause, text = CauseExclusive, "ResourceClaim %s has a space for one pod at a time, and pod %s is not that one: %s."
		}
		e := explain(cause, text, claim.Name, pod.Name, said)
		return &e
	}
	failed := s.lastEvent(pod, "FailedPrepareDynamicResources")
	if failed == nil || started(pod) {
		return nil
	}
	e := explain(CausePrepare, "The space of ResourceClaim %s is ready, but node %s could not hand it to pod %s: %s. The kubelet tries again by itself after one to two minutes.",
		claim.Name, pod.Spec.NodeName, pod.Name, trim(failed.Message))
	if strings.Contains(failed.Message, s.Driver+" is not registered") {
		e = explain(CausePluginMissing, "The space of ResourceClaim %s is ready, but the driver's plugin does not run on node %s, so that pod %s can't have it: %s.",
			claim.Name, pod.Spec.NodeName, pod.Name, trim(failed.Message))
	}
	return &e
}

// started says whether a container of the pod has run, so that its claims were prepared.
func started(pod *corev1.Pod) bool {
	return slices.ContainsFunc(slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses), func(c corev1.ContainerStatus) bool {
		return c.State.Running != nil || c.State.Terminated != nil || c.RestartCount > 0
	})
}
