// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
)

// Cause is why there is no space.
type Cause string

// The causes.
const (
	CauseNone          Cause = "Ready"
	CauseStarting      Cause = "Starting"
	CauseDone          Cause = "PodDone"
	CauseRetained      Cause = "Retained"
	CauseNoClaim       Cause = "NoClaim"
	CauseClaimNotMade  Cause = "ClaimNotMade"
	CauseClaimMissing  Cause = "ClaimMissing"
	CauseOtherDriver   Cause = "OtherDriver"
	CauseUnused        Cause = "Unused"
	CausePending       Cause = "Pending"
	CauseGated         Cause = "SchedulingGated"
	CauseNoClass       Cause = "NoDeviceClass"
	CauseNotPublished  Cause = "NoPool"
	CausePoolFull      Cause = "PoolFull"
	CauseNoNode        Cause = "NoNode"
	CauseExclusive     Cause = "Exclusive"
	CauseInvalid       Cause = "InvalidParameters"
	CauseProvisioning  Cause = "Provisioning"
	CauseFailing       Cause = "ProvisioningFailed"
	CauseConflict      Cause = "NameConflict"
	CauseTerminating   Cause = "NamespaceTerminating"
	CauseExpired       Cause = "Expired"
	CauseEnded         Cause = "Ended"
	CausePluginMissing Cause = "PluginMissing"
	CausePrepare       Cause = "PrepareFailed"
	CauseStuck         Cause = "StuckTerminating"
)

// unsure are the causes of which more may be known with more rights.
var unsure = []Cause{CauseClaimNotMade, CauseOtherDriver, CausePending, CausePoolFull, CauseNoNode, CauseProvisioning, CauseStarting, CauseEnded}

// Unsure says whether more may be known with more rights.
func (e Explanation) Unsure() bool { return slices.Contains(unsure, e.Cause) }

// controllerSlow is after what time it is odd that the controller has said nothing.
const controllerSlow = 30 * time.Second

// Explanation says why there is no space.
type Explanation struct {
	Cause Cause
	// Text is a paragraph.
	Text string
}

func explain(cause Cause, format string, args ...any) Explanation {
	return Explanation{cause, fmt.Sprintf(format, args...)}
}

// WhyPod explains why a pod has no space.
func (s *Snapshot) WhyPod(pod *corev1.Pod) Explanation {
	if isDone(pod) {
		return explain(CauseDone, "Pod %s is done (%s) and has no space any more: one ends with the last pod that uses it.", pod.Name, pod.Status.Phase)
	}
	if len(pod.Spec.ResourceClaims) == 0 && pod.Status.ExtendedResourceClaimStatus == nil {
		if said := s.schedulerSays(pod); said != "" {
			return explain(CausePending, "Pod %s has no ResourceClaim yet, and is not scheduled: %s.", pod.Name, said)
		}
		return explain(CauseNoClaim, "Pod %s asks for no space: its spec names no ResourceClaim.", pod.Name)
	}
	for _, ref := range pod.Spec.ResourceClaims {
		if _, made := ClaimOf(pod, ref); made {
			continue
		}
		if failed := s.lastEvent(pod, "FailedResourceClaimCreation"); failed != nil {
			return explain(CauseClaimNotMade, "The claim that pod %s calls %s could not be made from its template: %s.", pod.Name, ref.Name, trim(failed.Message))
		}
		return explain(CauseClaimNotMade, "The claim that pod %s calls %s has not been made from its template yet. kube-controller-manager does that, within seconds if the template exists.", pod.Name, ref.Name)
	}
	var last *Explanation
	for _, name := range ClaimsOf(pod) {
		claim := s.Claim(pod.Namespace, name)
		if claim == nil {
			return explain(CauseClaimMissing, "Pod %s names ResourceClaim %s, which does not exist: make it, and the pod is scheduled.", pod.Name, name)
		}
		if !s.Asks(claim) && !s.namesNoClass(claim) {
			continue
		}
		e := s.why(claim, []*corev1.Pod{pod})
		if e.Cause != CauseNone && e.Cause != CauseStarting {
			return e
		}
		last = &e
	}
	if last == nil {
		return explain(CauseOtherDriver, "Pod %s asks for no space: none of its claims is one for a space, as far as their DeviceClasses could be read.", pod.Name)
	}
	return *last
}

