// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"net"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

// Destination is an address that pods of isolated spaces can reach.
type Destination struct {
	CIDR string
	// Port is a TCP port. If zero, all ports of all protocols.
	Port int32
}

// DNS is where isolated pods can reach DNS servers.
type DNS struct {
	// Namespace, Labels and Port are those of the DNS pods.
	Namespace string
	Labels    map[string]string
	Port      int32
	// CIDRs are additional DNS servers on the same port, such as caches on the nodes.
	CIDRs []net.IPNet
}

// networkPolicy allows traffic between pods of the space, to DNS and the API server, and by the
// rules of the class. It is nil if the network is open.
func (e Environment) networkPolicy(meta metav1.ObjectMeta, space config.Recorded) *networkingv1.NetworkPolicy {
	if space.Network.Mode != spaceapi.NetworkIsolated {
		return nil
	}
	sameSpace := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}}
	dns := []networkingv1.NetworkPolicyPeer{{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: e.DNS.Namespace}},
		PodSelector:       &metav1.LabelSelector{MatchLabels: e.DNS.Labels},
	}}
	for _, cidr := range e.DNS.CIDRs {
		dns = append(dns, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr.String()}})
	}
	policy := &networkingv1.NetworkPolicy{
		ObjectMeta: meta,
		Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{sameSpace}}},
			Egress:      []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{sameSpace}}},
		},
	}
	for _, rule := range space.Network.Ingress {
		policy.Spec.Ingress = append(policy.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: rule.From, Ports: withProtocol(rule.Ports)})
	}
	for _, rule := range space.Network.Egress {
		policy.Spec.Egress = append(policy.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: rule.To, Ports: withProtocol(rule.Ports)})
	}
	// Rules that depend on the cluster come last, see DiffersOnlyInEnvironment.
	policy.Spec.Egress = append(policy.Spec.Egress, networkingv1.NetworkPolicyEgressRule{
		To:    dns,
		Ports: []networkingv1.NetworkPolicyPort{port(corev1.ProtocolUDP, e.DNS.Port), port(corev1.ProtocolTCP, e.DNS.Port)},
	})
	for _, d := range e.APIServer {
		rule := networkingv1.NetworkPolicyEgressRule{
			To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: d.CIDR}}},
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

// withProtocol sets the default of protocol, as the API server does.
func withProtocol(ports []networkingv1.NetworkPolicyPort) (out []networkingv1.NetworkPolicyPort) {
	for _, p := range ports {
		if p.Protocol == nil {
			p.Protocol = ptr.To(corev1.ProtocolTCP)
		}
		out = append(out, p)
	}
	return out
}

// DiffersOnlyInEnvironment reports whether a NetworkPolicy in the cluster is that of the space, except
// for the addresses of DNS and the API server.
func (s Objects) DiffersOnlyInEnvironment(have *networkingv1.NetworkPolicy) bool {
	if len(have.Spec.Egress) < s.ownEgress {
		return false
	}
	have, want := have.DeepCopy(), s.NetworkPolicy.DeepCopy()
	have.Spec.Egress, want.Spec.Egress = have.Spec.Egress[:s.ownEgress], want.Spec.Egress[:s.ownEgress]
	return equality.Semantic.DeepEqual(have.Spec, want.Spec)
}
