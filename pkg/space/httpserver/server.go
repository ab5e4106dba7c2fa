// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package httpserver serves the kubelet plugin's health checks, metrics and profiles over
// HTTP.
package httpserver

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/component-base/metrics/legacyregistry"
	_ "k8s.io/component-base/metrics/prometheus/restclient" // metrics of requests to the API server
	_ "k8s.io/component-base/metrics/prometheus/workqueue"  // metrics of work queues
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

const (
	// checkTimeout is how long a check may take. The kubelet has its own timeout, that of the
	// probe.
	checkTimeout = 5 * time.Second
	// idleTimeout is how long an idle connection is kept. Metrics are scraped every
	// minute or more often.
	idleTimeout = 2 * time.Minute
)

// Check returns an error if the component is not healthy.
type Check func(context.Context) error

// Handler serves /healthz with the check live, /readyz with the check ready, and /metrics.
func Handler(live, ready Check) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", handle("Liveness", live))
	mux.Handle("GET /readyz", handle("Readiness", ready))
	mux.Handle("GET /metrics", legacyregistry.Handler())
	return mux
}

func handle(probe string, check Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		defer cancel()
		if err := check(ctx); err != nil {
			klog.FromContext(ctx).Info(probe+" probe failed", logkeys.Reason, err.Error())
			http.Error(w, fmt.Sprintf("%s probe failed: %v", probe, err), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok") // the kubelet may have closed the connection
	})
}

// Profiles serves Go's profiles at /debug/pprof/.
func Profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// Serve serves at an address, as host:port, until ctx is done. It then returns nil. With an
// empty address, it does not listen.
func Serve(ctx context.Context, address string, handler http.Handler) error {
	if address == "" {
		<-ctx.Done()
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for HTTP requests: %w", err)
	}
	server := &http.Server{
		Handler:           handler,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: checkTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(logr.ToSlogHandler(klog.FromContext(ctx).V(2)), slog.LevelInfo),
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); ctx.Err() == nil {
		return fmt.Errorf("serve HTTP at %s: %w", listener.Addr(), err)
	}
	return nil
}
