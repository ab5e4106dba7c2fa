// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// start runs the server and returns its URL. At the end of the test it must end
// without an error.
func start(t *testing.T, s Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, listener, s.Handler()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return "http://" + listener.Addr().String()
}

func want(t *testing.T, url string, code int, part string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != code || !strings.Contains(string(body), part) {
		t.Errorf("%s: got %d, want %d and %q in:\n%s", url, resp.StatusCode, code, part, body)
	}
}

func TestEachCheckHasItsOwnAnswer(t *testing.T) {
	bad := func(context.Context) error { return errors.New("no kubelet") }
	url := start(t, Server{Ready: bad})
	want(t, url+"/healthz", http.StatusOK, "ok")
	want(t, url+"/readyz", http.StatusServiceUnavailable, "not ready: no kubelet")

	url = start(t, Server{Live: bad, Ready: func(context.Context) error { return nil }})
	want(t, url+"/healthz", http.StatusServiceUnavailable, "not live: no kubelet")
	want(t, url+"/readyz", http.StatusOK, "ok")
	want(t, url+"/other", http.StatusNotFound, "")
}

func TestChecksMayNotTakeForEver(t *testing.T) {
	deadline := make(chan time.Duration, 1)
	url := start(t, Server{Live: func(ctx context.Context) error {
		at, ok := ctx.Deadline()
		if !ok {
			return errors.New("there is no deadline")
		}
		deadline <- time.Until(at)
		return nil
	}})
	want(t, url+"/healthz", http.StatusOK, "ok")
	if left := <-deadline; left > checkTimeout {
		t.Errorf("a check has %s", left)
	}
}

func TestMetricsAreThere(t *testing.T) {
	want(t, start(t, Server{})+"/metrics", http.StatusOK, "go_goroutines")
	want(t, start(t, Server{HideMetrics: true})+"/metrics", http.StatusNotFound, "")
}

func TestWithoutAnAddressNobodyListens(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Server{}.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAnAddressInUseIsAnError(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	err = Server{Address: listener.Addr().String()}.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), listener.Addr().String()) {
		t.Errorf("got error %v, want one that names the address", err)
	}
}
