// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// withPodClaimName renames a claim, and its name in the pod.
func withPodClaimName(claim *resourceapi.ResourceClaim, name, podName string) *resourceapi.ResourceClaim {
	claim.Name, claim.UID = name, types.UID(name+"-uid")
	claim.Annotations = map[string]string{resourceapi.PodResourceClaimAnnotation: podName}
	return claim
}

// using returns a pod with containers that use claims, as `claim` or `claim/request`. The names in the
// pod are those of the claims.
func using(claims []string, containers ...[]string) *corev1.Pod {
	pod := podOn("pod", "")
	for _, claim := range claims {
		pod.Spec.ResourceClaims = append(pod.Spec.ResourceClaims, corev1.PodResourceClaim{Name: claim, ResourceClaimName: ptr.To(claim)})
	}
	for _, uses := range containers {
		container := corev1.Container{Name: "c-" + strings.Join(uses, "-")}
		for _, use := range uses {
			claim, request, _ := strings.Cut(use, "/")
			container.Resources.Claims = append(container.Resources.Claims, corev1.ResourceClaim{Name: claim, Request: request})
		}
		pod.Spec.Containers = append(pod.Spec.Containers, container)
	}
	return pod
}

func TestCheckContainers_rejectsCollisionsInAContainer(t *testing.T) {
	both := []string{"claim", "other"}
	same := func() *resourceapi.ResourceClaim { return withPodClaimName(claimFor("a"), "other", "claim") }
	for name, test := range map[string]struct {
		other *resourceapi.ResourceClaim
		pod   *corev1.Pod
		want  string // words of the error, or none
	}{
		"in the same container": {same(), using(both, []string{"claim"}, both), "container c-claim-other of pod pod: ResourceClaims claim and other set environment variable CLAIM_NAMESPACE"},
		"in an init container": {same(), func() *corev1.Pod {
			pod := using(both, both)
			pod.Spec.InitContainers, pod.Spec.Containers = pod.Spec.Containers, nil
			return pod
		}(), "container c-claim-other"},
		"in different containers":           {same(), using(both, []string{"claim"}, []string{"other"}), ""},
		"for names that do not conflict":    {withPodClaimName(claimFor("a"), "other", "other"), using(both, both), ""},
		"for requests that do not conflict": {withPodClaimName(claimFor("x", "y"), "other", "claim"), using(both, []string{"claim", "other/x"}), "cannot be at /etc/claim/x"},
		"for requests that are not used":    {parameterized(withPodClaimName(claimFor("x", "y"), "other", "other"), `"mountPath":"/etc/claim"`, "y"), using(both, []string{"claim", "other/x"}), ""},
		"for requests that are used":        {parameterized(withPodClaimName(claimFor("x", "y"), "other", "other"), `"mountPath":"/etc/claim"`, "y"), using(both, []string{"claim", "other/y"}), "both have their files at /etc/claim"},
		"for a claim that is rejected":      {parameterized(same(), `"envPrefix":"a"`), using(both, both), ""},
		"for a claim of another driver": {func() *resourceapi.ResourceClaim {
			c := same()
			c.Status.Allocation.Devices.Results[0].Driver = "other"
			return c
		}(), using(both, both), ""},
		"for a claim of another namespace":      {func() *resourceapi.ResourceClaim { c := same(); c.Namespace = "elsewhere"; return c }(), using(both, both), ""},
		"for a claim of another pod":            {func() *resourceapi.ResourceClaim { c := same(); c.Status.ReservedFor[0].UID = "other"; return c }(), using(both, both), ""},
		"for a claim of an extended resource":   {same(), using([]string{"claim"}, []string{"claim"}), "container c-claim"},
		"for a claim too large for the caches":  {large(same()), using(both, both), ""},
		"for a pod that does not exist anymore": {same(), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			claim := claimFor("a")
			c := newCluster(t, claim, test.other)
			c.putInCache(claim, test.other)
			if test.pod != nil {
				c.createInAPI(test.pod)
			}
			_, err := c.checkContainers(t.Context(), c.desired(claim))
			var rejected *reasonError
			if (err != nil) != (test.want != "") || err != nil && (!errors.As(err, &rejected) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
		})
	}
}

// parameterized gives some requests of a claim parameters.
func parameterized(claim *resourceapi.ResourceClaim, fields string, requests ...string) *resourceapi.ResourceClaim {
	config := parametersOf(driver, `{"apiVersion":"`+spaceapi.APIVersion+`","kind":"`+spaceapi.SpaceClaimConfigKind+`",`+fields+`}`)
	config.Source, config.Requests = resourceapi.AllocationConfigSourceClaim, requests
	claim.Status.Allocation.Devices.Config = append(claim.Status.Allocation.Devices.Config, config)
	return claim
}

func large(claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
	claim.Annotations["example.com/large"] = strings.Repeat("x", maxCached)
	return claim
}

func TestCheckContainers_retriesIfThePodCannotBeRead(t *testing.T) {
	claim, other := claimFor("a"), withPodClaimName(claimFor("a"), "other", "claim")
	c := newCluster(t, claim, other)
	c.putInCache(claim, other)
	c.fail("get pods", apierrors.NewServiceUnavailable("down"))
	if err := c.provisionClaim(c.currentClaim()); err == nil || !strings.Contains(err.Error(), "read pod team/pod") {
		t.Errorf("got error %v", err)
	}
	if got := c.writes(); len(got) != 0 {
		t.Errorf("wrote %q", got)
	}
}

func TestProvision_rejectsConflictingClaims(t *testing.T) {
	claim, other := claimFor("a"), withPodClaimName(claimFor("a"), "other", "claim")
	both := []string{"claim", "other"}
	c := newCluster(t, claim, other, using(both, both))
	c.syncCache(claim, other)
	if err := c.provisionClaim(claim); err != nil {
		t.Errorf("got error %v", err)
	}
	if got := c.writes(); !slices.Equal(got, []string{"update resourceclaims"}) {
		t.Errorf("wrote %q, want the claim's status only", got)
	}
	for _, event := range c.recordedEvents() {
		if !strings.HasPrefix(event, "Warning "+spaceapi.ReasonInvalidParameters) || !strings.Contains(event, "envPrefix") {
			t.Errorf("recorded %q", event)
		}
	}
}

// A space that others use stays as it is.
func TestProvision_reportsAPodWithConflictingClaims(t *testing.T) {
	c := newCluster(t, claimFor("a"))
	c.syncCache(claimFor("a"))
	c.reconcileAndSyncCache(t)
	c.requests()
	c.recordedEvents()
	both := []string{"claim", "other"}
	c.createInAPI(using(both, both))
	c.putInCache(withPodClaimName(claimFor("a"), "other", "claim"))
	if err := c.provisionClaim(c.currentClaim()); err != nil {
		t.Errorf("got error %v", err)
	}
	if now := c.currentClaim(); !isReady(now, driver, allocationOf(t, now)) {
		t.Errorf("the claim is not ready: %+v", now.Status.Devices)
	}
	if got := c.recordedEvents(); len(got) != 1 || !strings.HasPrefix(got[0], "Warning "+spaceapi.ReasonInvalidParameters+" container c-claim-other of pod pod") {
		t.Errorf("recorded %q", got)
	}
}
