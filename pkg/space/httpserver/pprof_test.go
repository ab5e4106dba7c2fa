// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestProfilesHandler_servesProfilesOnly(t *testing.T) {
	server := httptest.NewServer(Profiles{}.Handler())
	defer server.Close()
	want(t, server.URL+"/debug/pprof/", http.StatusOK, "goroutine")
	want(t, server.URL+"/debug/pprof/goroutine?debug=1", http.StatusOK, "goroutine profile")
	want(t, server.URL+"/metrics", http.StatusNotFound, "")
	want(t, start(t, Server{})+"/debug/pprof/", http.StatusNotFound, "")
}

func TestProfilesValidate_allowsLoopbackOnly(t *testing.T) {
	for address, valid := range map[string]bool{
		"": true, "127.0.0.1:6060": true, "[::1]:6060": true,
		":6060": false, "0.0.0.0:6060": false, "10.0.0.1:6060": false, "127.0.0.1": false, "localhost:6060": false,
	} {
		if err := (Profiles{Address: address}).Validate(); (err == nil) != valid {
			t.Errorf("%q: got error %v", address, err)
		}
	}
}

func TestProfilesRun_withoutAddressDoesNotListen(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (Profiles{}).Run(ctx); err != nil {
		t.Error(err)
	}
}
