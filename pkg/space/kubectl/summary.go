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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
	"github.com/space-dra/space-dra-driver/pkg/space/deletion"
)

// The states of a space, in addition to the reasons of a Ready condition that is False, and
// DeprovisioningFailed.
const (
	// stateUnused: no pod refers to the claim.
	stateUnused = "Unused"
	// statePending: the claim is not allocated.
	statePending = "Pending"
	// stateProvisioning: the claim is allocated, and the controller has not reported anything.
	stateProvisioning = "Provisioning"
	// stateReady: pods can use the space.
	stateReady = "Ready"
	// stateDeprovisioning: the claim is being deleted, or the controller has yet to deprovision the space.
	// Until then, its credentials may be valid.
	stateDeprovisioning = "Deprovisioning"
	// stateTerminating: the namespace of a deprovisioned space is being deleted.
	stateTerminating = "Terminating"
	// stateContentRemaining: the same, for more than contentRemainingAfter, because it still
	// contains objects, or has finalizers itself. Kubernetes' condition is NamespaceContentRemaining.
	stateContentRemaining = "ContentRemaining"
	// stateRetained: the namespace of a deprovisioned space is retained, without credentials.
	stateRetained = "Retained"
	// stateDeleted: the space was deleted after list -w had shown it.
	stateDeleted = "Deleted"
)

const contentRemainingAfter = time.Minute

var spaceType = metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: "Space"}

// spaceSummary describes one space, or a claim that has none yet. Programs read it: new
// versions only add fields.
type spaceSummary struct {
	metav1.TypeMeta `json:",inline"`
	// ObjectMeta has the name, namespace, UID, labels and creation of the claim.
	metav1.ObjectMeta `json:"metadata"`
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
	// RetainedUntil is when the namespace of a deprovisioned space is deleted.
	RetainedUntil string `json:"retainedUntil,omitempty"`
	// Server is the API server as pods reach it.
	Server         string `json:"server,omitempty"`
	ServiceAccount string `json:"serviceAccount,omitempty"`

	// Result is the space's result in the allocation.
	Result allocation.Result `json:"-"`
	// Ready is the data in the claim's status if the space is ready, otherwise nil.
	Ready *spaceapi.SpaceStatus `json:"-"`
}

// quotaUsage is the limit and the usage of one resource.
type quotaUsage struct {
	Resource string `json:"resource"`
	Hard     string `json:"hard"`
	// Used is empty if it is not known. Percent is 100 * Used / Hard, or nil if Used is not known
	// or Hard is 0.
	Used    string `json:"used,omitempty"`
	Percent *int64 `json:"percent,omitempty"`
}

// notReady returns the error of a command that needs a ready space.
func (space *spaceSummary) notReady() error {
	reason := strings.TrimSuffix(space.State+": "+space.Message, ": ")
	return fmt.Errorf("ResourceClaim %s has no space that is ready (%s): kubectl space why %s explains it", space.Name, reason, space.Name)
}

// spaces returns the spaces of all claims, and the deprovisioned spaces of claims in a
// namespace, or in all namespaces if it is empty, sorted by namespace and name of the claim.
func (s *snapshot) spaces(namespace string) []spaceSummary {
	var out []spaceSummary
	for i := range s.claims {
		if s.requestsSpace(&s.claims[i]) {
			out = append(out, s.spacesOf(&s.claims[i])...)
		}
	}
	out = append(out, s.deprovisionedSpaces(namespace, "")...)
	slices.SortStableFunc(out, func(a, b spaceSummary) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Request, b.Request))
	})
	return out
}

// spacesOf returns a summary for each of the claim's results, or one without a space.
func (s *snapshot) spacesOf(claim *resourceapi.ResourceClaim) []spaceSummary {
	base := spaceSummary{
		TypeMeta:   spaceType,
		ObjectMeta: metav1.ObjectMeta{Name: claim.Name, Namespace: claim.Namespace, UID: claim.UID, Labels: claim.Labels, CreationTimestamp: claim.CreationTimestamp},
		Class:      strings.Join(classesOf(claim), ","),
	}
	for _, consumer := range claim.Status.ReservedFor {
		if consumer.Resource != "pods" || consumer.APIGroup != "" {
			continue
		}
		base.Pods = append(base.Pods, consumer.Name)
		if pod := s.pod(claim.Namespace, consumer.Name); pod != nil && pod.UID == consumer.UID && pod.Spec.NodeName != "" {
			base.Nodes = append(base.Nodes, pod.Spec.NodeName)
		}
	}
	a := allocation.FromClaim(claim, s.driver)
	if a == nil && len(base.Pods) == 0 {
		for _, pod := range s.consumers(claim) {
			base.Pods = append(base.Pods, pod.Name)
		}
	}
	slices.Sort(base.Pods)
	slices.Sort(base.Nodes)
	base.Nodes = slices.Compact(base.Nodes)
	if a == nil {
		switch {
		case claim.DeletionTimestamp != nil:
			base.State = stateDeprovisioning
		case len(base.Pods) == 0 && !s.lacks(listPods):
			base.State = stateUnused
		default:
			base.State = statePending
		}
		return []spaceSummary{base}
	}
	var out []spaceSummary
	for _, result := range a.Results {
		space := base
		space.Result, space.AllocationID = result, a.ID
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
		if failure := s.deprovisioningFailure(claim.UID, result.NamespaceName("")); failure != "" && space.State == spaceapi.ReasonExpired {
			space.State, space.Message = spaceapi.ReasonDeprovisioningFailed, failure
		}
		space.Quota = quotaUsages(find(s.quotas, func(q *corev1.ResourceQuota) bool {
			return q.Namespace == space.Space && q.Name == spaceapi.ObjectName
		}))
		out = append(out, space)
	}
	return out
}

