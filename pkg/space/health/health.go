// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package health tells the kubelet whether a component works, and whoever
// collects metrics how it does, by HTTP.
package health

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
	_ "k8s.io/component-base/metrics/prometheus/clientgo/leaderelection" // who leads
	_ "k8s.io/component-base/metrics/prometheus/restclient"              // metrics of requests to the API server
	_ "k8s.io/component-base/metrics/prometheus/workqueue"               // metrics of work queues
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

const (
	// checkTimeout is how long a check may take. The kubelet's own patience is
	// that of the probe.
	checkTimeout = 5 * time.Second
	// shutdownTimeout is how long requests under way may take at the end.
	shutdownTimeout = 2 * time.Second
	// idleTimeout is for how long a connection is kept for the next request. Who
	// collects metrics comes every minute or sooner.
	idleTimeout = 2 * time.Minute
)

// Check says what is wrong, or nil.
type Check func(context.Context) error

// Server answers at /healthz, /readyz and, unless that is not for everybody, /metrics.
type Server struct {
	// Address is where to listen, as host:port. Empty: nowhere.
	Address string
	// Live says why the process had better be started again. Nil: it is well.
	Live Check
	// Ready says why the component is of no use yet. Nil: it is.
	Ready Check
	// HideMetrics leaves /metrics out.
	HideMetrics bool
}

// Run answers until the context ends, which is no error.
func (s Server) Run(ctx context.Context) error {
	if s.Address == "" {
		<-ctx.Done()
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return fmt.Errorf("listen for health checks: %w", err)
	}
	return Serve(ctx, listener, s.Handler())
}

// Serve answers requests until the context ends, which is no error.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: checkTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          log.New(logged{klog.FromContext(ctx)}, "", 0),
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
	// Whoever still waits for an answer by then has to do without.
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	return err
}

// Handler returns the handler behind Run.
func (s Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", answer("live", s.Live))
	mux.Handle("GET /readyz", answer("ready", s.Ready))
	if !s.HideMetrics {
		mux.Handle("GET /metrics", Metrics())
	}
	return mux
}

// Metrics returns the handler that shows the process's metrics.
func Metrics() http.Handler { return legacyregistry.Handler() }

// logged is for what net/http has to say, such as that a client did not like a
// certificate.
type logged struct{ logger klog.Logger }

// Write implements io.Writer.
func (l logged) Write(text []byte) (int, error) {
	l.logger.V(2).Info("HTTP server", "said", strings.TrimSpace(string(text)))
	return len(text), nil
}

func answer(what string, check Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		defer cancel()
		if check != nil {
			if err := check(ctx); err != nil {
				klog.FromContext(ctx).Info("Not "+what, logkeys.Reason, err.Error())
				http.Error(w, fmt.Sprintf("not %s: %v", what, err), http.StatusServiceUnavailable)
				return
			}
		}
		_, _ = fmt.Fprintln(w, "ok") // the kubelet may have hung up
	})
}
