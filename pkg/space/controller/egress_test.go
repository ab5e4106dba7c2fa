// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"net"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestAPIServerDestinations_areCIDRsOrAddressAndEndpoints(t *testing.T) {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.2"}}, {Addresses: []string{"10.0.0.1", "not-an-address"}}},
		Ports: []discoveryv1.EndpointPort{
			{Port: ptr.To[int32](6443)}, {Port: ptr.To[int32](53), Protocol: ptr.To(corev1.ProtocolUDP)}, {},
		},
	}
	for name, test := range map[string]struct {
		server string
		cidrs  []net.IPNet
		slice  *discoveryv1.EndpointSlice
		want   []string
	}{
		"Service and endpoints":  {"https://10.96.0.1", nil, slice, []string{"10.0.0.1/32 6443", "10.0.0.2/32 6443", "10.96.0.1/32 443"}},
		"an endpoint in the URL": {"https://10.0.0.1:6443", nil, slice, []string{"10.0.0.1/32 6443", "10.0.0.2/32 6443"}},
		"a name in the URL":      {"https://kubernetes.default.svc", nil, slice, []string{"10.0.0.1/32 6443", "10.0.0.2/32 6443"}},
		"IPv6":                   {"https://[fd00::1]:443", nil, nil, []string{"fd00::1/128 443"}},
		"configured CIDRs":       {"https://10.96.0.1", []net.IPNet{{IP: net.IPv4(10, 1, 0, 0), Mask: net.CIDRMask(16, 32)}}, slice, []string{"10.1.0.0/16 0"}},
		"unknown addresses":      {"https://api.example.com", nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClusterWith(t, func(config *Config) { config.Server, config.APIServerCIDRs = test.server, test.cidrs })
			if test.slice != nil {
				c.putInCache(test.slice)
			}
			destinations, err := c.apiServerDestinations(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range destinations {
				got = append(got, fmt.Sprintf("%s %d", d.CIDR, d.Port))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
