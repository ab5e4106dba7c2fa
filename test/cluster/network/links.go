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

// Route leads to a node's pods.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// ConnectMachine creates the bridge in the control plane's namespace and its
// link to the machine.
func ConnectMachine(cluster string, controlPlanePID int, subnet Subnet) error {
	err := inNamespace(controlPlanePID, func(ns netns.NsHandle, h *netlink.Handle) error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
		bridge.Name = bridgeName
		// With an address of its own a bridge doesn't change it with its ports.
		bridge.HardwareAddr = hardwareAddr(subnet.ControlPlane())
		if err := h.LinkAdd(bridge); err != nil {
			return fmt.Errorf("creating the bridge: %w", err)
		}
		if err := configure(h, bridgeName, subnet.ControlPlane(), subnet.Bits()); err != nil {
			return err
		}

		name := MachineInterface(cluster)
		if err := DisconnectMachine(cluster); err != nil {
			return err
		}
		veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: machinePort, PeerNamespace: netlink.NsFd(ns)}
		veth.Name = name
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("creating the machine's interface %s: %w", name, err)
		}
		if err := attach(h, machinePort); err != nil {
			return err
		}
		machine, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("opening netlink: %w", err)
		}
		defer machine.Close()
		return configure(machine, name, subnet.Machine(), subnet.Bits())
	})
	if err != nil {
		return fmt.Errorf("connecting the control plane with the machine: %w", err)
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
		return fmt.Errorf("finding the machine's interface %s: %w", name, err)
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("removing the machine's interface %s: %w", name, err)
	}
	return nil
}

// Node is one node's place in the network.
type Node struct {
	// PID is of a process in the node's network namespace.
	PID int
	// Number counts from 1.
	Number int
}

func (n Node) port() string { return fmt.Sprintf("node%d", n.Number) }

// ConnectNode creates the link between the control plane's bridge and a node.
func ConnectNode(controlPlanePID int, node Node, subnet Subnet) error {
	err := inNamespace(node.PID, func(nodeNS netns.NsHandle, inNode *netlink.Handle) error {
		return inNamespace(controlPlanePID, func(_ netns.NsHandle, h *netlink.Handle) error {
			// Left from before the node's reboot, when the kernel hasn't
			// removed it yet.
			if link, err := h.LinkByName(node.port()); err == nil {
				_ = h.LinkDel(link)
			}
			veth := &netlink.Veth{
				LinkAttrs: netlink.NewLinkAttrs(), PeerName: nodeInterface, PeerNamespace: netlink.NsFd(nodeNS),
				// The same after a reboot, so that no neighbour's ARP entry is wrong.
				PeerHardwareAddr: hardwareAddr(subnet.Node(node.Number)),
			}
			veth.Name = node.port()
			if err := h.LinkAdd(veth); err != nil {
				return fmt.Errorf("creating %s: %w", node.port(), err)
			}
			if err := attach(h, node.port()); err != nil {
				return err
			}
			if err := configure(inNode, nodeInterface, subnet.Node(node.Number), subnet.Bits()); err != nil {
				return err
			}
			// What isn't in the cluster is refused by the control plane at
			// once, instead of running into a timeout.
			gateway := netlink.Route{Gw: subnet.ControlPlane().AsSlice()}
			if err := inNode.RouteReplace(&gateway); err != nil {
				return fmt.Errorf("setting the default route: %w", err)
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("connecting node %d: %w", node.Number, err)
	}
	return nil
}

// SetRoutes sets routes in a process's network namespace.
func SetRoutes(pid int, routes []Route) error {
	return inNamespace(pid, func(_ netns.NsHandle, h *netlink.Handle) error {
		for _, r := range routes {
			dst := net.IPNet{IP: r.To.Addr().AsSlice(), Mask: net.CIDRMask(r.To.Bits(), 32)}
			if err := h.RouteReplace(&netlink.Route{Dst: &dst, Gw: r.Via.AsSlice()}); err != nil {
				return fmt.Errorf("routing %s via %s: %w", r.To, r.Via, err)
			}
		}
		return nil
	})
}

// SetNodeLink sets a node's link to the control plane up or down, at the
// control plane's end, so that the node keeps its addresses and routes.
func SetNodeLink(controlPlanePID int, number int, up bool) error {
	port := Node{Number: number}.port()
	return inNamespace(controlPlanePID, func(_ netns.NsHandle, h *netlink.Handle) error {
		link, err := h.LinkByName(port)
		if err != nil {
			return fmt.Errorf("finding the link %s: %w", port, err)
		}
		set := h.LinkSetDown
		if up {
			set = h.LinkSetUp
		}
		if err := set(link); err != nil {
			return fmt.Errorf("setting the link %s up or down: %w", port, err)
		}
		return nil
	})
}

func attach(h *netlink.Handle, port string) error {
	bridge, err := h.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("finding the bridge: %w", err)
	}
	link, err := h.LinkByName(port)
	if err != nil {
		return fmt.Errorf("finding the link %s: %w", port, err)
	}
	if err := h.LinkSetMaster(link, bridge); err != nil {
		return fmt.Errorf("attaching %s to the bridge: %w", port, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting %s up: %w", port, err)
	}
	return nil
}

func configure(h *netlink.Handle, name string, addr netip.Addr, bits int) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding the link %s: %w", name, err)
	}
	ip := netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(bits, 32)}}
	if err := h.AddrReplace(link, &ip); err != nil {
		return fmt.Errorf("giving %s the address %s: %w", name, addr, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting %s up: %w", name, err)
	}
	return nil
}

// inNamespace calls f with the network namespace of a process.
func inNamespace(pid int, f func(netns.NsHandle, *netlink.Handle) error) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("opening the network namespace of process %d: %w", pid, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("opening netlink in the network namespace of process %d: %w", pid, err)
	}
	defer h.Close()
	return f(ns, h)
}

// hardwareAddr derives a locally administered address from an IP address.
func hardwareAddr(addr netip.Addr) net.HardwareAddr {
	a := addr.As4()
	return net.HardwareAddr{0x02, 0x53, a[0], a[1], a[2], a[3]}
}
