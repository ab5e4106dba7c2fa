// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"k8s.io/client-go/util/cert"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestSecureMetrics_areServedToAuthorizedClientsOnly has a controller with the permissions of the
// chart, and a client with the chart's ClusterRole for Prometheus.
func TestSecureMetrics_areServedToAuthorizedClientsOnly(t *testing.T) {
	t.Parallel()
	const driver, release = "secured.example.com", "secured"
	ns := env.Namespace(t)
	token := env.Token(t, ns, "default")
	health, address := framework.FreeAddress(t), framework.FreeAddress(t)
	arguments, client := serveTLS(t, address)
	reader := client.As(token)
	arguments = slices.Concat(arguments, []string{"--health-probe-bind-address=" + health},
		releaseOf(t, release, framework.DriverNamespace, map[string]string{"driverName": driver, "metrics.secure.enabled": "true"}, "rbac-controller.yaml", "rbac-metrics.yaml"))
	// From level 8 on, client-go logs the bodies of requests.
	verbose := framework.StartController(t, env, append(arguments, "--v=8")...)
	if err := verbose.Wait(); err == nil || !strings.Contains(verbose.Log.String(), "would log the tokens") {
		t.Errorf("a controller that would log tokens exits with error %v", err)
	}
	c := startController(t, env, append(arguments, "--v=7")...)

	framework.PlainHTTP(health).Await(t, "/readyz", http.StatusOK)
	framework.PlainHTTP(health).Await(t, "/metrics", http.StatusNotFound)
	client.Await(t, "/metrics", http.StatusUnauthorized)
	// A token with another character in the middle of its signature. controller-runtime returns the
	// status 500 for it.
	forged := []byte(token)
	middle := (strings.LastIndex(token, ".") + len(token)) / 2
	if forged[middle]++; token[middle] != 'A' {
		forged[middle] = 'A'
	}
	client.As(string(forged)).Await(t, "/metrics", http.StatusInternalServerError)
	reader.Await(t, "/metrics", http.StatusForbidden)
	env.Kubectl(t, "create", "clusterrolebinding", release+"-reader", "--clusterrole="+release+"-space-dra-driver-metrics-reader", "--serviceaccount="+ns+":default")
	t.Cleanup(func() { _, _ = env.TryKubectl(context.Background(), "delete", "clusterrolebinding", release+"-reader") })
	// The API server caches the denial for the first token.
	client.As(env.Token(t, ns, "default")).Await(t, "/metrics", http.StatusOK, "space_dra_build_info", `rest_client_requests_total{code="201"`)

	// The log is complete when the process has exited.
	c.Stop(t, syscall.SIGTERM)
	log := c.Log.String()
	_, rest, _ := strings.Cut(token, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	for _, part := range []string{payload, signature} {
		if strings.Contains(log, part) {
			t.Error("the client's token is in the log")
		}
	}
	if !strings.Contains(log, "tokenreviews") && !strings.Contains(log, "subjectaccessreviews") {
		t.Error("the log has no requests of the authentication, so this test does not show that tokens are redacted")
	}
}

// serveTLS creates a certificate for an address. It returns the flags of a controller that serves
// metrics there, and a client that trusts only this certificate.
func serveTLS(t *testing.T, address string) ([]string, framework.HTTPClient) {
	t.Helper()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	pemCert, pemKey, err := cert.GenerateSelfSignedCertKey(host, []net.IP{net.ParseIP(host)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, content := range map[string][]byte{certFile: pemCert, keyFile: pemKey} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(pemCert)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS13}}
	t.Cleanup(transport.CloseIdleConnections)
	flags := []string{"--metrics-bind-address=" + address, "--metrics-secure", "--tls-cert-file=" + certFile, "--tls-private-key-file=" + keyFile}
	return flags, framework.HTTPClient{Client: &http.Client{Transport: transport}, URL: "https://" + address}
}
