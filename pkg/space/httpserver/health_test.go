// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// start runs the server and returns its URL. At the end of the test it must end
// without an error.
func start(t *testing.T, s Server) string {
	t.Helper()
	if s.Live == nil {
		s.Live = func(context.Context) error { return nil }
	}
	if s.Ready == nil {
		s.Ready = func(context.Context) error { return nil }
	}
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return server.URL
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

func TestHandler_answersEachCheckByItself(t *testing.T) {
	bad := func(context.Context) error { return errors.New("no kubelet") }
	url := start(t, Server{Ready: bad})
	want(t, url+"/healthz", http.StatusOK, "ok")
	want(t, url+"/readyz", http.StatusServiceUnavailable, "not ready: no kubelet")

	url = start(t, Server{Live: bad, Ready: func(context.Context) error { return nil }})
	want(t, url+"/healthz", http.StatusServiceUnavailable, "not live: no kubelet")
	want(t, url+"/readyz", http.StatusOK, "ok")
	want(t, url+"/other", http.StatusNotFound, "")
}

func TestHandler_givesChecksADeadline(t *testing.T) {
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

func TestHandler_servesMetrics(t *testing.T) {
	want(t, start(t, Server{})+"/metrics", http.StatusOK, "go_goroutines")
}

func TestRun_withoutAddressDoesNotListen(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Server{}.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRun_failsIfTheAddressIsInUse(t *testing.T) {
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
