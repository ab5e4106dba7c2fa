// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pki makes the certificates and keys of a cluster.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

const (
	lifetime = 2 * 365 * 24 * time.Hour
	// clockSkew is how far in the past validity begins.
	clockSkew = time.Hour
)

// Pair is a certificate and its private key, in PEM.
type Pair struct {
	Cert []byte
	Key  []byte
}

// Write writes <name>.crt and <name>.key into a directory; only the owner can
// read the key.
func (p Pair) Write(dir, name string) error {
	if err := os.WriteFile(filepath.Join(dir, name+".crt"), p.Cert, 0o644); err != nil {
		return fmt.Errorf("writing certificate %s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".key"), p.Key, 0o600); err != nil {
		return fmt.Errorf("writing key %s: %w", name, err)
	}
	return nil
}

func newPair(certificate *x509.Certificate, key crypto.Signer) (Pair, error) {
	certPEM, err := cert.EncodeCertificates(certificate)
	if err != nil {
		return Pair{}, err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	return Pair{certPEM, keyPEM}, err
}

// CA is a certificate authority.
type CA struct {
	Pair

	cert *x509.Certificate
	key  crypto.Signer
}

// NewCA creates a self-signed certificate authority.
func NewCA(commonName string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("creating certificate authority %s: %w", commonName, err)
	}
	ca := &CA{key: key}
	if ca.cert, err = cert.NewSelfSignedCACert(cert.Config{CommonName: commonName, NotBefore: time.Now().Add(-clockSkew)}, key); err != nil {
		return nil, fmt.Errorf("creating certificate authority %s: %w", commonName, err)
	}
	if ca.Pair, err = newPair(ca.cert, key); err != nil {
		return nil, fmt.Errorf("creating certificate authority %s: %w", commonName, err)
	}
	return ca, nil
}

// Server creates a serving certificate for names and addresses.
func (ca *CA) Server(commonName string, names []string, addrs []net.IP) (Pair, error) {
	return ca.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: commonName}, DNSNames: names, IPAddresses: addrs,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// Client creates a client certificate; Kubernetes takes the common name as the
// user's name and the organizations as groups.
func (ca *CA) Client(user string, groups ...string) (Pair, error) {
	return ca.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (ca *CA) issue(template *x509.Certificate) (Pair, error) {
	fail := func(err error) (Pair, error) {
		return Pair{}, fmt.Errorf("issuing the certificate of %s: %w", template.Subject.CommonName, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return fail(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-clockSkew), time.Now().Add(lifetime)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return fail(err)
	}
	pair, err := newPair(&x509.Certificate{Raw: der}, key)
	if err != nil {
		return fail(err)
	}
	return pair, nil
}
