// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package allocation says which allocation a ResourceClaim has and what its spaces
// are called. Everything here is a pure function of the claim, so that each
// component, also after a restart, comes to the same answer.
package allocation

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"math/big"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/dynamic-resource-allocation/resourceclaim"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// alphabet has no vowels and no digits that look like letters, so that names
// spell nothing and are read out without mistakes. Kubernetes uses the same one
// for generated names.
const alphabet = "bcdfghjklmnpqrstvwxz2456789"

const (
	// suffixLength characters of the alphabet hold 47 bits: at 10,000 spaces the
	// chance that any two names meet is one in four million, and a meeting is
	// noticed, not acted upon.
	suffixLength = 10
	// idLength is generous, because an allocation ID is compared, never typed.
	idLength = 20
	// extendedResourceName is what a pod is taken to call the claim that the
	// scheduler made for its extended resources.
	extendedResourceName = "space"
)

// Allocation is one allocation of one claim, reduced to what is ours in it.
type Allocation struct {
	// ID names this allocation of this claim. A claim that is deallocated and
	// allocated again keeps its UID, but not this.
	ID string
	// Claim and ClaimUID say whose allocation it is.
	Claim    types.NamespacedName
	ClaimUID types.UID
	// PodClaimName is what the pod calls the claim: for a claim made from a
	// template the name in the pod's spec, for one that the scheduler made for an
	// extended resource "space", else the claim's own name.
	PodClaimName string
	// Results are our results in it, in the order of the allocation, at least one.
	Results []Result
	// AllocatedAt is when the scheduler allocated the claim, in whole seconds by
	// its clock. Zero in clusters before Kubernetes 1.36.
	AllocatedAt time.Time
	// Configs are the parameters that were valid when the claim was allocated.
	Configs []resourceapi.DeviceAllocationConfiguration
}

// Result is one result of our driver in an allocation: one space.
type Result struct {
	// Request is as in the result: for a prioritized list with the subrequest.
	Request string
	// Class is the DeviceClass that the request names.
	Class  string
	Pool   string
	Device string
	// ShareID is nil for a device that only one claim can have.
	ShareID *types.UID
	// ConsumedCapacity is what the space consumes of its pool's limit and budget, by
	// the capacities' names. Nil for a pool without a limit and for exclusive devices.
	ConsumedCapacity map[resourceapi.QualifiedName]resource.Quantity
	// AdminAccess is true when the result was given for administrative access.
	AdminAccess bool
	// BindingConditions is true when the scheduler waits for the space before it
	// binds a pod to a node.
	BindingConditions bool
	// Subdir tells the spaces of one claim apart, in directories and variables:
	// empty when there is only one, else the request's name, with a dot and a
	// number appended where a request got several devices.
	Subdir string

	suffix string
}

// NamespaceName is the name of the space's namespace, when it is made with this
// prefix.
func (s Result) NamespaceName(prefix string) string {
	return prefix + s.suffix
}

// MatchesName says whether a namespace of this name can be the share's, whatever the
// prefix was when it was made.
func (s Result) MatchesName(namespace string) bool {
	return strings.HasSuffix(namespace, s.suffix)
}

// FromClaim returns the claim's living allocation, or nil when the claim has none with a
// result of this driver. A claim that is being deleted and has lost the built-in
// finalizer counts as deallocated although its allocation is still to be seen:
// the scheduler leaves extended-resource claims behind like that.
func FromClaim(claim *resourceapi.ResourceClaim, driver string) *Allocation {
	if claim == nil || claim.Status.Allocation == nil {
		return nil
	}
	if claim.DeletionTimestamp != nil && !slices.Contains(claim.Finalizers, resourceapi.Finalizer) {
		return nil
	}
	allocation := claim.Status.Allocation
	a := &Allocation{
		Claim:        types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name},
		ClaimUID:     claim.UID,
		PodClaimName: podClaimName(claim),
		Configs:      allocation.Devices.Config,
	}
	for _, result := range allocation.Devices.Results {
		if result.Driver != driver {
			continue
		}
		a.Results = append(a.Results, Result{
			Request:     result.Request,
			Class:       ClassOf(claim.Spec, result.Request),
			Pool:        result.Pool,
			Device:      result.Device,
			ShareID:     result.ShareID,
			AdminAccess: result.AdminAccess != nil && *result.AdminAccess,

			ConsumedCapacity:  result.ConsumedCapacity,
			BindingConditions: len(result.BindingConditions) > 0,
		})
	}
	if len(a.Results) == 0 {
		return nil
	}

	h := sha256.New()
	write(h, string(claim.UID))
	for _, s := range a.Results {
		s.hash(h)
	}
	if allocation.AllocationTimestamp != nil {
		a.AllocatedAt = allocation.AllocationTimestamp.Time
		write(h, fmt.Sprint(allocation.AllocationTimestamp.Unix()))
	}
	a.ID = encode(h.Sum(nil), idLength)

	setSubdirs(a.Results)
	for i := range a.Results {
		h := sha256.New()
		write(h, a.ID)
		a.Results[i].hash(h)
		a.Results[i].suffix = encode(h.Sum(nil), suffixLength)
	}
	return a
}

