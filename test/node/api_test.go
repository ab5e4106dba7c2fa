// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// apiServer is a proxy between a plugin and the API server, before and after each of
// the plugin's calls.
type apiServer struct {
	address   string
	transport http.RoundTripper
	server    *http.Server
	// next reports whether the plugin may take a step; otherwise it was killed.
	next func(step string) bool
	// watching gets the path of each watch that begins.
	watching chan string
	// refused is the suffix of the paths whose requests fail.
	refused atomic.Pointer[string]
}

var errKilled = errors.New("the plugin was killed")

// newAPIServer starts to serve.
func newAPIServer(t *testing.T, next func(step string) bool) *apiServer {
	t.Helper()
	config, err := env.Cluster.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	a := &apiServer{transport: transport, next: next, watching: make(chan string, 100)}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = a
	proxy.FlushInterval = -1 // for watches
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.address = listener.Addr().String()
	a.server = &http.Server{Handler: proxy, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = a.server.Serve(listener) }()
	t.Cleanup(func() { a.unreachable(t) })
	return a
}

// unreachable ends all connections and allows no more.
func (a *apiServer) unreachable(t *testing.T) {
	if err := a.server.Close(); err != nil {
		t.Errorf("close the way to the API server: %v", err)
	}
}

// writeKubeconfig writes a kubeconfig that leads here.
func (a *apiServer) writeKubeconfig(t *testing.T, path string) {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["proxy"] = &clientcmdapi.Cluster{Server: "http://" + a.address}
	config.Contexts["proxy"] = &clientcmdapi.Context{Cluster: "proxy"}
	config.CurrentContext = "proxy"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
}

// refuse answers requests whose path has the suffix with an error.
func (a *apiServer) refuse(suffix string) { a.refused.Store(&suffix) }

// RoundTrip implements http.RoundTripper.
func (a *apiServer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Has("watch") {
		select {
		case a.watching <- r.URL.Path:
		default: // no test reads the channel
		}
	}
	if suffix := a.refused.Load(); suffix != nil && strings.HasSuffix(r.URL.Path, *suffix) {
		return &http.Response{StatusCode: http.StatusInternalServerError, Body: http.NoBody, Request: r}, nil
	}
	if !isStep(r) {
		return a.transport.RoundTrip(r)
	}
	name := r.Method + " " + kindOf(r.URL.Path)
	if !a.next(name) {
		return nil, errKilled
	}
	response, err := a.transport.RoundTrip(r)
	if !a.next("the answer to "+name) && err == nil {
		return nil, errors.Join(errKilled, response.Body.Close())
	}
	return response, err
}

// isStep leaves out what the plugin does in the background: it asks for the
// server's version, and watches claims that are prepared.
func isStep(r *http.Request) bool {
	return r.URL.Path != "/version" && !r.URL.Query().Has("watch")
}

// kindOf keeps of a path what does not differ between runs.
func kindOf(path string) string {
	parts := strings.Split(path, "/")
	if strings.HasSuffix(path, "/token") {
		return "serviceaccounts/token"
	}
	return parts[max(0, len(parts)-2)]
}
