// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package parameters reads the opaque parameters that came with an allocation.
// The scheduler copies them into the claim when it allocates, so that they do not
// change for as long as the allocation lives.
package parameters

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	kjson "sigs.k8s.io/json"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// Effective is what holds for one space, after all that was said about it. A field
// at its zero value leaves it at what the installation has.
type Effective struct {
	// NamespacePrefix starts the namespace's name.
	NamespacePrefix string
	// Labels and Annotations are added to the Namespace.
	Labels      map[string]string
	Annotations map[string]string

	// ClusterRole is given in the namespace, ClusterWideRoles in the whole cluster.
	ClusterRole      string
	ClusterWideRoles []string

	PodSecurity spaceapi.PodSecurity
	// ResourceQuota and LimitRange limit what is used in the namespace. Empty: no limits.
	ResourceQuota corev1.ResourceList
	LimitRange    []corev1.LimitRangeItem
	// NestedSpaces allows pods in the space to ask for spaces.
	NestedSpaces bool
	Network      spaceapi.NetworkIsolation
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

// For returns what holds for the space of a request: of several parameters of one
// source, later ones win field by field. The error is about the first that is not
// as it should be, and names the object to change.
func For(driver string, configs []resourceapi.DeviceAllocationConfiguration, request string) (Effective, error) {
	var out Effective
	ours := resourceclaim.ConfigForResult(configs, resourceapi.DeviceRequestAllocationResult{Request: request})
	for _, config := range ours {
		if config.Opaque.Driver != driver {
			continue
		}
		if err := out.add(config); err != nil {
			return Effective{}, fmt.Errorf("the %s has parameters for driver %s %w", source(config), driver, err)
		}
	}
	return out, nil
}

func source(config resourceapi.DeviceAllocationConfiguration) string {
	if config.Source == resourceapi.AllocationConfigSourceClass {
		return "DeviceClass"
	}
	return "ResourceClaim"
}

func (e *Effective) add(config resourceapi.DeviceAllocationConfiguration) error {
	raw := config.Opaque.Parameters.Raw
	var meta metav1.TypeMeta
	if err := json.Unmarshal(raw, &meta); err != nil {
		return fmt.Errorf("that cannot be read: %w", err)
	}
	if meta.APIVersion != spaceapi.APIVersion || meta.Kind != spaceapi.SpaceClassConfigKind {
		return fmt.Errorf("of unknown kind %q, apiVersion %q: this version knows %s, %s, in a DeviceClass",
			meta.Kind, meta.APIVersion, spaceapi.SpaceClassConfigKind, spaceapi.APIVersion)
	}
	if config.Source != resourceapi.AllocationConfigSourceClass {
		return fmt.Errorf("of kind %s, which only a DeviceClass can have", meta.Kind)
	}
	var class spaceapi.SpaceClassConfig
	strict, err := kjson.UnmarshalStrict(raw, &class)
	if err = errors.Join(append(strict, err)...); err != nil {
		return fmt.Errorf("that are not as they should be: %w", err)
	}
	for _, field := range []struct {
		name string
		from *metav1.Duration
		to   *time.Duration
	}{
		{"maxLifetime", class.MaxLifetime, &e.MaxLifetime},
		{"retain", class.Retain, &e.Retain},
	} {
		if field.from == nil {
			continue
		}
		if field.from.Duration <= 0 {
			return fmt.Errorf("that are not as they should be: %s: %s is not more than zero", field.name, field.from.Duration)
		}
		*field.to = field.from.Duration
	}
	return nil
}
