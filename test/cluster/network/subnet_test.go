// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"net/netip"
	"testing"
)

func TestChooseSubnet_avoidsUsedSubnets(t *testing.T) {
	for _, tc := range []struct {
		name string
		used []string
		want string
	}{
		{"nothing used", nil, "172.30.0.0/24"},
		{"first used by another cluster", []string{"172.30.0.0/24"}, "172.30.1.0/24"},
		{"smaller network inside", []string{"172.30.0.128/25", "172.30.1.7/32"}, "172.30.2.0/24"},
		{"container engine has all of the first range", []string{"172.30.0.0/16"}, "198.18.0.0/24"},
		{"larger network around", []string{"172.16.0.0/12", "198.18.0.0/16"}, "198.19.0.0/24"},
		{"other ranges", []string{"10.0.0.0/8", "192.168.0.0/16"}, "172.30.0.0/24"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var used []netip.Prefix
			for _, u := range tc.used {
				used = append(used, netip.MustParsePrefix(u))
			}
			got, err := ChooseSubnet(used)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}

	full := []netip.Prefix{netip.MustParsePrefix("172.30.0.0/16"), netip.MustParsePrefix("198.18.0.0/15")}
	if got, err := ChooseSubnet(full); err == nil {
		t.Errorf("everything used: got %s, want an error", got)
	}
}

func TestSubnet_givesEachHostAnAddress(t *testing.T) {
	s := Subnet{netip.MustParsePrefix("172.30.7.0/24")}
	for name, tc := range map[string]struct {
		got  netip.Addr
		want string
	}{
		"control plane": {s.ControlPlane(), "172.30.7.1"},
		"first node":    {s.Node(1), "172.30.7.11"},
		"last node":     {s.Node(MaxNodes), "172.30.7.253"},
		"machine":       {s.Machine(), "172.30.7.254"},
	} {
		if tc.got.String() != tc.want {
			t.Errorf("%s: got %s, want %s", name, tc.got, tc.want)
		}
	}
}
