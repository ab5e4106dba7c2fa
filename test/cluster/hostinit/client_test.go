// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package hostinit

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestClient_startsAndKillsProcesses(t *testing.T) {
	client := Client{Socket: filepath.Join(t.TempDir(), "sock")}
	listener, err := net.Listen("unix", client.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	processes := newProcessTable()
	go processes.reap()
	go func() { _ = serve(listener, processes) }() // until the listener is closed
	if got, err := client.List(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("before anything was started: %+v, error %v", got, err)
	}
	log := filepath.Join(t.TempDir(), "logs", "sleep.log")
	for _, err := range []error{
		client.Start(t.Context(), Process{Name: "long", Argv: []string{"/bin/sleep", "1000"}, Log: log}),
		// It runs already.
		client.Start(t.Context(), Process{Name: "long", Argv: []string{"/bin/false"}, Log: log}),
		client.Probe(t.Context(), "unix://"+client.Socket),
		client.Kill(t.Context(), "never started"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, err := client.List(t.Context()); err != nil || len(got) != 1 || got[0].Name != "long" || !got[0].Running {
		t.Errorf("got processes %+v, error %v", got, err)
	}
	if err := client.Kill(t.Context(), "long"); err != nil {
		t.Fatal(err)
	}
	if got, err := client.List(t.Context()); err != nil || len(got) != 1 || got[0].Running || got[0].Exit != "killed" {
		t.Errorf("got processes %+v, error %v", got, err)
	}
	err = client.Start(t.Context(), Process{Name: "none", Argv: []string{"/does/not/exist"}, Log: log})
	if err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("starting a program that does not exist: %v", err)
	}
}
