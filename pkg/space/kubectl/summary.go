// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
)

// The states of a space, besides the reasons of a Ready condition that is False.
const (
	// stateUnused: no pod names the claim.
	stateUnused = "Unused"
	// statePending: the claim is not allocated.
	statePending = "Pending"
	// stateProvisioning: the claim is allocated, and the controller has not reported anything.
	stateProvisioning = "Provisioning"
	// stateReady: pods can use the space.
	stateReady = "Ready"
	// stateEnded: the claim is being deleted, or the namespace of a former space is still to be.
	stateEnded = "Ended"
	// stateTerminating: the namespace of a former space is being deleted.
	stateTerminating = "Terminating"
	// stateStuck: the same, for more than stuckAfter, because something is left in it.
	stateStuck = "StuckTerminating"
	// stateRetained: the namespace of a former space is kept, without credentials.
	stateRetained = "Retained"
	// stateGone: a space that was shown, and is not there any more.
	stateGone = "Gone"
)

const stuckAfter = time.Minute

// spaceSummary is what is known about one space, or about a claim that has none yet. It is
// what programs get: fields are only ever added.
type spaceSummary struct {
	metav1.TypeMeta `json:",inline"`
	// Metadata is that of the claim.
	Metadata claimMetadata `json:"metadata"`
	// Space is the name of the namespace.
	Space   string `json:"space,omitempty"`
	State   string `json:"state"`
	Message string `json:"message,omitempty"`
	Request string `json:"request,omitempty"`
	Class   string `json:"class,omitempty"`
	Pool    string `json:"pool,omitempty"`
	Device  string `json:"device,omitempty"`
	// AllocationID names the allocation of the claim.
	AllocationID string       `json:"allocationID,omitempty"`
	AllocatedAt  *metav1.Time `json:"allocatedAt,omitempty"`
	Pods         []string     `json:"pods,omitempty"`
	Nodes        []string     `json:"nodes,omitempty"`
	// Quota is the namespace's ResourceQuota, most used first.
	Quota []quotaUsage `json:"quota,omitempty"`
	// RetainedUntil is when the namespace of a former space is deleted.
	RetainedUntil string `json:"retainedUntil,omitempty"`
	// Server is the API server as pods reach it.
	Server         string `json:"server,omitempty"`
	ServiceAccount string `json:"serviceAccount,omitempty"`

	// Share is the result of the allocation that it is for.
	Share allocation.Result `json:"-"`
	// Ready is what the claim's status says of a space that is ready, otherwise nil.
	Ready *spaceapi.SpaceStatus `json:"-"`
}

type claimMetadata struct {
	Name              string      `json:"name"`
	Namespace         string      `json:"namespace"`
	UID               string      `json:"uid"`
	CreationTimestamp metav1.Time `json:"creationTimestamp"`
}

// quotaUsage is how much of one resource a space may have, and uses.
type quotaUsage struct {
	Resource string `json:"resource"`
	Hard     string `json:"hard"`
	// Used is empty if it is not known, and Percent, which is Used of Hard, is -1 then.
	Used    string `json:"used,omitempty"`
	Percent int64  `json:"percent"`
}

// notReady is the error for a command that needs a space that is ready.
func (space *spaceSummary) notReady() error {
	reason := strings.TrimSuffix(space.State+": "+space.Message, ": ")
	return fmt.Errorf("ResourceClaim %s has no space that is ready (%s): kubectl space why %s explains it", space.Metadata.Name, reason, space.Metadata.Name)
}

// spaces are those of the claims in a namespace, or in all if it is empty, and what is
// left of former spaces, by namespace and name of the claim.
func (s *snapshot) spaces(namespace string) []spaceSummary {
	var out []spaceSummary
	for i := range s.claims {
		if s.requestsSpace(&s.claims[i]) {
			out = append(out, s.spacesOf(&s.claims[i])...)
		}
	}
	out = append(out, s.leftovers(func(of claimMetadata) bool { return namespace == "" || of.Namespace == namespace })...)
	slices.SortStableFunc(out, func(a, b spaceSummary) int {
		return cmp.Or(cmp.Compare(a.Metadata.Namespace, b.Metadata.Namespace), cmp.Compare(a.Metadata.Name, b.Metadata.Name), cmp.Compare(a.Request, b.Request))
	})
	return out
}