// WhyClaim explains why a claim has no space.
func (s *Snapshot) WhyClaim(claim *resourceapi.ResourceClaim) Explanation {
	if claim.Status.Allocation != nil && !hasResult(claim, s.Driver) {
		return explain(CauseOtherDriver, "ResourceClaim %s is allocated, but no device in it is of driver %s.", claim.Name, s.Driver)
	}
	return s.why(claim, s.usersOf(claim))
}

func (s *Snapshot) why(claim *resourceapi.ResourceClaim, pods []*corev1.Pod) Explanation {
	e := s.whyNone(claim, pods)
	left := s.WhyLeft(claim.Namespace, claim.Name, "")
	switch {
	case left == nil || left.Cause != CauseStuck:
	case e.Cause == CauseUnused || e.Cause == CauseEnded:
		return *left
	default:
		e.Text += " Besides: " + left.Text
	}
	return e
}

func (s *Snapshot) whyNone(claim *resourceapi.ResourceClaim, pods []*corev1.Pod) Explanation {
	if a := identity.Of(claim, s.Driver); a != nil {
		return s.whyAllocated(claim, a, pods)
	}
	if claim.DeletionTimestamp != nil || claim.Status.Allocation != nil {
		return explain(CauseEnded, "ResourceClaim %s is being deleted, so that its space has ended. What waits for a space needs a claim made anew.", claim.Name)
	}
	if len(pods) == 0 {
		if s.Missing.Has(ListPods) {
			return explain(CausePending, "ResourceClaim %s is not allocated: that happens when a pod that names it is scheduled. Which pods do could not be read, because you may not list pods.", claim.Name)
		}
		return explain(CauseUnused, "No pod uses ResourceClaim %s. A claim gets its space when a pod that names it is scheduled.", claim.Name)
	}
	return s.whyUnallocated(claim, pods[0])
}

// whyUnallocated is about a claim that the scheduler has not allocated for a pod.
func (s *Snapshot) whyUnallocated(claim *resourceapi.ResourceClaim, pod *corev1.Pod) Explanation {
	said := s.schedulerSays(pod)
	quoted := ""
	if said != "" {
		quoted = fmt.Sprintf(" The scheduler says: %s.", said)
	}
	if !s.Missing.Has(ListClasses) && len(s.Classes) > 0 || strings.Contains(said, "device class") && strings.Contains(said, "does not exist") {
		for _, class := range ClassesOf(claim) {
			if !s.hasClass(class) && (!s.Missing.Has(ListClasses) || strings.Contains(said, class)) {
				return explain(CauseNoClass, "ResourceClaim %s names DeviceClass %s, which does not exist.%s", claim.Name, class, quoted)
			}
		}
	}
	if gated(pod) {
		return explain(CauseGated, "ResourceClaim %s waits for pod %s to be scheduled, which its scheduling gates keep it from.", claim.Name, pod.Name)
	}
	if s.Missing.Has(ListSlices) {
		if said == "" {
			return explain(CausePending, "ResourceClaim %s waits for pod %s to be scheduled. The scheduler has not said anything about it that could be read.", claim.Name, pod.Name)
		}
		if strings.Contains(said, "cannot allocate all claims") {
			return explain(CausePoolFull, "No node has a space left for ResourceClaim %s: its pool is full, or has none for the nodes that pod %s can run on. Which of them it is would be known with the right to list resourceslices.%s", claim.Name, pod.Name, quoted)
		}
		return explain(CauseNoNode, "There is no node for pod %s, for which ResourceClaim %s would be allocated.%s", pod.Name, claim.Name, quoted)
	}
	pools := s.poolsFor(claim)
	if len(pools) == 0 {
		return explain(CauseNotPublished, "Driver %s has published no pool, so that there are no spaces to be had. Its controller does that: see whether it runs.%s", s.Driver, quoted)
	}
	if strings.Contains(said, "cannot allocate all claims") || said == "" {
		if e := s.full(claim, pod.Name, pools, quoted); e != nil {
			return *e
		}
	}
	if said == "" {
		return explain(CausePending, "ResourceClaim %s waits for pod %s to be scheduled, and there is room in a pool. The scheduler has not said anything about the pod yet that could be read.", claim.Name, pod.Name)
	}
	if !strings.Contains(said, "cannot allocate all claims") {
		return explain(CauseNoNode, "There is no node for pod %s, for which ResourceClaim %s would be allocated.%s", pod.Name, claim.Name, quoted)
	}
	return explain(CauseNoNode, "There is no node for pod %s, for which ResourceClaim %s would be allocated, though there seems to be room in a pool: no node that the pod can run on may have spaces of it.%s", pod.Name, claim.Name, quoted)
}

