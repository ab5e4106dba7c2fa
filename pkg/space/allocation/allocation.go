// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package allocation identifies the allocation of a ResourceClaim and names its spaces.
// All functions depend only on the claim, so that all components get the same result, even
// after a restart.
package allocation

import (
	"crypto/sha256"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// alphabet contains the characters that Kubernetes uses for generated names. It contains no vowels,
// which could spell words, and no digits that look like letters.
const alphabet = "bcdfghjklmnpqrstvwxz2456789"

const (
	// SuffixLength is the number of characters that follow the prefix in a namespace's name.
	// They encode 47 bits: with 10,000 spaces, the probability that any two names are equal is one
	// in four million. The controller detects and reports equal names.
	SuffixLength = 10
	// idLength is the length of allocation IDs. They can be longer, because users do not type them.
	idLength = 20
	// extendedResourceClaimName is the PodClaimName of the claim that the scheduler creates for the
	// extended resources of a pod.
	extendedResourceClaimName = "space"
)

// Allocation is the part of a claim's allocation that belongs to this driver.
type Allocation struct {
	// ID identifies the allocation. A claim that is deallocated and allocated again keeps
	// its UID, and gets a new ID.
	ID string
	// Claim and ClaimUID identify the claim.
	Claim    types.NamespacedName
	ClaimUID types.UID
	// PodClaimName is the name of the claim in paths and variables. For a claim from a template, it is
	// the name in the pod's spec. For a claim that the scheduler created for an extended resource, it
	// is "space". For other claims, it is the claim's name.
	PodClaimName string
	// FromTemplate means that the claim was created from a template.
	FromTemplate bool
	// Results are the driver's results in the allocation, in the same order. There is at least one.
	Results []Result
	// AllocatedAt is the time at which the scheduler allocated the claim, by its clock and rounded to
	// seconds. It is zero before Kubernetes 1.36.
	AllocatedAt time.Time
	// Configs are the parameters that the scheduler copied when it allocated the claim.
	Configs []resourceapi.DeviceAllocationConfiguration
}

// Result is a result of the driver in an allocation. Each result is a space.
type Result struct {
	resourceapi.DeviceRequestAllocationResult
	// Class is the DeviceClass that the request names.
	Class string
	// Subdir distinguishes the spaces of one claim, in directories and variables. It is
	// empty if there is only one. Otherwise, it is the request's name, with a dot and a number
	// appended if the request has several devices.
	Subdir string

	suffix string
}

// NamespaceName returns the name of the space's namespace with this prefix.
func (r Result) NamespaceName(prefix string) string {
	return prefix + r.suffix
}

// MatchesName reports whether a namespace with this name, and any prefix, can belong to the result.
func (r Result) MatchesName(namespace string) bool {
	return strings.HasSuffix(namespace, r.suffix)
}

// FromClaim returns the claim's active allocation, or nil if it has no result of this driver. A claim
// that is being deleted without the finalizer resource.kubernetes.io/delete-protection counts as
// deallocated although it still has an allocation: the scheduler leaves claims for extended resources
// in this state.
func FromClaim(claim *resourceapi.ResourceClaim, driver string) *Allocation {
	if claim == nil || claim.Status.Allocation == nil {
		return nil
	}
	if claim.DeletionTimestamp != nil && !slices.Contains(claim.Finalizers, resourceapi.Finalizer) {
		return nil
	}
	a := &Allocation{
		Claim:    types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name},
		ClaimUID: claim.UID,
		Configs:  claim.Status.Allocation.Devices.Config,
	}
	a.PodClaimName, a.FromTemplate = podClaimName(claim)
	for _, result := range claim.Status.Allocation.Devices.Results {
		if result.Driver == driver {
			a.Results = append(a.Results, Result{DeviceRequestAllocationResult: result, Class: classOf(claim, result.Request)})
		}
	}
	if len(a.Results) == 0 {
		return nil
	}

	fields := []string{string(claim.UID)}
	for _, result := range a.Results {
		fields = append(fields, result.fields()...)
	}
	if claim.Status.Allocation.AllocationTimestamp != nil {
		a.AllocatedAt = claim.Status.Allocation.AllocationTimestamp.Time
		fields = append(fields, fmt.Sprint(a.AllocatedAt.Unix()))
	}
	a.ID = encode(idLength, fields)

	setSubdirs(a.Results)
	for i, result := range a.Results {
		a.Results[i].suffix = encode(SuffixLength, append([]string{a.ID}, result.fields()...))
	}
	return a
}

// Owns reports whether a namespace belongs to this allocation, according to its labels and its name.
// It ignores the prefix, because existing spaces keep their names when the configured prefix changes.
func (a *Allocation) Owns(ns *corev1.Namespace, keys spaceapi.Keys) bool {
	if a == nil || ns.Labels[keys.ClaimUID] != string(a.ClaimUID) || ns.Labels[keys.AllocationID] != a.ID {
		return false
	}
	return slices.ContainsFunc(a.Results, func(r Result) bool { return r.MatchesName(ns.Name) })
}

// fields returns the fields that identify a result.
func (r Result) fields() []string {
	return []string{r.Request, r.Pool, r.Device, string(ptr.Deref(r.ShareID, ""))}
}

// encode returns a hash of fields in characters of the alphabet. Each field is preceded by its length,
// so that no two lists of fields have the same encoding.
func encode(length int, fields []string) string {
	h := sha256.New()
	for _, field := range fields {
		fmt.Fprintf(h, "%d:%s", len(field), field)
	}
	n := new(big.Int).SetBytes(h.Sum(nil))
	base := big.NewInt(int64(len(alphabet)))
	digit := new(big.Int)
	out := make([]byte, length)
	for i := range out {
		n.DivMod(n, base, digit)
		out[i] = alphabet[digit.Int64()]
	}
	return string(out)
}

// classOf returns the DeviceClass of a request, or of a subrequest of a prioritized list. It is empty
// if there is no such request.
func classOf(claim *resourceapi.ResourceClaim, name string) string {
	for _, request := range claim.Spec.Devices.Requests {
		if request.Exactly != nil && request.Name == name {
			return request.Exactly.DeviceClassName
		}
		for _, sub := range request.FirstAvailable {
			if resourceclaim.CreateSubRequestRef(request.Name, sub.Name) == name {
				return sub.DeviceClassName
			}
		}
	}
	return ""
}

// podClaimName returns the claim's name in the pod, and whether it was created from a template.
func podClaimName(claim *resourceapi.ResourceClaim) (name string, fromTemplate bool) {
	// Users can write the annotation, which becomes part of a path. Names in a pod's spec are DNS
	// labels.
	if name := claim.Annotations[resourceapi.PodResourceClaimAnnotation]; len(validation.IsDNS1123Label(name)) == 0 {
		return name, true
	}
	// The pod's spec does not name such a claim, and programs cannot predict its generated name.
	if claim.Annotations[resourceapi.ExtendedResourceClaimAnnotation] == "true" {
		return extendedResourceClaimName, false
	}
	return claim.Name, false
}

// setSubdirs sets the subdirectories of results.
func setSubdirs(results []Result) {
	if len(results) == 1 {
		return
	}
	count := map[string]int{}
	for _, result := range results {
		count[resourceclaim.BaseRequestRef(result.Request)]++
	}
	next := map[string]int{}
	for i := range results {
		base := resourceclaim.BaseRequestRef(results[i].Request)
		results[i].Subdir = base
		if count[base] > 1 {
			results[i].Subdir = fmt.Sprintf("%s.%d", base, next[base])
			next[base]++
		}
	}
}
