// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pki makes the certificates and keys of a cluster.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	certLifetime = 2 * 365 * 24 * time.Hour
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

// CA is a certificate authority.
type CA struct {
	Pair

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA creates a self-signed certificate authority.
func NewCA(commonName string) (*CA, error) {
	template, err := newTemplate(pkix.Name{CommonName: commonName}, caLifetime)
	if err != nil {
		return nil, fmt.Errorf("creating certificate authority %s: %w", commonName, err)
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	pair, key, err := sign(template, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("creating certificate authority %s: %w", commonName, err)
	}
	block, _ := pem.Decode(pair.Cert)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("creating certificate authority %s: %w", commonName, err)
	}
	return &CA{Pair: pair, cert: cert, key: key}, nil
}

// Server creates a serving certificate for names and addresses.
func (ca *CA) Server(commonName string, names []string, addrs []net.IP) (Pair, error) {
	template, err := newTemplate(pkix.Name{CommonName: commonName}, certLifetime)
	if err != nil {
		return Pair{}, fmt.Errorf("creating serving certificate %s: %w", commonName, err)
	}
	template.DNSNames, template.IPAddresses = names, addrs
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	pair, _, err := sign(template, ca.cert, ca.key)
	if err != nil {
		return Pair{}, fmt.Errorf("creating serving certificate %s: %w", commonName, err)
	}
	return pair, nil
}

// Client creates a client certificate; Kubernetes takes the common name as the
// user's name and the organizations as groups.
func (ca *CA) Client(user string, groups ...string) (Pair, error) {
	template, err := newTemplate(pkix.Name{CommonName: user, Organization: groups}, certLifetime)
	if err != nil {
		return Pair{}, fmt.Errorf("creating client certificate %s: %w", user, err)
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	pair, _, err := sign(template, ca.cert, ca.key)
	if err != nil {
		return Pair{}, fmt.Errorf("creating client certificate %s: %w", user, err)
	}
	return pair, nil
}

// ServiceAccountKey creates the key that signs ServiceAccount tokens. The
// pair's Cert is the public key.
func ServiceAccountKey() (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("creating the ServiceAccount key: %w", err)
	}
	private, err := encodeKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("creating the ServiceAccount key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return Pair{}, fmt.Errorf("creating the ServiceAccount key: %w", err)
	}
	return Pair{Cert: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), Key: private}, nil
}

func newTemplate(subject pkix.Name, lifetime time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("choosing a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}, nil
}

// sign creates a key and a certificate for it, self-signed without a parent.
func sign(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (Pair, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, nil, fmt.Errorf("creating a key: %w", err)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return Pair{}, nil, fmt.Errorf("signing: %w", err)
	}
	private, err := encodeKey(key)
	if err != nil {
		return Pair{}, nil, err
	}
	return Pair{Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: private}, key, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}