// full explains that none of the pools has room, if that is so.
func (s *Snapshot) full(claim *resourceapi.ResourceClaim, pod string, pools []Pool, quoted string) *Explanation {
	var parts []string
	for _, pool := range pools {
		short := s.fits(pool, claim)
		if short == nil {
			return nil
		}
		part := fmt.Sprintf("of pool %s %s of %s %s are in use", pool.Name, short.Used.String(), short.Total.String(), short.Resource)
		if want := s.wanted(pool.Name, short.Resource, claim); want.CmpInt64(1) != 0 {
			part += fmt.Sprintf(" and the claim needs %s", want.String())
		}
		parts = append(parts, part)
	}
	e := explain(CausePoolFull, "There is no room for ResourceClaim %s of pod %s: %s. It gets a space as soon as another claim gives one back.%s", claim.Name, pod, strings.Join(parts, ", "), quoted)
	return &e
}

func (s *Snapshot) hasClass(name string) bool {
	for i := range s.Classes {
		if s.Classes[i].Name == name {
			return true
		}
	}
	return false
}

// namesNoClass says whether an unallocated claim names a class that is not there, so
// that nobody knows what it asks for.
func (s *Snapshot) namesNoClass(claim *resourceapi.ResourceClaim) bool {
	return claim.Status.Allocation == nil && !s.Missing.Has(ListClasses) && slices.ContainsFunc(ClassesOf(claim), func(class string) bool {
		return class != s.Driver && !s.hasClass(class)
	})
}

// schedulerSays is why a pod is not scheduled: its own condition says it, for which nobody
// needs a right to read events, or an event.
func (s *Snapshot) schedulerSays(pod *corev1.Pod) string {
	if pod.Spec.NodeName != "" {
		return ""
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason != corev1.PodReasonSchedulingGated && c.Message != "" {
			return trim(c.Message)
		}
	}
	if e := s.lastEvent(pod, "FailedScheduling"); e != nil {
		return trim(e.Message)
	}
	return ""
}

func gated(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated
	})
}

func isDone(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// lastEvent is the last event about a pod with the reason, or nil.
func (s *Snapshot) lastEvent(pod *corev1.Pod, reason string) *corev1.Event {
	for _, e := range s.allEvents("Pod", pod.Namespace, pod.Name) {
		if e.Reason == reason {
			return e
		}
	}
	return nil
}

func trim(message string) string { return strings.TrimRight(strings.TrimSpace(message), ".") }

// ruleOf is what a class or claim has wrong, in the controller's words.
func ruleOf(message string) string {
	if message == "" {
		return "the controller did not say why"
	}
	return trim(message)
}

var causes = map[string]Cause{
	spaceapi.ReasonInvalidParameters: CauseInvalid, spaceapi.ReasonProvisioningFailed: CauseFailing, spaceapi.ReasonNameConflict: CauseConflict,
	spaceapi.ReasonNamespaceTerminating: CauseTerminating, spaceapi.ReasonExpired: CauseExpired,
}
