// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

const (
	// kubernetesService is what the API server calls its Service and its EndpointSlice,
	// in namespace default.
	kubernetesService = "kubernetes"
	httpsPort         = 443
)

// apiServer is where pods reach the API server: at the address that their kubeconfig has,
// and at its endpoints. Which of the two a network policy sees depends on what enforces it.
func (r *Reconciler) apiServer(ctx context.Context) ([]resources.Destination, error) {
	var out []resources.Destination
	for _, cidr := range r.config.APIServerCIDRs {
		out = append(out, resources.Destination{CIDR: cidr})
	}
	if len(r.config.APIServerCIDRs) > 0 {
		return out, nil
	}
	if server, err := url.Parse(r.config.Server); err == nil {
		if ip, err := netip.ParseAddr(server.Hostname()); err == nil {
			out = append(out, at(ip, portOf(server)))
		}
	}
	slice := &discoveryv1.EndpointSlice{}
	err := r.client.Get(ctx, client.ObjectKey{Namespace: metav1.NamespaceDefault, Name: kubernetesService}, slice)
	if client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	out = append(out, endpoints(slice)...)
	slices.SortFunc(out, func(a, b resources.Destination) int {
		if order := a.CIDR.Addr().Compare(b.CIDR.Addr()); order != 0 {
			return order
		}
		return int(a.Port - b.Port)
	})
	return slices.Compact(out), nil
}

func endpoints(slice *discoveryv1.EndpointSlice) []resources.Destination {
	var out []resources.Destination
	for _, endpoint := range slice.Endpoints {
		for _, address := range endpoint.Addresses {
			ip, err := netip.ParseAddr(address)
			if err != nil {
				continue // a name
			}
			for _, port := range slice.Ports {
				if number := ptr.Deref(port.Port, 0); number > 0 && ptr.Deref(port.Protocol, corev1.ProtocolTCP) == corev1.ProtocolTCP {
					out = append(out, at(ip, number))
				}
			}
		}
	}
	return out
}

func at(ip netip.Addr, port int32) resources.Destination {
	ip = ip.Unmap().WithZone("")
	return resources.Destination{CIDR: netip.PrefixFrom(ip, ip.BitLen()), Port: port}
}

func portOf(server *url.URL) int32 {
	number, err := strconv.ParseUint(server.Port(), 10, 16)
	if err != nil || number == 0 {
		return httpsPort
	}
	return int32(number)
}
