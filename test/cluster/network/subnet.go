// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package network connects the hosts of a cluster: a bridge in the control plane's network namespace, a
// link from there to every node, and one link to the machine. Except for that interface, the machine's
// routing, firewall and settings do not change.
package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// The addresses of a cluster's hosts within its subnet.
const (
	controlPlaneOffset = 1
	firstNodeOffset    = 11
	machineOffset      = 254
)

// MaxNodes is the number of nodes for which a subnet has addresses.
const MaxNodes = machineOffset - firstNodeOffset

// Subnet is the /24 of one cluster.
type Subnet struct {
	netip.Prefix
}

// ControlPlane is the control plane's address.
func (s Subnet) ControlPlane() netip.Addr { return s.at(controlPlaneOffset) }

// Machine is the address of the machine that the cluster runs on.
func (s Subnet) Machine() netip.Addr { return s.at(machineOffset) }

// Node is the address of a node; the first one is number 1.
func (s Subnet) Node(number int) netip.Addr { return s.at(firstNodeOffset + number - 1) }

func (s Subnet) at(offset int) netip.Addr {
	a := s.Addr().As4()
	a[3] = byte(offset)
	return netip.AddrFrom4(a)
}

// Pods is the range of the addresses of all clusters' pods.
const Pods = "10.244.0.0/16"

// PodCIDR is a node's part of Pods.
func PodCIDR(number int) netip.Prefix {
	base := netip.MustParsePrefix(Pods).Addr().As4()
	base[2] = byte(number)
	return netip.PrefixFrom(netip.AddrFrom4(base), 24)
}

// ChooseSubnet returns the first candidate that does not overlap used subnets.
func ChooseSubnet(used []netip.Prefix) (Subnet, error) {
	for _, pool := range [][2]byte{{172, 30}, {198, 18}, {198, 19}} {
		for i := range 256 {
			candidate := netip.PrefixFrom(netip.AddrFrom4([4]byte{pool[0], pool[1], byte(i), 0}), 24)
			if !slices.ContainsFunc(used, candidate.Overlaps) {
				return Subnet{candidate}, nil
			}
		}
	}
	return Subnet{}, errors.New("every subnet of 172.30.0.0/16 and 198.18.0.0/15 is in use on this machine")
}

// UsedSubnets returns the subnets of the machine's addresses and routes.
func UsedSubnets() ([]netip.Prefix, error) {
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list the machine's addresses: %w", err)
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list the machine's routes: %w", err)
	}
	var used []netip.Prefix
	add := func(ip []byte, ones int) {
		// A default route does not use a subnet.
		if addr, ok := netip.AddrFromSlice(ip); ok && ones > 0 {
			used = append(used, netip.PrefixFrom(addr.Unmap(), ones).Masked())
		}
	}
	for _, a := range addrs {
		ones, _ := a.Mask.Size()
		add(a.IP, ones)
	}
	for _, r := range routes {
		if r.Dst != nil {
			ones, _ := r.Dst.Mask.Size()
			add(r.Dst.IP, ones)
		}
	}
	return used, nil
}
