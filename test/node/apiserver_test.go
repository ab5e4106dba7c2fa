// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	"tags.cncf.io/container-device-interface/pkg/cdi"

	"github.com/space-dra/space-dra-driver/test/cluster/pki"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestAPIServer_newCAAndAddressReachPreparedClaims rotates the certificate authority of the server
// that containers use, and then moves the server. The kubelet does not call Prepare for either.
func TestAPIServer_newCAAndAddressReachPreparedClaims(t *testing.T) {
	t.Parallel()
	former, later := framework.NewCA(t, "former"), framework.NewCA(t, "later")
	server := newServer(t, former)
	c, n := readyClaim(t), newNode(t)
	trust := func(ca []byte) {
		t.Helper()
		// The kubelet, too, replaces the file.
		if err := os.WriteFile(n.ca+".new", ca, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(n.ca+".new", n.ca); err != nil {
			t.Fatal(err)
		}
	}
	trust(former.Cert())
	n.arguments = []string{"--advertise-apiserver-url=" + server.URL}
	p := n.start(t)
	if _, err := p.prepare(t, c); err != nil {
		t.Fatal(err)
	}
	dir, inContainer := n.mount(t, c)
	running, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = running.Close() }()
	await := func(name string, change func(before string) string) {
		t.Helper()
		before, err := running.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want := change(string(before))
		framework.Eventually(t, "a running container to have another "+name, func(context.Context) error {
			if got, err := running.ReadFile(name); err != nil || string(got) != want {
				return fmt.Errorf("it has %.200q, error %w, want %.200q", got, err, want)
			}
			return nil
		})
	}
	awaitCA := func(ca []byte) {
		t.Helper()
		await("ca.crt", func(string) string { return string(ca) })
	}
	// kubectl is a client that starts, or that reads the files again.
	kubectl := func() (string, error) {
		t.Helper()
		text, err := running.ReadFile("kubeconfig")
		if err != nil {
			t.Fatal(err)
		}
		kubeconfig := filepath.Join(n.dir, "of-the-container")
		if err := os.WriteFile(kubeconfig, bytes.ReplaceAll(text, []byte(inContainer), []byte(dir)), 0o600); err != nil {
			t.Fatal(err)
		}
		return env.TryKubectl(t.Context(), "--kubeconfig="+kubeconfig, "get", "serviceaccounts", "-o", "name")
	}
	works := func(when string) {
		t.Helper()
		if out, err := kubectl(); err != nil || !strings.Contains(out, "serviceaccount/"+c.spaces[0].ServiceAccount) {
			t.Errorf("%s, kubectl in a container prints %q, error %v", when, out, err)
		}
	}
	works("at first")

	// 60 KiB are what large organizations have.
	bundle := append(bytes.Repeat(former.Cert(), 60<<10/len(former.Cert())), later.Cert()...)
	trust(bundle)
	awaitCA(bundle)
	works("with a bundle of both")
	server.use(t, later)
	works("with a bundle of both, and a certificate of the later CA")
	trust(later.Cert())
	awaitCA(later.Cert())
	server.use(t, former)
	if out, err := kubectl(); err == nil || !strings.Contains(out, "x509") {
		t.Errorf("kubectl trusts the previous CA: it prints %q, error %v", out, err)
	}
	server.use(t, later)
	works("with the later CA")

	p.kill()
	moved := newServer(t, later)
	n.arguments = []string{"--advertise-apiserver-url=" + moved.URL}
	p = n.start(t)
	await("kubeconfig", func(before string) string { return strings.ReplaceAll(before, server.URL, moved.URL) })
	server.Close()
	works("when the server has moved")
	framework.Eventually(t, "new containers to have the new address", func(context.Context) error {
		if after, _ := n.mount(t, c); after != dir {
			return fmt.Errorf("they mount %s, want %s", after, dir)
		}
		if variables := n.containerEnv(t); !slices.ContainsFunc(variables, func(v string) bool { return strings.HasSuffix(v, "_CLUSTER="+moved.URL) }) {
			return fmt.Errorf("they have %q, want %s", variables, moved.URL)
		}
		return nil
	})
	n.mustUnprepare(t, p, c)
}

// containerEnv returns the environment variables of containers with the only space on the node.
func (n *node) containerEnv(t *testing.T) []string {
	t.Helper()
	specs, err := cdi.NewCache(cdi.WithSpecDirs(n.cdi), cdi.WithAutoRefresh(false))
	if err != nil {
		t.Fatal(err)
	}
	var variables []string
	for _, name := range specs.ListDevices() {
		variables = append(variables, specs.GetDevice(name).ContainerEdits.Env...)
	}
	return variables
}

// tlsServer is an address of the API server with a certificate that can be replaced.
type tlsServer struct {
	*httptest.Server

	certificate atomic.Pointer[tls.Certificate]
}

func newServer(t *testing.T, ca *pki.CA) *tlsServer {
	t.Helper()
	config, err := env.Cluster.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(rest.AnonymousClientConfig(config))
	if err != nil {
		t.Fatal(err)
	}
	silent := log.New(io.Discard, "", 0)
	s := &tlsServer{Server: httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: transport, ErrorLog: silent,
	})}
	s.use(t, ca)
	s.Config.ErrorLog = silent
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{*s.certificate.Load()}}, nil
	}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// use gives the server a certificate of an authority, for clients that connect from now on.
func (s *tlsServer) use(t *testing.T, ca *pki.CA) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "server")
	if err := ca.Issue(path, cert.Config{CommonName: "server", AltNames: cert.AltNames{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}}); err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.LoadX509KeyPair(path+".crt", path+".key")
	if err != nil {
		t.Fatal(err)
	}
	s.certificate.Store(&certificate)
}
