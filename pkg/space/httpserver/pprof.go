// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof"
	"net/netip"
)

// Profiles serves Go's profiles at /debug/pprof/. They show the process's arguments and
// the names of its functions, so they are served on a loopback address only.
type Profiles struct {
	// Address is where to listen, as host:port with a loopback address. Empty: nowhere.
	Address string
}

// Validate returns what is wrong with the address, or nil.
func (p Profiles) Validate() error {
	if p.Address == "" {
		return nil
	}
	address, err := netip.ParseAddrPort(p.Address)
	if err != nil || !address.Addr().IsLoopback() {
		return fmt.Errorf("--pprof-bind-address %q: must be a loopback address with a port, as in 127.0.0.1:6060: the endpoint is unauthenticated", p.Address)
	}
	return nil
}

// Run serves until the context ends, which is no error.
func (p Profiles) Run(ctx context.Context) error {
	return serve(ctx, p.Address, p.Handler())
}

// Handler returns the handler that Run serves.
func (p Profiles) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