// spacesOf are those of one claim: one for each result of the driver, or one that says why
// there is none.
func (s *snapshot) spacesOf(claim *resourceapi.ResourceClaim) []spaceSummary {
	base := spaceSummary{
		TypeMeta: metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: "Space"},
		Metadata: claimMetadata{claim.Name, claim.Namespace, string(claim.UID), claim.CreationTimestamp},
		Class:    strings.Join(classesOf(claim.Spec.Devices.Requests...), ","),
	}
	for _, consumer := range claim.Status.ReservedFor {
		if consumer.Resource == "pods" && consumer.APIGroup == "" {
			base.Pods = append(base.Pods, consumer.Name)
		}
	}
	a := allocation.FromClaim(claim, s.driver)
	if a == nil {
		if len(base.Pods) == 0 {
			for _, pod := range s.consumers(claim) {
				base.Pods = append(base.Pods, pod.Name)
			}
		}
		slices.Sort(base.Pods)
		switch {
		case claim.DeletionTimestamp != nil:
			base.State = stateEnded
		case len(base.Pods) == 0 && !s.mayNot(listPods):
			base.State = stateUnused
		default:
			base.State = statePending
		}
		return []spaceSummary{base}
	}
	slices.Sort(base.Pods)
	nodes := s.nodesOf(claim)
	var out []spaceSummary
	for _, result := range a.Results {
		space := base
		space.Share, space.AllocationID = result, a.ID
		space.Request, space.Class, space.Pool, space.Device = result.Request, result.Class, result.Pool, result.Device
		if !a.AllocatedAt.IsZero() {
			space.AllocatedAt = &metav1.Time{Time: a.AllocatedAt}
		}
		ready, data, err := claimstatus.Read(claim, s.driver, a, result)
		switch {
		case err != nil:
			space.State, space.Message = stateProvisioning, err.Error()
		case data != nil:
			space.State, space.Ready = stateReady, data
			space.Space, space.Server, space.ServiceAccount = data.Namespace, data.Server, data.ServiceAccount
		case ready != nil && ready.Status != metav1.ConditionTrue:
			space.State, space.Message = ready.Reason, ready.Message
		default:
			space.State = stateProvisioning
		}
		if data == nil {
			if ns := find(s.namespaces, func(ns *corev1.Namespace) bool { return a.Owns(ns, s.keys()) && result.MatchesName(ns.Name) }); ns != nil {
				space.Space = ns.Name
			}
		}
		space.Nodes, space.Quota = nodes, quotaUsages(s.quota(space.Space))
		out = append(out, space)
	}
	return out
}

// nodesOf are the nodes of the pods that use a claim.
func (s *snapshot) nodesOf(claim *resourceapi.ResourceClaim) []string {
	var nodes []string
	for _, consumer := range claim.Status.ReservedFor {
		if pod := s.pod(claim.Namespace, consumer.Name); pod != nil && pod.UID == consumer.UID && pod.Spec.NodeName != "" {
			nodes = append(nodes, pod.Spec.NodeName)
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes)
}

// quotaUsages is what a space may have, most used first. A limit of zero is not shown: it
// can't be used up.
func quotaUsages(quota *corev1.ResourceQuota) []quotaUsage {
	if quota == nil {
		return nil
	}
	var out []quotaUsage
	for name, hard := range quota.Spec.Hard {
		if hard.IsZero() {
			continue
		}
		usage := quotaUsage{Resource: string(name), Hard: hard.String(), Percent: -1}
		if used, known := quota.Status.Used[name]; known {
			usage.Used, usage.Percent = used.String(), int64(100*used.AsApproximateFloat64()/hard.AsApproximateFloat64())
		}
		out = append(out, usage)
	}
	slices.SortFunc(out, func(a, b quotaUsage) int {
		return cmp.Or(cmp.Compare(b.Percent, a.Percent), cmp.Compare(a.Resource, b.Resource))
	})
	return out
}

// leftoversOf are the namespaces of former spaces of a claim, which may be gone itself.
func (s *snapshot) leftoversOf(namespace, name string) []spaceSummary {
	return s.leftovers(func(of claimMetadata) bool { return of.Namespace == namespace && of.Name == name })
}

// leftovers are the namespaces of former spaces of claims.
func (s *snapshot) leftovers(wanted func(of claimMetadata) bool) []spaceSummary {
	keys := s.keys()
	var out []spaceSummary
	for i := range s.namespaces {
		ns := &s.namespaces[i]
		of := claimMetadata{ns.Annotations[keys.ClaimName], ns.Annotations[keys.ClaimNamespace], ns.Labels[keys.ClaimUID], ns.CreationTimestamp}
		if of.UID == "" || !wanted(of) || allocation.FromClaim(s.claim(of.Namespace, of.Name), s.driver).Owns(ns, keys) {
			continue
		}
		space := spaceSummary{
			TypeMeta: metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: "Space"}, Metadata: of, Space: ns.Name, State: stateEnded,
			Request: ns.Annotations[keys.Request], AllocationID: ns.Labels[keys.AllocationID], RetainedUntil: ns.Annotations[keys.RetainedUntil],
		}
		switch {
		case ns.DeletionTimestamp != nil:
			space.State, space.Message = stateTerminating, whyTerminating(ns)
			if space.Message != "" && s.now.Sub(ns.DeletionTimestamp.Time) > stuckAfter {
				space.State = stateStuck
			}
		case space.RetainedUntil != "":
			space.State = stateRetained
		}
		out = append(out, space)
	}
	return out
}

// whyTerminating is what the conditions of a namespace say is left in it.
func whyTerminating(ns *corev1.Namespace) string {
	var messages []string
	for _, condition := range ns.Status.Conditions {
		if condition.Status == corev1.ConditionTrue {
			messages = append(messages, clause(condition.Message))
		}
	}
	return strings.Join(messages, "; ")
}

// clause is a message without its full stop, to be a part of a sentence.
func clause(message string) string { return strings.TrimRight(strings.TrimSpace(message), ".") }