// quotaUsages returns the resources of a quota, most used first.
func quotaUsages(quota *corev1.ResourceQuota) []quotaUsage {
	if quota == nil {
		return nil
	}
	var out []quotaUsage
	for name, hard := range quota.Spec.Hard {
		usage := quotaUsage{Resource: string(name), Hard: hard.String()}
		used, known := quota.Status.Used[name]
		if known {
			usage.Used = used.String()
		}
		if known && !hard.IsZero() {
			usage.Percent = ptr.To(int64(100 * used.AsApproximateFloat64() / hard.AsApproximateFloat64()))
		}
		out = append(out, usage)
	}
	slices.SortFunc(out, func(a, b quotaUsage) int {
		return cmp.Or(cmp.Compare(ptr.Deref(b.Percent, -1), ptr.Deref(a.Percent, -1)), cmp.Compare(a.Resource, b.Resource))
	})
	return out
}

// deprovisionedSpaces returns the deprovisioned spaces of a claim, which may no longer exist. Their
// namespaces belong to no current allocation. An empty namespace or name selects all.
func (s *snapshot) deprovisionedSpaces(namespace, name string) []spaceSummary {
	keys := s.keys()
	var out []spaceSummary
	for i := range s.namespaces {
		ns := &s.namespaces[i]
		claim := metav1.ObjectMeta{
			Name: ns.Annotations[keys.ClaimName], Namespace: ns.Annotations[keys.ClaimNamespace],
			UID: types.UID(ns.Labels[keys.ClaimUID]), CreationTimestamp: ns.CreationTimestamp,
		}
		if namespace != "" && claim.Namespace != namespace || name != "" && claim.Name != name {
			continue
		}
		if claim.UID == "" || allocation.FromClaim(s.claim(claim.Namespace, claim.Name), s.driver).Owns(ns, keys) {
			continue
		}
		space := spaceSummary{
			TypeMeta: spaceType, ObjectMeta: claim, Space: ns.Name, State: stateDeprovisioning,
			Request: ns.Annotations[keys.Request], Class: ns.Annotations[keys.DeviceClass], Pool: ns.Annotations[keys.Pool],
			AllocationID: ns.Labels[keys.AllocationID], RetainedUntil: ns.Annotations[keys.RetainedUntil],
		}
		switch {
		case ns.DeletionTimestamp != nil:
			space.State, space.Message = stateTerminating, strings.Join(deletion.Causes(ns, keys, s.now), "; ")
			if space.Message != "" && s.now.Sub(ns.DeletionTimestamp.Time) > contentRemainingAfter {
				space.State = stateContentRemaining
			}
		case space.RetainedUntil != "":
			space.State = stateRetained
		}
		if failure := s.deprovisioningFailure(claim.UID, ns.Name); failure != "" {
			space.State, space.Message = spaceapi.ReasonDeprovisioningFailed, strings.TrimSuffix(failure+"; "+space.Message, "; ")
		}
		out = append(out, space)
	}
	return out
}

// deprovisioningFailure returns why a space of a claim could not be deprovisioned, or nothing if no
// attempt failed, or if a later one succeeded.
func (s *snapshot) deprovisioningFailure(claim types.UID, namespace string) string {
	last := s.lastEvent(claim, namespace, spaceapi.ReasonDeprovisioningFailed, spaceapi.ReasonDeprovisioned, spaceapi.ReasonNamespaceRetained)
	if last == nil || last.Reason != spaceapi.ReasonDeprovisioningFailed {
		return ""
	}
	return reported(last)
}

// clause returns a message without its full stop.
func clause(message string) string { return strings.TrimRight(strings.TrimSpace(message), ".") }
