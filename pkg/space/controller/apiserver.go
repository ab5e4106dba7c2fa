// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/blueprint"
)

const (
	// apiServerName is what the API server calls its Service and its EndpointSlice,
	// in namespace default.
	apiServerName = "kubernetes"
	httpsPort     = 443
)

// settings are those of the installation, with what the cluster says now.
func (c *Controller) settings() blueprint.Settings {
	settings := c.Settings
	settings.APIServer = c.apiServer()
	return settings
}

// apiServer is where pods reach the API server: at the address that their
// kubeconfig has, and behind it. Which of the two a network policy sees depends on
// what enforces it.
func (c *Controller) apiServer() []blueprint.Destination {
	var out []blueprint.Destination
	for _, cidr := range c.APIServerCIDRs {
		out = append(out, blueprint.Destination{CIDR: cidr})
	}
	if c.endpointInformer == nil {
		return out
	}
	if server, err := url.Parse(c.Server); err == nil {
		if ip, err := netip.ParseAddr(server.Hostname()); err == nil {
			out = append(out, at(ip, portOf(server)))
		}
	}
	if slice, exists := cached[*discoveryv1.EndpointSlice](c.endpointInformer, metav1.NamespaceDefault+"/"+apiServerName); exists {
		out = append(out, endpoints(slice)...)
	}
	slices.SortFunc(out, func(a, b blueprint.Destination) int {
		if order := a.CIDR.Addr().Compare(b.CIDR.Addr()); order != 0 {
			return order
		}
		return int(a.Port - b.Port)
	})
	return slices.Compact(out)
}

func endpoints(slice *discoveryv1.EndpointSlice) []blueprint.Destination {
	var out []blueprint.Destination
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

func at(ip netip.Addr, port int32) blueprint.Destination {
	ip = ip.Unmap().WithZone("")
	return blueprint.Destination{CIDR: netip.PrefixFrom(ip, ip.BitLen()), Port: port}
}

func portOf(server *url.URL) int32 {
	number, err := strconv.ParseUint(server.Port(), 10, 16)
	if err != nil || number == 0 {
		return httpsPort
	}
	return int32(number)
}

// endpointEvents has all spaces looked at when the API server moves.
func (c *Controller) endpointEvents() cache.ResourceEventHandler {
	all := func() {
		for ns := range c.allNamespaces() {
			c.enqueueClaimOf(ns)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { all() },
		UpdateFunc: func(old, obj any) {
			before, slice := old.(*discoveryv1.EndpointSlice), obj.(*discoveryv1.EndpointSlice)
			if !equality.Semantic.DeepEqual(before.Endpoints, slice.Endpoints) || !equality.Semantic.DeepEqual(before.Ports, slice.Ports) {
				all()
			}
		},
	}
}
