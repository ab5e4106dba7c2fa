// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
)

// What a space can be, besides the reasons of its Ready condition.
const (
	// StateUnused: no pod names the claim.
	StateUnused = "Unused"
	// StatePending: the claim is not allocated.
	StatePending = "Pending"
	// StateProvisioning: it is allocated, and the controller has not said anything.
	StateProvisioning = "Provisioning"
	// StateReady: the space can be used.
	StateReady = "Ready"
	// StateTerminating: the namespace of an ended space is being deleted.
	StateTerminating = "Terminating"
	// StateStuck: the same, and something keeps it.
	StateStuck = "StuckTerminating"
	// StateRetained: the namespace is kept without credentials after its end.
	StateRetained = "Retained"
	// StateEnded: the claim is on its way out.
	StateEnded = "Ended"
)

// Space is one space, or a claim that has none yet.
type Space struct {
	metav1.TypeMeta `json:",inline"`
	// Metadata are name, namespace, UID and age of the claim.
	Metadata Metadata `json:"metadata"`
	// Space is the name of its namespace. Empty: not known, or there is none.
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
	Quota        []Quota      `json:"quota,omitempty"`
	// RetainedUntil is when the namespace of an ended space will go.
	RetainedUntil string `json:"retainedUntil,omitempty"`
	// Server is the API server as pods reach it.
	Server         string `json:"server,omitempty"`
	ServiceAccount string `json:"serviceAccount,omitempty"`
}

// Metadata is what of an object's metadata a Space has of its claim.
type Metadata struct {
	Name              string      `json:"name"`
	Namespace         string      `json:"namespace"`
	UID               string      `json:"uid"`
	CreationTimestamp metav1.Time `json:"creationTimestamp"`
}

// Quota is how much of one thing a space may have, and uses.
type Quota struct {
	Resource string `json:"resource"`
	Hard     string `json:"hard"`
	// Used is empty if it is not known.
	Used string `json:"used,omitempty"`
	// Percent is Used of Hard, or -1.
	Percent int64 `json:"percent"`
}

// SpaceKind is the kind of [Space] in what is printed.
const SpaceKind = "Space"

// Spaces are those of the claims in namespace, or in all if it is empty, by namespace
// and name of the claim. After those of living allocations come what is left of others.
func (s *Snapshot) Spaces(namespace string) []Space {
	var out []Space
	living := map[string]bool{}
	for i := range s.Claims {
		claim := &s.Claims[i]
		if namespace != "" && claim.Namespace != namespace || !s.Asks(claim) {
			continue
		}
		for _, space := range s.SpacesOf(claim) {
			living[space.Space] = true
			out = append(out, space)
		}
	}
	keys := s.Keys()
	for i := range s.Namespaces {
		ns := &s.Namespaces[i]
		of := ns.Annotations[keys.ClaimNamespace]
		if ns.Labels[keys.ClaimUID] == "" || living[ns.Name] || namespace != "" && of != namespace {
			continue
		}
		out = append(out, s.remains(ns))
	}
	slices.SortStableFunc(out, func(a, b Space) int {
		return cmp.Or(cmp.Compare(a.Metadata.Namespace, b.Metadata.Namespace), cmp.Compare(a.Metadata.Name, b.Metadata.Name), cmp.Compare(a.Request, b.Request))
	})
	return out
}

// SpacesOf are those of one claim: one for each result of the driver, or one that
// says why there is none.
func (s *Snapshot) SpacesOf(claim *resourceapi.ResourceClaim) []Space {
	base := Space{
		TypeMeta: metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: SpaceKind},
		Metadata: Metadata{Name: claim.Name, Namespace: claim.Namespace, UID: string(claim.UID), CreationTimestamp: claim.CreationTimestamp},
		Class:    strings.Join(ClassesOf(claim), ","),
	}
	for _, consumer := range claim.Status.ReservedFor {
		if consumer.Resource == "pods" && consumer.APIGroup == "" {
			base.Pods = append(base.Pods, consumer.Name)
		}
	}
	a := identity.Of(claim, s.Driver)
	if a == nil {
		base.State = s.stateOfUnallocated(claim)
		if len(base.Pods) == 0 {
			for _, pod := range s.usersOf(claim) {
				base.Pods = append(base.Pods, pod.Name)
			}
		}
		slices.Sort(base.Pods)
		return []Space{base}
	}
	slices.Sort(base.Pods)
	var out []Space
	for _, share := range a.Shares {
		space := base
		space.Request, space.Class, space.Pool, space.Device = share.Request, share.Class, share.Pool, share.Device
		space.AllocationID = a.ID
		if !a.AllocatedAt.IsZero() {
			space.AllocatedAt = &metav1.Time{Time: a.AllocatedAt}
		}
		ready, data, err := status.Read(claim, s.Driver, a, share)
		switch {
		case err != nil:
			space.State, space.Message = StateProvisioning, err.Error()
		case data != nil:
			space.State, space.Space, space.Server, space.ServiceAccount = StateReady, data.Namespace, data.Server, data.ServiceAccount
		case ready != nil && ready.Status != metav1.ConditionTrue:
			space.State, space.Message = ready.Reason, ready.Message
		default:
			space.State = StateProvisioning
		}
		if space.Space == "" {
			space.Space = s.namespaceOf(a, share)
		}
		space.Nodes = s.nodesOf(claim, space.Space)
		space.Quota = quotaOf(s.Quota(space.Space), share)
		out = append(out, space)
	}
	return out
}

