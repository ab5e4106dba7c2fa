// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"maps"
	"math"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

// namespace returns the Namespace, whose metadata is the driver's record of the space.
func (e Environment) namespace(a *allocation.Allocation, result allocation.Result, name string, space config.SpaceConfig) *corev1.Namespace {
	keys := spaceapi.KeysFor(e.Driver)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}, Annotations: map[string]string{}}}
	// Validation rejects keys of class and claim in the domains of the driver and of Pod
	// Security admission.
	maps.Copy(ns.Labels, space.Labels)
	maps.Copy(ns.Annotations, space.Annotations)
	maps.Copy(ns.Labels, e.labels(a))
	maps.Copy(ns.Annotations, e.annotations(a, result))
	for label, value := range map[string]string{
		"enforce": space.PodSecurity.Enforce, "enforce-version": space.PodSecurity.EnforceVersion,
		"audit": space.PodSecurity.Audit, "audit-version": space.PodSecurity.AuditVersion,
		"warn": space.PodSecurity.Warn, "warn-version": space.PodSecurity.WarnVersion,
	} {
		if value != "" {
			ns.Labels["pod-security.kubernetes.io/"+label] = value
		}
	}
	// For the admission policy that prevents tenants from adding NetworkPolicies.
	if space.Network.Mode == spaceapi.NetworkIsolated {
		ns.Labels[keys.Network] = string(spaceapi.NetworkIsolated)
	}
	// For the admission policy that rejects requests for spaces in a space.
	if space.AllowNestedSpaces {
		ns.Labels[keys.NestedSpaces] = spaceapi.NestedSpacesAllowed
	}
	if result.Class != "" {
		ns.Annotations[keys.DeviceClass] = result.Class
	}
	ns.Annotations[keys.Pool] = result.Pool
	// For the admission policy that restricts the tokens of nodes.
	if len(e.TokenAudiences) > 0 {
		ns.Annotations[keys.TokenAudiences] = strings.Join(e.TokenAudiences, ",")
	}
	seconds := math.Ceil(space.MaxTerminationGracePeriod.Seconds())
	ns.Annotations[keys.MaxTerminationGracePeriod] = strconv.FormatInt(int64(seconds), 10)
	ns.Annotations[keys.Config] = space.Encode()
	return ns
}

// Inherit adds to the Namespace the labels with these keys, of the labels of the claim's namespace. It
// does not replace labels.
func (s Objects) Inherit(keys []string, labels map[string]string) {
	for _, key := range keys {
		value, exists := labels[key]
		if _, own := s.Namespace.Labels[key]; exists && !own {
			s.Namespace.Labels[key] = value
		}
	}
}
