// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package resources_test

import (
	"net"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

func isolated(s *config.SpaceConfig) { s.Network.Mode = spaceapi.NetworkIsolated }

func TestObjects_networkPolicyIsolatesTheSpace(t *testing.T) {
	s := environment
	s.APIServer = []resources.Destination{
		{CIDR: "10.96.0.1/32", Port: 443},
		{CIDR: "fd00::/64"},
	}
	s.DNS = resources.DNS{Namespace: "dns", Labels: map[string]string{"app": "dns"}, Port: 5353, CIDRs: []net.IPNet{{IP: net.IPv4(169, 254, 20, 10), Mask: net.CIDRMask(32, 32)}}}
	policy := spaceWith(t, s, isolated).NetworkPolicy
	network := spaceapi.KeysFor(s.Driver).Network
	if got := spaceWith(t, s, isolated).Namespace.Labels[network]; got != "Isolated" {
		t.Errorf("got label %q", got)
	}
	if policy.Name != "space" || !slices.Equal(policy.Spec.PolicyTypes, []networkingv1.PolicyType{"Ingress", "Egress"}) || len(policy.Spec.PodSelector.MatchLabels) != 0 {
		t.Errorf("got %+v", policy)
	}
	sameSpace := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}}
	if in := policy.Spec.Ingress; len(in) != 1 || !equality.Semantic.DeepEqual(in[0].From, []networkingv1.NetworkPolicyPeer{sameSpace}) {
		t.Errorf("got ingress %+v", in)
	}
	var out []string
	for _, rule := range policy.Spec.Egress {
		// An empty list allows all destinations.
		if len(rule.To) == 0 {
			t.Fatalf("a rule allows all destinations: %+v", rule)
		}
		var peers []string
		for _, peer := range rule.To {
			switch {
			case peer.IPBlock != nil:
				peers = append(peers, peer.IPBlock.CIDR)
			case equality.Semantic.DeepEqual(peer, sameSpace):
				peers = append(peers, "same space")
			default:
				peers = append(peers, metav1.FormatLabelSelector(peer.NamespaceSelector)+" "+metav1.FormatLabelSelector(peer.PodSelector))
			}
		}
		to := strings.Join(peers, ", ")
		for _, port := range rule.Ports {
			to += " " + string(*port.Protocol) + " " + port.Port.String()
		}
		out = append(out, to)
	}
	want := []string{"same space", "kubernetes.io/metadata.name=dns app=dns, 169.254.20.10/32 UDP 5353 TCP 5353", "10.96.0.1/32 TCP 443", "fd00::/64"}
	if !slices.Equal(out, want) {
		t.Errorf("got egress %q, want %q", out, want)
	}
	if open := spaceWith(t, s, unchanged); open.NetworkPolicy != nil || open.Namespace.Labels[network] != "" {
		t.Errorf("open: got %v, labels %v", open.NetworkPolicy, open.Namespace.Labels)
	}
}

func TestObjects_networkPolicyHasTheRulesOfTheClass(t *testing.T) {
	port := intstr.FromInt32(8080)
	policy := spaceWith(t, environment, func(s *config.SpaceConfig) {
		isolated(s)
		s.Network.Ingress = []networkingv1.NetworkPolicyIngressRule{{
			From: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}}, Ports: []networkingv1.NetworkPolicyPort{{Port: &port}},
		}}
		s.Network.Egress = []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "203.0.113.0/24"}}}}}
	}).NetworkPolicy
	if in := policy.Spec.Ingress; len(in) != 2 || in[1].From[0].NamespaceSelector == nil || in[1].Ports[0].Port.IntVal != 8080 || *in[1].Ports[0].Protocol != "TCP" {
		t.Errorf("got ingress %+v", in)
	}
	if out := policy.Spec.Egress; len(out) != 3 || out[1].To[0].IPBlock.CIDR != "203.0.113.0/24" {
		t.Errorf("got egress %+v", out)
	}
}

func TestDiffersOnlyInEnvironment_ignoresAddressesOnly(t *testing.T) {
	for name, change := range map[string]func(*config.SpaceConfig){
		"isolated": isolated,
		"with rules of the class": func(s *config.SpaceConfig) {
			isolated(s)
			s.Network.Egress = []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "203.0.113.0/24"}}}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := spaceWith(t, environment, change).NetworkPolicy
			e := environment
			e.APIServer = []resources.Destination{{CIDR: "10.0.0.1/32", Port: 6443}}
			e.DNS.Port = 5353
			space := spaceWith(t, e, change)
			if !space.DiffersOnlyInEnvironment(before) {
				t.Error("got false after the cluster changed")
			}
			opened, out, emptied := before.DeepCopy(), before.DeepCopy(), before.DeepCopy()
			opened.Spec.Ingress = append(opened.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{})
			out.Spec.Egress[0].To = nil
			emptied.Spec.Egress = nil
			for _, changed := range []*networkingv1.NetworkPolicy{opened, out, emptied} {
				if space.DiffersOnlyInEnvironment(changed) {
					t.Errorf("got true after the policy changed: %+v", changed.Spec)
				}
			}
		})
	}
}
