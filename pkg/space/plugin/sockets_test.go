// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestRemoveStaleSockets_keepsOthers(t *testing.T) {
	dir := t.TempDir()
	plugin := func(driver, uid string) *Options {
		return parse(t, "--node-name=node-7", "--driver-name="+driver, "--pod-uid="+uid, "--kubelet-root-dir="+dir)
	}
	self := plugin("a.b", "self-self-self")
	var want []string
	for _, test := range []struct {
		plugin *Options
		age    time.Duration
		// killed means that no process accepts connections.
		killed, removed bool
	}{
		{self, time.Hour, false, false},
		{plugin("a.b", "running-running"), time.Hour, false, false},
		{plugin("a.b", "starting-starting"), 0, true, false},
		{plugin("a.b", "killed-killed"), time.Hour, true, true},
		{plugin("a.c", "killed-killed"), time.Hour, true, false},
	} {
		for _, path := range []string{test.plugin.servingPath(), test.plugin.registrationPath()} {
			if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
				t.Fatal(err)
			}
			listener, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			listener.(*net.UnixListener).SetUnlinkOnClose(false)
			t.Cleanup(func() { _ = listener.Close() })
			if test.killed {
				_ = listener.Close()
			}
			created := time.Now().Add(-test.age)
			if err := os.Chtimes(path, created, created); err != nil {
				t.Fatal(err)
			}
			if !test.removed {
				want = append(want, path)
			}
		}
	}
	self.removeStaleSockets(t.Context())
	var got []string
	for _, pattern := range []string{"plugins/*/*", "plugins_registry/*"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, paths...)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got sockets %v, want %v", got, want)
	}
}
