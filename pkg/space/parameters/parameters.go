// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package parameters reads the opaque parameters that came with an allocation and
// says what holds for each space. The scheduler copies them into the claim when it
// allocates, so that they do not change for as long as the allocation lives. All
// functions are pure.
package parameters

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/dynamic-resource-allocation/resourceclaim"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// Installation is what holds where neither class nor claim say anything.
type Installation struct {
	// Driver is the driver's name.
	Driver string
	// ClusterRole is what the ServiceAccount may do in its namespace.
	ClusterRole string
	// PodSecurity is the standard that pods have to keep.
	PodSecurity string
	// Network says whom pods can reach.
	Network spaceapi.NetworkIsolation
}

// Effective is what holds for one space, after all that was said about it. Unless a
// field says otherwise, at its zero value it leaves it at what the installation has.
type Effective struct {
	// NamespacePrefix starts the namespace's name.
	NamespacePrefix string
	// Labels and Annotations are added to the Namespace.
	Labels      map[string]string
	Annotations map[string]string

	// ClusterRole is given in the namespace, ClusterWideRoles in the whole cluster.
	// ClusterRole is always set.
	ClusterRole      string
	ClusterWideRoles []string

	// PodSecurity has Enforce always set. Empty Audit, Warn: not said.
	PodSecurity spaceapi.PodSecurity
	// ResourceQuota and LimitRange limit what is used in the namespace. Empty: no limits.
	ResourceQuota corev1.ResourceList
	LimitRange    []corev1.LimitRangeItem
	// NestedSpaces allows pods in the space to ask for spaces.
	NestedSpaces bool
	// Network is always set.
	Network spaceapi.NetworkIsolation
	// Copy names what is copied into the namespace. Nil: nothing.
	Copy *spaceapi.Copy

	// TokenLifetime is what to ask for. Zero: what the installation has.
	TokenLifetime time.Duration
	// MaxLifetime is how long the space may exist. Zero: without a limit.
	MaxLifetime time.Duration
	// Retain is how long the namespace is kept after its end. Zero: not at all.
	Retain time.Duration

	// AdminAccess lets a claim with adminAccess have the space, to read.
	AdminAccess bool
	// Exclusive keeps a second pod from using the claim.
	Exclusive bool

	// VariablePrefix replaces the usual prefix. Empty: it does not.
	VariablePrefix string
	// MountPath is one more directory in containers. Empty: none.
	MountPath     string
	InCluster     bool
	KubeconfigEnv bool
	// AdminParameters and UserParameters become variables.
	AdminParameters map[string]string
	UserParameters  map[string]string
}

// For returns what holds for the space of a request. all are the requests of all
// the driver's results in the allocation, one for each result. Of several
// parameters of one source, later ones win field by field; those of the claim then
// restrict what the class gives. The error names the object to change and has all
// errors of the first parameters that are invalid. Beside an error about what a class
// does not allow there is the class's MaxLifetime and nothing else: it holds for a
// space that was given before the installation changed.
func For(installation Installation, configs []resourceapi.DeviceAllocationConfiguration, request string, all []string) (Effective, error) {
	var class spaceapi.SpaceClassConfig
	var claim spaceapi.SpaceClaimConfig
	for _, config := range configs {
		if !isAbout(config, request) || config.Opaque.Driver != installation.Driver {
			continue
		}
		raw := config.Opaque.Parameters.Raw
		if config.Source == resourceapi.AllocationConfigSourceClass {
			more, errs := spaceapi.DecodeSpaceClassConfig(raw, installation.Driver)
			if len(errs) > 0 {
				return Effective{}, fmt.Errorf("the DeviceClass has invalid parameters: %s", summary(errs))
			}
			mergeClass(&class, more)
			continue
		}
		more, errs := spaceapi.DecodeSpaceClaimConfig(raw, installation.Driver)
		if requests := requestsOf(config, all); more.VariablePrefix != "" && len(requests) > 1 {
			errs = append(errs, field.Forbidden(field.NewPath("variablePrefix"), "several spaces would get variables of the same names: "+strings.Join(requests, ", ")))
		}
		if len(errs) > 0 {
			return Effective{}, fmt.Errorf("the ResourceClaim has invalid parameters: %s", summary(errs))
		}
		mergeClaim(&claim, more)
	}
	out := installation.with(&class)
	if errs := out.restrict(&class, &claim); len(errs) > 0 {
		return Effective{MaxLifetime: installation.with(&class).MaxLifetime}, fmt.Errorf("the ResourceClaim has parameters that its DeviceClass does not allow: %s", summary(errs))
	}
	return out, nil
}

// These keep a message short enough for an event, which has 1024 bytes.
const (
	maxSummary = 800
	maxError   = 300
)

// summary joins errors to one line that is safe to show on a terminal.
func summary(errs field.ErrorList) string {
	var out strings.Builder
	for i, err := range errs {
		text := printable(err.Error())
		if i > 0 && out.Len()+len(text) > maxSummary {
			fmt.Fprintf(&out, "; and %d more", len(errs)-i)
			break
		}
		if i > 0 {
			out.WriteString("; ")
		}
		out.WriteString(text)
	}
	return out.String()
}

// printable shortens a text, and replaces what could upset a terminal: names of fields
// are the user's words.
func printable(text string) string {
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

func isAbout(config resourceapi.DeviceAllocationConfiguration, request string) bool {
	return len(resourceclaim.ConfigForResult([]resourceapi.DeviceAllocationConfiguration{config}, resourceapi.DeviceRequestAllocationResult{Request: request})) > 0
}

// requestsOf are those of the requests that parameters are for.
func requestsOf(config resourceapi.DeviceAllocationConfiguration, all []string) []string {
	var out []string
	for _, request := range all {
		if isAbout(config, request) {
			out = append(out, request)
		}
	}
	return out
}
