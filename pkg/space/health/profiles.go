// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
)

// Profiles answers at /debug/pprof/. Profiles show the process's arguments and the
// names of its functions, and taking them costs time, so they are not for everybody
// who reaches the pod.
type Profiles struct {
	// Address is where to listen, as host:port with a loopback address. Empty: nowhere.
	Address string
}

// Validate says why the address can't be, or nil.
func (p Profiles) Validate() error {
	if p.Address == "" {
		return nil
	}
	address, err := netip.ParseAddrPort(p.Address)
	if err != nil || !address.Addr().IsLoopback() {
		return fmt.Errorf("--pprof-address %q: must be a loopback address with a port, as in 127.0.0.1:6060: nobody is asked who they are there", p.Address)
	}
	return nil
}

// Run answers until the context ends, which is no error.
func (p Profiles) Run(ctx context.Context) error {
	if p.Address == "" {
		<-ctx.Done()
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.Address)
	if err != nil {
		return fmt.Errorf("listen for profiling: %w", err)
	}
	return Serve(ctx, listener, p.Handler())
}

// Handler returns the handler behind Run.
func (p Profiles) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
