// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestWhyPod_namesConsumersOfTheSpace(t *testing.T) {
	const hint = "strategy Recreate, or RollingUpdate with maxSurge 0."
	unscheduled := func(message, owner string) *corev1.Pod {
		p := pod("p", "", "c")
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: message}}
		if owner != "" {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: owner, Name: "app-1", Controller: ptr.To(true)}}
		}
		return p
	}
	const full, exclusive = "0/2 nodes are available: 2 cannot allocate all claims.", "ResourceClaim c is exclusive and in use by pod q"
	group := ready(t, "other")
	group.Status.ReservedFor = []resourceapi.ResourceClaimConsumerReference{{APIGroup: "scheduling.k8s.io", Resource: "podgroups", Name: "g"}}
	elsewhere := ready(t, "other", "q")
	elsewhere.Namespace = "another"
	for name, test := range map[string]struct {
		objects []any
		// with and without are what the explanation has and lacks.
		with, without string
	}{
		"a full pool":                          {[]any{claim("c", driver), unscheduled(full, ""), slice("spaces", 1, 0), ready(t, "other", "q")}, "In use by pod team/q.", hint},
		"a full pool, for a Deployment":        {[]any{claim("c", driver), unscheduled(full, "ReplicaSet"), slice("spaces", 1, 0), ready(t, "other", "q")}, hint, ""},
		"a full pool of others":                {[]any{claim("c", driver), unscheduled(full, "ReplicaSet"), slice("spaces", 1, 0), elsewhere}, "In use by pod another/q.", hint},
		"many consumers":                       {[]any{claim("c", driver), unscheduled(full, ""), slice("spaces", 5, 0), ready(t, "other", "u", "t", "s", "r", "q")}, "In use by pod team/q, pod team/r, pod team/s, 2 more.", hint},
		"a PodGroup":                           {[]any{claim("c", driver), unscheduled(full, ""), slice("spaces", 1, 0), group}, "In use by podgroups.scheduling.k8s.io team/g.", hint},
		"a claim that no pod uses":             {[]any{claim("c", driver), unscheduled(full, ""), slice("spaces", 1, 0), ready(t, "other")}, "In use by ResourceClaim team/other.", hint},
		"an exclusive claim":                   {[]any{ready(t, "c", "q"), unscheduled(exclusive, "")}, "in use by pod q.", hint},
		"an exclusive claim, for a Deployment": {[]any{ready(t, "c", "q"), unscheduled(exclusive, "ReplicaSet")}, hint, ""},
		"an exclusive claim, for a Job":        {[]any{ready(t, "c", "q"), unscheduled(exclusive, "Job")}, "in use by pod q.", hint},
	} {
		s := snapshotOf(test.objects...)
		got := s.whyPod(s.pod("team", "p"))
		if !strings.Contains(got, test.with) || test.without != "" && strings.Contains(got, test.without) || strings.Contains(got, "..") {
			t.Errorf("%s: got %s\nwant %s", name, got, test.with)
		}
	}
}
