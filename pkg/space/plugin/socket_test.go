// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"net"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
)

const podUID = "7791ecd8-b343-4545-821c-d5b05db2d590"

func TestEveryDriverNameLeavesRoomForTheSockets(t *testing.T) {
	for _, dir := range []string{"/var/lib/kubelet", "/var/lib/k0s/kubelet"} {
		// The longest name leaves room with the kubelet's own directory only.
		for length := range resourceapi.DriverNameMaxLength - (len(dir) - len("/var/lib/kubelet")) {
			o := parse(t, "--node-name=node", "--pod-uid="+podUID, "--kubelet-directory="+dir, "--driver-name="+strings.Repeat("a", length+1))
			if err := o.validate(); err != nil {
				t.Error(err)
			}
			for _, path := range []string{o.servingPath(o.instance()), o.registrationPath(o.instance())} {
				if len(path) > 107 {
					t.Errorf("%s has %d characters", path, len(path))
				}
			}
		}
	}
}

func TestSocketsAreNamedAfterThePodWhereThatFits(t *testing.T) {
	for _, test := range []struct{ dir, driver, want string }{
		{"/var/lib/kubelet", "space.resource.example.com", podUID},
		// The library would make this one of 108 characters.
		{"/var/lib/kubelet", "space-28.resource.example.co", "DuFE"},
		{"/var/snap/microk8s/common/var/lib/kubelet", "space.resource.example.com", "DuFE"},
	} {
		o := parse(t, "--node-name=node", "--pod-uid="+podUID, "--kubelet-directory="+test.dir, "--driver-name="+test.driver)
		if got := string(o.instance()); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s in %s: got %s, want %s…", test.driver, test.dir, got, test.want)
		}
		next := parse(t, "--node-name=node", "--pod-uid=8"+podUID[1:], "--kubelet-directory="+test.dir, "--driver-name="+test.driver)
		if o.servingPath(o.instance()) == next.servingPath(next.instance()) || o.registrationPath(o.instance()) == next.registrationPath(next.instance()) {
			t.Errorf("%s in %s: two plugins have the same socket", test.driver, test.dir)
		}
	}
}

func TestADirectoryThatLeavesNoRoomForSocketsIsRefused(t *testing.T) {
	o := parse(t, "--node-name=node", "--pod-uid="+podUID, "--kubelet-directory=/"+strings.Repeat("a", 80))
	if err := o.validate(); err == nil || !strings.Contains(err.Error(), "too long together for a socket") {
		t.Errorf("got error %v, want one about the socket", err)
	}
}

func TestALongerPathIsNoSocket(t *testing.T) {
	t.Chdir(t.TempDir())
	for over, fits := range map[int]bool{0: true, 1: false} {
		listener, err := net.Listen("unix", strings.Repeat("a", maxSocketPath+over))
		if (err == nil) != fits {
			t.Errorf("a path of %d characters: %v", maxSocketPath+over, err)
		}
		if err == nil {
			if err := listener.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
