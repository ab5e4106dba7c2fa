// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

// podSecurityDomain is the domain of Pod Security admission's labels.
const podSecurityDomain = "pod-security.kubernetes.io/"

// namespace describes the Namespace, which records what the space was given.
func (e Environment) namespace(a *allocation.Allocation, result allocation.Result, name string, space config.SpaceConfig) *corev1.Namespace {
	keys := spaceapi.KeysFor(e.Driver)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: e.labels(a), Annotations: e.annotations(a, result)}}
	e.add(ns.Labels, space.Labels)
	e.add(ns.Annotations, space.Annotations)
	for label, value := range map[string]string{
		"enforce": space.PodSecurity.Enforce, "enforce-version": space.PodSecurity.EnforceVersion,
		"audit": space.PodSecurity.Audit, "audit-version": space.PodSecurity.AuditVersion,
		"warn": space.PodSecurity.Warn, "warn-version": space.PodSecurity.WarnVersion,
	} {
		if value != "" {
			ns.Labels[podSecurityDomain+label] = value
		}
	}
	// For the admission policy that keeps tenants from opening it.
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
	ns.Annotations[keys.Config] = space.Encode()
	return ns
}

// add adds labels or annotations of class and claim, but none that the driver or Pod
// Security admission reads.
func (e Environment) add(to, from map[string]string) {
	for key, value := range from {
		if !strings.HasPrefix(key, e.Driver+"/") && !strings.HasPrefix(key, podSecurityDomain) {
			to[key] = value
		}
	}
}