func (s *Snapshot) stateOfUnallocated(claim *resourceapi.ResourceClaim) string {
	switch {
	case claim.DeletionTimestamp != nil:
		return StateEnded
	case !s.Missing.Has(ListPods) && len(s.usersOf(claim)) == 0 && len(claim.Status.ReservedFor) == 0:
		return StateUnused
	default:
		return StatePending
	}
}

// namespaceOf finds a space that is not ready by its record.
func (s *Snapshot) namespaceOf(a *identity.Allocation, share identity.Share) string {
	for i := range s.Namespaces {
		if ns := &s.Namespaces[i]; a.Owns(ns, s.Keys()) && share.Names(ns.Name) {
			return ns.Name
		}
	}
	return ""
}

// nodesOf are the nodes of the pods that use a claim. Whoever can't read the pods may
// be able to read the namespace's record, and the allocation of a pool per node says it.
func (s *Snapshot) nodesOf(claim *resourceapi.ResourceClaim, namespace string) []string {
	nodes := map[string]bool{}
	for _, consumer := range claim.Status.ReservedFor {
		if pod := s.Pod(claim.Namespace, consumer.Name); pod != nil && pod.UID == consumer.UID && pod.Spec.NodeName != "" {
			nodes[pod.Spec.NodeName] = true
		}
	}
	if ns := s.Namespace(namespace); len(nodes) == 0 && ns != nil {
		for _, entry := range strings.Split(ns.Annotations[s.Keys().Nodes], ",") {
			if node, _, found := strings.Cut(entry, "="); found {
				nodes[node] = true
			}
		}
	}
	if len(nodes) == 0 && len(claim.Status.ReservedFor) > 0 && claim.Status.Allocation != nil {
		for _, node := range namedNodes(claim.Status.Allocation.NodeSelector) {
			nodes[node] = true
		}
	}
	return slices.Sorted(maps.Keys(nodes))
}

// namedNodes are the nodes that a selector names, if it selects by name.
func namedNodes(selector *corev1.NodeSelector) []string {
	if selector == nil {
		return nil
	}
	var out []string
	for _, term := range selector.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == metav1.ObjectNameField && field.Operator == corev1.NodeSelectorOpIn {
				out = append(out, field.Values...)
			}
		}
	}
	return out
}

// quotaOf is what a space may have, most used first. What can't be had at all is no
// limit to show: it keeps spaces from asking for spaces. Without the quota itself,
// the part of the pool's budget is known.
func quotaOf(quota *corev1.ResourceQuota, share identity.Share) []Quota {
	hard, used := corev1.ResourceList{}, corev1.ResourceList{}
	if quota != nil {
		hard, used = quota.Spec.Hard, quota.Status.Used
	} else {
		for capacity, part := range share.ConsumedCapacity {
			if name := spaceapi.QuotaName(string(capacity)); name != "" {
				hard[name] = part
			}
		}
	}
	var out []Quota
	for name, limit := range hard {
		if limit.IsZero() {
			continue
		}
		q := Quota{Resource: string(name), Hard: limit.String(), Percent: -1}
		if u, known := used[name]; known {
			q.Used, q.Percent = u.String(), percent(u, limit)
		}
		out = append(out, q)
	}
	slices.SortFunc(out, func(a, b Quota) int {
		return cmp.Or(-cmp.Compare(a.Percent, b.Percent), cmp.Compare(a.Resource, b.Resource))
	})
	return out
}

func percent(used, hard resource.Quantity) int64 {
	return int64(100 * used.AsApproximateFloat64() / hard.AsApproximateFloat64())
}
