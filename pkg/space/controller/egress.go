// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"net/url"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	spaceclient "github.com/space-dra/space-dra-driver/pkg/space/client"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

// kubernetesService is the name of the API server's Service and its EndpointSlice, in
// namespace default.
const kubernetesService = "kubernetes"

// apiServerDestinations returns where isolated pods can reach the API server: at the configured CIDRs
// or, without any, at the address in their kubeconfigs and at the endpoints. It depends on the
// implementation of NetworkPolicies which of these two they apply to.
func (r *Reconciler) apiServerDestinations(ctx context.Context) ([]resources.Destination, error) {
	var out []resources.Destination
	for _, cidr := range r.config.APIServerCIDRs {
		out = append(out, resources.Destination{CIDR: cidr.String()})
	}
	if len(out) > 0 {
		return out, nil
	}
	if server, err := url.Parse(r.config.Server); err == nil {
		if address, err := netip.ParseAddrPort(net.JoinHostPort(server.Hostname(), cmp.Or(server.Port(), "443"))); err == nil {
			out = append(out, destination(address.Addr(), int32(address.Port())))
		}
	}
	slice := &discoveryv1.EndpointSlice{}
	err := r.client.Get(ctx, client.ObjectKey{Namespace: metav1.NamespaceDefault, Name: kubernetesService}, slice)
	if spaceclient.IgnoreNotFound(err) != nil {
		return nil, err
	}
	for _, endpoint := range slice.Endpoints {
		for _, address := range endpoint.Addresses {
			ip, err := netip.ParseAddr(address)
			if err != nil {
				continue // It is a host name.
			}
			for _, port := range slice.Ports {
				if number := ptr.Deref(port.Port, 0); number > 0 && ptr.Deref(port.Protocol, corev1.ProtocolTCP) == corev1.ProtocolTCP {
					out = append(out, destination(ip, number))
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b resources.Destination) int {
		return cmp.Or(cmp.Compare(a.CIDR, b.CIDR), cmp.Compare(a.Port, b.Port))
	})
	return slices.Compact(out), nil
}

// destination returns the destination of a single address.
func destination(ip netip.Addr, port int32) resources.Destination {
	ip = ip.Unmap().WithZone("")
	return resources.Destination{CIDR: netip.PrefixFrom(ip, ip.BitLen()).String(), Port: port}
}
