// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"
)

func TestCA_issuesCertificatesThatVerify(t *testing.T) {
	ca, err := NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	roots, err := cert.NewPoolFromBytes(ca.Cert())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pki", "server")
	names := cert.AltNames{DNSNames: []string{"kubernetes.default.svc"}, IPs: []net.IP{net.IPv4(10, 96, 0, 1)}}
	if err := ca.Issue(path, cert.Config{CommonName: "server", AltNames: names}); err != nil {
		t.Fatal(err)
	}
	server, err := tls.LoadX509KeyPair(path+".crt", path+".key")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kubernetes.default.svc", "10.96.0.1"} {
		if _, err := server.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("verifying the server %s: %v", name, err)
		}
	}
	checkOwnerOnly(t, path+".key")

	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := ca.WriteKubeconfig(file, "https://172.30.0.1:6443", "system:node:n", "system:nodes"); err != nil {
		t.Fatal(err)
	}
	checkOwnerOnly(t, file)
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	client, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("verifying the client: %v", err)
	}
	if subject := client.Leaf.Subject; subject.CommonName != "system:node:n" || !slices.Equal(subject.Organization, []string{"system:nodes"}) {
		t.Errorf("the client is %v", subject)
	}
	if config.Host != "https://172.30.0.1:6443" || !slices.Equal(config.CAData, ca.Cert()) {
		t.Errorf("the kubeconfig has the server %s and the authority %s", config.Host, config.CAData)
	}
}

// checkOwnerOnly fails the test unless only the owner can read and write a file.
func checkOwnerOnly(t *testing.T, file string) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("the mode of %s is %v, want 0600", file, info.Mode())
	}
}
