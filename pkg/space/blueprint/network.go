// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package blueprint

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

// Destination is an address that pods of isolated spaces can reach.
type Destination struct {
	CIDR netip.Prefix
	// Port is a TCP port. Zero: all ports of all protocols.
	Port int32
}

// DNS is where the cluster's names are resolved.
type DNS struct {
	// Namespace and Labels are those of its pods, and Port is where they listen.
	Namespace string
	Labels    map[string]string
	Port      int32
	// CIDRs are other addresses that answer on the same port, such as those of
	// caches on the nodes.
	CIDRs []netip.Prefix
}

// ownRules is the number of egress rules that come before those for the API server.
const ownRules = 2

// isolation lets pods of the space reach each other, DNS and the API server, and
// nobody else reach them. It is nil where the network is open.
func (s Settings) isolation(meta metav1.ObjectMeta, with parameters.Effective) *networkingv1.NetworkPolicy {
	network := with.Network
	if network == "" {
		network = s.Network
	}
	if network != spaceapi.NetworkIsolated {
		return nil
	}
	each := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}}
	dns := []networkingv1.NetworkPolicyPeer{{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.DNS.Namespace}},
		PodSelector:       &metav1.LabelSelector{MatchLabels: s.DNS.Labels},
	}}
	for _, cidr := range s.DNS.CIDRs {
		dns = append(dns, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr.String()}})
	}
	policy := &networkingv1.NetworkPolicy{
		ObjectMeta: meta,
		Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{each}}},
			Egress: []networkingv1.NetworkPolicyEgressRule{
				{To: []networkingv1.NetworkPolicyPeer{each}},
				{
					To:    dns,
					Ports: []networkingv1.NetworkPolicyPort{port(corev1.ProtocolUDP, s.DNS.Port), port(corev1.ProtocolTCP, s.DNS.Port)},
				},
			},
		},
	}
	for _, d := range s.APIServer {
		rule := networkingv1.NetworkPolicyEgressRule{
			To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: d.CIDR.String()}}},
		}
		if d.Port != 0 {
			rule.Ports = []networkingv1.NetworkPolicyPort{port(corev1.ProtocolTCP, d.Port)}
		}
		policy.Spec.Egress = append(policy.Spec.Egress, rule)
	}
	return policy
}

func port(protocol corev1.Protocol, number int32) networkingv1.NetworkPolicyPort {
	return networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: ptr.To(intstr.FromInt32(number))}
}

// DiffersInAPIServer says whether two isolations are the same but for where the
// API server is.
func DiffersInAPIServer(a, b *networkingv1.NetworkPolicy) bool {
	if len(a.Spec.Egress) < ownRules || len(b.Spec.Egress) < ownRules {
		return false
	}
	a, b = a.DeepCopy(), b.DeepCopy()
	a.Spec.Egress, b.Spec.Egress = a.Spec.Egress[:ownRules], b.Spec.Egress[:ownRules]
	return equality.Semantic.DeepEqual(a.Spec, b.Spec)
}
