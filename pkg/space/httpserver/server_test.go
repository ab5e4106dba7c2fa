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

func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func healthy(context.Context) error { return nil }

func wantResponse(t *testing.T, url string, code int, part string) {
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

func TestHandler_runsTheCheckOfThePath(t *testing.T) {
	unhealthy := func(context.Context) error { return errors.New("no kubelet") }
	url := serve(t, Handler(healthy, unhealthy))
	wantResponse(t, url+"/healthz", http.StatusOK, "ok")
	wantResponse(t, url+"/readyz", http.StatusServiceUnavailable, "no kubelet")
	url = serve(t, Handler(unhealthy, healthy))
	wantResponse(t, url+"/healthz", http.StatusServiceUnavailable, "no kubelet")
	wantResponse(t, url+"/readyz", http.StatusOK, "ok")
	wantResponse(t, url+"/metrics", http.StatusOK, "go_goroutines")
	for _, path := range []string{"/other", "/debug/pprof/"} {
		wantResponse(t, url+path, http.StatusNotFound, "")
	}
}

func TestHandler_setsADeadlineForChecks(t *testing.T) {
	url := serve(t, Handler(func(ctx context.Context) error {
		if at, ok := ctx.Deadline(); !ok || time.Until(at) > checkTimeout {
			return errors.New("no deadline")
		}
		return nil
	}, healthy))
	wantResponse(t, url+"/healthz", http.StatusOK, "ok")
}

func TestProfiles_servesProfilesOnly(t *testing.T) {
	url := serve(t, Profiles())
	wantResponse(t, url+"/debug/pprof/", http.StatusOK, "goroutine")
	wantResponse(t, url+"/debug/pprof/goroutine?debug=1", http.StatusOK, "goroutine profile")
	wantResponse(t, url+"/metrics", http.StatusNotFound, "")
}

func TestServe_withoutAddressDoesNotListen(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Serve(ctx, "", nil); err != nil {
		t.Error(err)
	}
}

func TestServe_failsIfTheAddressIsInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	err = Serve(t.Context(), listener.Addr().String(), Profiles())
	if err == nil || !strings.Contains(err.Error(), listener.Addr().String()) {
		t.Errorf("got error %v, want one that names the address", err)
	}
}
