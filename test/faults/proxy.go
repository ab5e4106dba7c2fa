// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package faults injects faults: a proxy between a client and the API server, with which a test can make
// any request fail, or kill the client during a request.
package faults

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Answer is the response to a request.
type Answer int

const (
	// Forwarded is the response of the API server.
	Forwarded Answer = iota
	// Broken is a connection that is closed without a response.
	Broken
	// Failed is an internal error of the server, with the message [Fault].
	Failed
	// NotServed is the response of a server that does not serve the kind.
	NotServed
)

// Fault is the message of a request that is [Failed].
const Fault = "injected fault"

// Intercept decides how the proxy answers a request. If the answer is [Forwarded], the proxy forwards the
// request. To forward it also with another answer, or before something else, an Intercept calls forward,
// which returns after the response. It must not call forward for watches, which have no end. An Intercept
// is called for many requests at the same time.
type Intercept func(call Call, forward func()) Answer

// Proxy forwards requests to an API server, with an administrator's credentials. It listens only on the
// loopback interface, without TLS and authentication.
type Proxy struct {
	server    *httptest.Server
	upstream  atomic.Pointer[httputil.ReverseProxy]
	intercept atomic.Pointer[Intercept]
}

var silent = log.New(io.Discard, "", 0)

// New starts a proxy to the API server of a client configuration for one test, and writes
// a kubeconfig for its clients to a file.
func New(t testing.TB, config *rest.Config, kubeconfig string) *Proxy {
	t.Helper()
	p := &Proxy{}
	p.SetUpstream(t, config)
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.server.Config.ErrorLog = silent
	p.server.Start()
	t.Cleanup(func() { p.Close(t) })

	file := clientcmdapi.NewConfig()
	file.Clusters["proxy"] = &clientcmdapi.Cluster{Server: p.server.URL}
	file.Contexts["proxy"] = &clientcmdapi.Context{Cluster: "proxy"}
	file.CurrentContext = "proxy"
	if err := clientcmd.WriteToFile(*file, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return p
}

// SetUpstream makes the API server of another client configuration the one that later requests are
// forwarded to.
func (p *Proxy) SetUpstream(t testing.TB, config *rest.Config) {
	t.Helper()
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	p.upstream.Store(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: transport,
		// Events of a watch must not wait for one another.
		FlushInterval: -1,
		ErrorLog:      silent,
		// As it would be without a proxy.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	})
}

// Intercept replaces the Intercept. With nil, the proxy forwards all requests.
func (p *Proxy) Intercept(i Intercept) {
	if i == nil {
		p.intercept.Store(nil)
		return
	}
	p.intercept.Store(&i)
}

// CloseConnections closes the connections of requests in progress, including watches.
func (p *Proxy) CloseConnections() { p.server.CloseClientConnections() }

// Close closes all connections, and accepts no more. The end of the test also does this.
func (p *Proxy) Close(t testing.TB) {
	if err := p.server.Config.Close(); err != nil {
		t.Errorf("close a proxy: %v", err)
	}
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	intercept, upstream := p.intercept.Load(), p.upstream.Load()
	if intercept == nil {
		upstream.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	call, err := callOf(r, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}

	var (
		once  sync.Once
		early *httptest.ResponseRecorder
	)
	answer := (*intercept)(call, func() {
		once.Do(func() {
			early = httptest.NewRecorder()
			upstream.ServeHTTP(early, r)
		})
	})
	switch {
	case answer == Broken:
		panic(http.ErrAbortHandler)
	case answer == Failed:
		fail(w)
	case answer == NotServed:
		http.NotFound(w, r)
	case early != nil:
		passOn(w, early)
	default:
		upstream.ServeHTTP(w, r)
	}
}

func fail(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusInternalServerError)
	fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"InternalError","code":500,"message":"`+Fault+`"}`)
}

func passOn(w http.ResponseWriter, early *httptest.ResponseRecorder) {
	maps.Copy(w.Header(), early.Header())
	w.WriteHeader(early.Code)
	if _, err := early.Body.WriteTo(w); err != nil {
		panic(http.ErrAbortHandler)
	}
}
