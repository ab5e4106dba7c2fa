// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package httpserver serves the kubelet plugin's health checks and metrics over HTTP.
package httpserver

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"k8s.io/component-base/metrics/legacyregistry"
	_ "k8s.io/component-base/metrics/prometheus/restclient" // metrics of requests to the API server
	_ "k8s.io/component-base/metrics/prometheus/workqueue"  // metrics of work queues
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

const (
	// checkTimeout is how long a check may take. The kubelet has the timeout of
	// the probe.
	checkTimeout = 5 * time.Second
	// shutdownTimeout is how long requests in progress may take when the server stops.
	shutdownTimeout = 2 * time.Second
	// idleTimeout is how long an idle connection is kept. Metrics are scraped every
	// minute or more often.
	idleTimeout = 2 * time.Minute
)

// Check returns what is wrong, or nil.
type Check func(context.Context) error

// Server serves /healthz, /readyz and /metrics.
type Server struct {
	// Address is where to listen, as host:port. Empty: nowhere.
	Address string
	// Live returns why the process should be restarted, or nil.
	Live Check
	// Ready returns why the component cannot be used yet, or nil.
	Ready Check
}

// Run serves until the context ends, which is no error.
func (s Server) Run(ctx context.Context) error {
	return serve(ctx, s.Address, s.Handler())
}

// Handler returns the handler that Run serves.
func (s Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", handle("live", s.Live))
	mux.Handle("GET /readyz", handle("ready", s.Ready))
	mux.Handle("GET /metrics", legacyregistry.Handler())
	return mux
}

func handle(what string, check Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		defer cancel()
		if err := check(ctx); err != nil {
			klog.FromContext(ctx).Info("Not "+what, logkeys.Reason, err.Error())
			http.Error(w, fmt.Sprintf("not %s: %v", what, err), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok") // the kubelet may have hung up
	})
}

// serve serves at an address, unless that is empty, until the context ends.
func serve(ctx context.Context, address string, handler http.Handler) error {
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
		ErrorLog:          log.New(errorLog{klog.FromContext(ctx)}, "", 0),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve HTTP at %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err = server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	return err
}

// errorLog logs the errors of net/http.
type errorLog struct{ logger klog.Logger }

// Write implements io.Writer.
func (l errorLog) Write(text []byte) (int, error) {
	l.logger.V(2).Info("HTTP server", "said", strings.TrimSpace(string(text)))
	return len(text), nil
}