// Requests are the requests of the shares, one for each.
func (a *Allocation) Requests() []string {
	out := make([]string, len(a.Results))
	for i, s := range a.Results {
		out[i] = s.Request
	}
	return out
}

// Owns says whether the namespace is one of this allocation's spaces, by its
// record and by its name. The prefix does not matter: a space keeps its name when
// the configuration changes.
func (a *Allocation) Owns(ns *corev1.Namespace, keys spaceapi.Keys) bool {
	if a == nil || ns.Labels[keys.ClaimUID] != string(a.ClaimUID) || ns.Labels[keys.AllocationID] != a.ID {
		return false
	}
	return slices.ContainsFunc(a.Results, func(s Result) bool { return s.MatchesName(ns.Name) })
}

func (s Result) hash(h hash.Hash) {
	share := ""
	if s.ShareID != nil {
		share = string(*s.ShareID)
	}
	write(h, s.Request, s.Pool, s.Device, share)
}

// write separates the fields by their lengths, so that no two lists of fields
// give the same bytes.
func write(h hash.Hash, fields ...string) {
	for _, f := range fields {
		fmt.Fprintf(h, "%d:%s", len(f), f)
	}
}

func encode(sum []byte, length int) string {
	n := new(big.Int).SetBytes(sum)
	base := big.NewInt(int64(len(alphabet)))
	digit := new(big.Int)
	out := make([]byte, length)
	for i := range out {
		n.DivMod(n, base, digit)
		out[i] = alphabet[digit.Int64()]
	}
	return string(out)
}

// ClassOf returns the DeviceClass of a request, which for a prioritized list is named
// with its subrequest. It is empty if there is no such request.
func ClassOf(spec resourceapi.ResourceClaimSpec, name string) string {
	for _, request := range spec.Devices.Requests {
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

func podClaimName(claim *resourceapi.ResourceClaim) string {
	// Whoever writes a claim can write the annotation, so it may be anything,
	// while it becomes part of a path. In a pod's spec it is a DNS label.
	if name := claim.Annotations[resourceapi.PodResourceClaimAnnotation]; len(validation.IsDNS1123Label(name)) == 0 {
		return name
	}
	// The pod says nothing of such a claim, whose name is generated, so that what
	// runs in the pod could not know it.
	if claim.Annotations[resourceapi.ExtendedResourceClaimAnnotation] == "true" {
		return extendedResourceName
	}
	return claim.Name
}

func setSubdirs(shares []Result) {
	if len(shares) == 1 {
		return
	}
	count := map[string]int{}
	for _, s := range shares {
		count[resourceclaim.BaseRequestRef(s.Request)]++
	}
	next := map[string]int{}
	for i := range shares {
		base := resourceclaim.BaseRequestRef(shares[i].Request)
		shares[i].Subdir = base
		if count[base] > 1 {
			shares[i].Subdir = fmt.Sprintf("%s.%d", base, next[base])
			next[base]++
		}
	}
}

// EnvPrefix turns a name into the start of environment variables' names:
// upper case, and `_` for whatever a variable's name can't contain.
func EnvPrefix(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		default:
			return '_'
		}
	}, name)
}
