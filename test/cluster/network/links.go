// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	bridgeName = "cluster0"
	// nodeInterface is the name of a node's only link.
	nodeInterface = "eth0"
	// machinePort is the control plane's end of the link to the machine.
	machinePort = "machine0"
)

// MachinePrefix begins the names of clusters' interfaces on the machine.
const MachinePrefix = "space-"

// MachineInterface returns the name of a cluster's interface on the machine.
func MachineInterface(cluster string) string {
	sum := sha256.Sum256([]byte(cluster))
	return MachinePrefix + hex.EncodeToString(sum[:4])
}

// ConnectMachine creates the bridge in the network namespace of the control
// plane's process, and its link to the machine.
func ConnectMachine(cluster string, controlPlane int, subnet Subnet) error {
	if err := DisconnectMachine(cluster); err != nil {
		return err
	}
	machine, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open the machine's network namespace: %w", err)
	}
	defer machine.Close()
	err = Inside(controlPlane, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = bridgeName
		// A bridge with an explicit address keeps it when its ports change.
		attrs.HardwareAddr = hardwareAddr(subnet.ControlPlane())
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return fmt.Errorf("create the bridge: %w", err)
		}
		if err := configure(bridgeName, subnet.ControlPlane(), subnet.Bits()); err != nil {
			return err
		}
		return addPort(machinePort, netlink.NsFd(machine), MachineInterface(cluster), subnet.Machine())
	})
	if err == nil {
		err = configure(MachineInterface(cluster), subnet.Machine(), subnet.Bits())
	}
	if err != nil {
		return fmt.Errorf("connect the control plane with the machine: %w", err)
	}
	return nil
}

// DisconnectMachine removes the cluster's interface from the machine.
func DisconnectMachine(cluster string) error {
	name := MachineInterface(cluster)
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the machine's interface %s: %w", name, err)
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the machine's interface %s: %w", name, err)
	}
	return nil
}

// ConnectNode creates the link between the control plane's bridge and a node,
// which counts from 1. Both are the PIDs of processes in the network namespaces.
func ConnectNode(controlPlane, node, number int, subnet Subnet) error {
	err := Inside(controlPlane, func() error {
		// After a reboot of the node, the kernel may not have removed the previous link yet.
		if link, err := netlink.LinkByName(nodePort(number)); err == nil {
			_ = netlink.LinkDel(link)
		}
		if err := addPort(nodePort(number), netlink.NsPid(node), nodeInterface, subnet.Node(number)); err != nil {
			return err
		}
		// Nodes reach each other's pods through the control plane.
		return route(netlink.Route{Dst: ipNet(PodCIDR(number)), Gw: subnet.Node(number).AsSlice()})
	})
	if err == nil {
		err = Inside(node, func() error {
			if err := configure(nodeInterface, subnet.Node(number), subnet.Bits()); err != nil {
				return err
			}
			// The control plane rejects traffic to addresses outside of the cluster immediately. Without
			// the route, it would time out.
			return route(netlink.Route{Gw: subnet.ControlPlane().AsSlice()})
		})
	}
	if err != nil {
		return fmt.Errorf("connect node %d: %w", number, err)
	}
	return nil
}

func nodePort(number int) string { return fmt.Sprintf("node%d", number) }

// SetNodeLink sets a node's link to the control plane up or down, at the
// control plane's end, so that the node keeps its addresses and routes.
func SetNodeLink(controlPlane, number int, up bool) error {
	set := netlink.LinkSetDown
	if up {
		set = netlink.LinkSetUp
	}
	return Inside(controlPlane, func() error {
		link, err := netlink.LinkByName(nodePort(number))
		if err != nil {
			return fmt.Errorf("find the link %s: %w", nodePort(number), err)
		}
		if err := set(link); err != nil {
			return fmt.Errorf("set the link %s up or down: %w", nodePort(number), err)
		}
		return nil
	})
}

// addPort creates a link from the bridge to another network namespace.
func addPort(port string, peer any, peerName string, peerAddr netip.Addr) error {
	bridge, err := netlink.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("find the bridge: %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex, attrs.Flags = port, bridge.Attrs().Index, net.FlagUp
	err = netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: peerName, PeerNamespace: peer,
		// The address stays the same after a reboot, so that ARP entries of neighbors stay valid.
		PeerHardwareAddr: hardwareAddr(peerAddr),
	})
	if err != nil {
		return fmt.Errorf("create the link from %s to %s: %w", port, peerName, err)
	}
	return nil
}

func configure(name string, addr netip.Addr, bits int) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find the link %s: %w", name, err)
	}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(addr, bits))}); err != nil {
		return fmt.Errorf("set the address of %s to %s: %w", name, addr, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

func route(r netlink.Route) error {
	if err := netlink.RouteReplace(&r); err != nil {
		return fmt.Errorf("route %s via %s: %w", r.Dst, r.Gw, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Inside calls f on a thread in the network namespace of a process. Goroutines that f starts are not in
// that namespace.
func Inside(pid int, f func() error) error {
	done := make(chan error)
	go func() { done <- inside(pid, f) }()
	return <-done
}

func inside(pid int, f func() error) error {
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open a network namespace: %w", err)
	}
	defer before.Close()
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("open the network namespace of process %d: %w", pid, err)
	}
	defer ns.Close()
	if err := netns.Set(ns); err != nil {
		return fmt.Errorf("enter the network namespace of process %d: %w", pid, err)
	}
	defer func() {
		// A thread that stays locked ends with its goroutine.
		if netns.Set(before) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

// hardwareAddr derives a locally administered address from an IP address.
func hardwareAddr(addr netip.Addr) net.HardwareAddr {
	a := addr.As4()
	return net.HardwareAddr{0x02, 0x53, a[0], a[1], a[2], a[3]}
}
