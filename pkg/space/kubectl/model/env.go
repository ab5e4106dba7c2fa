// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
	"github.com/space-dra/space-dra-driver/pkg/space/view"
)

// Seen is what a container sees of a space.
type Seen struct {
	Container string   `json:"container"`
	Claim     string   `json:"claim"`
	Request   string   `json:"request"`
	Space     string   `json:"space"`
	Env       []string `json:"env"`
	// Dirs are the directories with the files kubeconfig, token, ca.crt and namespace.
	Dirs []string `json:"dirs"`
}

// EnvOf returns what the containers of a pod see of spaces, in the order of containers.
// The error says which space is not ready, and why can say more.
func (s *Snapshot) EnvOf(pod *corev1.Pod) ([]Seen, error) {
	var out []Seen
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, use := range container.Resources.Claims {
			for _, ref := range pod.Spec.ResourceClaims {
				if ref.Name != use.Name {
					continue
				}
				name, made := ClaimOf(pod, ref)
				if !made {
					return nil, fmt.Errorf("the claim that pod %s calls %s has not been made yet", pod.Name, ref.Name)
				}
				seen, err := s.seen(pod.Namespace, name, container.Name, use.Request)
				if err != nil {
					return nil, err
				}
				out = append(out, seen...)
			}
		}
		if extended := pod.Status.ExtendedResourceClaimStatus; extended != nil {
			for _, mapping := range extended.RequestMappings {
				if mapping.ContainerName != container.Name {
					continue
				}
				seen, err := s.seen(pod.Namespace, extended.ResourceClaimName, container.Name, mapping.RequestName)
				if err != nil {
					return nil, err
				}
				out = append(out, seen...)
			}
		}
	}
	return out, nil
}

// seen is what a container sees of a claim, or of one request of it.
func (s *Snapshot) seen(namespace, name, container, request string) ([]Seen, error) {
	claim := s.Claim(namespace, name)
	if claim == nil {
		return nil, fmt.Errorf("ResourceClaim %s does not exist", name)
	}
	a := identity.Of(claim, s.Driver)
	if a == nil {
		if s.Asks(claim) {
			return nil, fmt.Errorf("ResourceClaim %s has no space: kubectl space why %s says why", name, name)
		}
		return nil, nil // another driver's
	}
	effective := make([]parameters.Effective, len(a.Shares))
	namespaces := make([]string, len(a.Shares))
	server := "" // the same for all
	// The controller has checked the parameters against what the installation has. Here
	// it is not known and need not be: no variable depends on it.
	installation := parameters.Installation{Driver: s.Driver, ClusterRole: spaceapi.DefaultClusterRole, PodSecurity: "privileged", Network: spaceapi.NetworkOpen}
	for i, share := range a.Shares {
		ready, data, err := status.Read(claim, s.Driver, a, share)
		switch {
		case err != nil:
			return nil, err
		case data == nil && ready != nil:
			return nil, fmt.Errorf("ResourceClaim %s has no space: %s: %s", name, ready.Reason, ready.Message)
		case data == nil:
			return nil, fmt.Errorf("ResourceClaim %s has no space yet: kubectl space why %s says why", name, name)
		}
		namespaces[i], server = data.Namespace, data.Server
		if effective[i], err = parameters.For(installation, a.Configs, share.Request, a.Requests()); err != nil {
			return nil, fmt.Errorf("ResourceClaim %s: %w", name, err)
		}
	}
	views, err := view.Of(s.Driver, server, a, effective, namespaces)
	if err != nil {
		return nil, fmt.Errorf("ResourceClaim %s: %w", name, err)
	}
	var out []Seen
	for i, share := range a.Shares {
		if request == "" || request == resourceclaim.BaseRequestRef(share.Request) {
			out = append(out, Seen{container, name, share.Request, namespaces[i], views[i].Env, views[i].Dirs})
		}
	}
	return out, nil
}
