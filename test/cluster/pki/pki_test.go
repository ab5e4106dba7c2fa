// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestCA_issuesCertificatesThatVerify(t *testing.T) {
	ca, err := NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca.Cert) {
		t.Fatal("the authority's certificate can't be read")
	}

	server, err := ca.Server("server", []string{"kubernetes.default.svc"}, []net.IP{net.IPv4(10, 96, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kubernetes.default.svc", "10.96.0.1"} {
		verify(t, server, x509.VerifyOptions{Roots: roots, DNSName: name})
	}

	client, err := ca.Client("system:node:n", "system:nodes")
	if err != nil {
		t.Fatal(err)
	}
	cert := verify(t, client, x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if cert.Subject.CommonName != "system:node:n" || !slices.Equal(cert.Subject.Organization, []string{"system:nodes"}) {
		t.Errorf("the client is %v", cert.Subject)
	}
}

func verify(t *testing.T, pair Pair, opts x509.VerifyOptions) *x509.Certificate {
	t.Helper()
	if _, err := tls.X509KeyPair(pair.Cert, pair.Key); err != nil {
		t.Fatalf("certificate and key don't match: %v", err)
	}
	block, _ := pem.Decode(pair.Cert)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Verify(opts); err != nil {
		t.Errorf("verifying %s: %v", cert.Subject, err)
	}
	return cert
}

func TestWrite_protectsTheKey(t *testing.T) {
	dir := t.TempDir()
	if err := (Pair{Cert: []byte("cert"), Key: []byte("key")}).Write(dir, "sa"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "sa.key"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("the key's mode is %v, want 0600", info.Mode())
	}
}
