// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// stuckAfter is after what time something is said of a namespace that does not go.
const stuckAfter = time.Minute

// Remains are what is left of ended spaces of a claim, which may have gone itself.
func (s *Snapshot) Remains(namespace, name string) []Space {
	living := map[string]bool{}
	if claim := s.Claim(namespace, name); claim != nil {
		for _, space := range s.SpacesOf(claim) {
			living[space.Space] = true
		}
	}
	keys := s.Keys()
	var out []Space
	for i := range s.Namespaces {
		ns := &s.Namespaces[i]
		if ns.Labels[keys.ClaimUID] != "" && !living[ns.Name] && ns.Annotations[keys.ClaimNamespace] == namespace && ns.Annotations[keys.ClaimName] == name {
			out = append(out, s.remains(ns))
		}
	}
	return out
}

// remains are what there is of a space whose allocation has ended.
func (s *Snapshot) remains(ns *corev1.Namespace) Space {
	keys := s.Keys()
	space := Space{
		TypeMeta: metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: SpaceKind},
		Metadata: Metadata{
			Name: ns.Annotations[keys.ClaimName], Namespace: ns.Annotations[keys.ClaimNamespace],
			UID: ns.Labels[keys.ClaimUID], CreationTimestamp: ns.CreationTimestamp,
		},
		Space: ns.Name, Request: ns.Annotations[keys.Request], AllocationID: ns.Labels[keys.AllocationID],
		State: StateEnded, RetainedUntil: ns.Annotations[keys.RetainedUntil],
	}
	switch {
	case ns.DeletionTimestamp != nil:
		space.State, space.Message = StateTerminating, whyTerminating(ns)
		if space.Message != "" && s.Now.Sub(ns.DeletionTimestamp.Time) > stuckAfter {
			space.State = StateStuck
		}
	case space.RetainedUntil != "":
		space.State = StateRetained
	}
	return space
}

// whyTerminating is the reason that the namespace's own conditions give.
func whyTerminating(ns *corev1.Namespace) string {
	var reasons []string
	for _, condition := range ns.Status.Conditions {
		if condition.Status == corev1.ConditionTrue {
			reasons = append(reasons, trim(condition.Message))
		}
	}
	return strings.Join(reasons, "; ")
}

// WhyLeft explains why something is left of spaces of a claim that have ended: of the
// one in a namespace, or of all. It returns nil if nothing is.
func (s *Snapshot) WhyLeft(namespace, name, space string) *Explanation {
	left := slices.DeleteFunc(s.Remains(namespace, name), func(r Space) bool { return space != "" && r.Space != space })
	// What lasts is what to speak of.
	for _, state := range []string{StateStuck, StateTerminating, StateRetained, StateEnded} {
		for _, r := range left {
			if r.State == state {
				e := s.whyLeft(r)
				return &e
			}
		}
	}
	return nil
}

func (s *Snapshot) whyLeft(r Space) Explanation {
	of := "ResourceClaim " + r.Metadata.Name
	switch r.State {
	case StateStuck:
		return explain(CauseStuck, "A space of %s has ended and its credentials are dead, but its namespace %s does not go: %s. The driver removes no finalizers. The next space does not wait for it.", of, r.Space, r.Message)
	case StateTerminating:
		waits := ""
		if r.Message != "" {
			waits = " What is left in it: " + r.Message + "."
		}
		return explain(CauseEnded, "A space of %s has ended and its credentials are dead. Its namespace %s is being deleted.%s", of, r.Space, waits)
	case StateRetained:
		return explain(CauseRetained, "A space of %s has ended and its credentials are dead. Its namespace %s is kept for debugging until %s.", of, r.Space, r.RetainedUntil)
	default:
		return explain(CauseEnded, "A space of %s has ended, and the driver's controller has yet to delete its namespace %s. It usually takes a second or two: see whether the controller runs and leads.", of, r.Space)
	}
}
