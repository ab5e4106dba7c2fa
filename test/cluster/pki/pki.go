// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pki makes the certificates, keys and kubeconfigs of a cluster.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

const (
	lifetime = 2 * 365 * 24 * time.Hour
	// clockSkew is how far in the past validity begins.
	clockSkew = time.Hour
)

// CA is a certificate authority.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// NewCA creates a self-signed certificate authority.
func NewCA(commonName string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("create certificate authority %s: %w", commonName, err)
	}
	certificate, err := cert.NewSelfSignedCACert(cert.Config{CommonName: commonName, NotBefore: time.Now().Add(-clockSkew)}, key)
	if err != nil {
		return nil, fmt.Errorf("create certificate authority %s: %w", commonName, err)
	}
	return &CA{certificate, key}, nil
}

// Cert returns the authority's certificate in PEM.
func (ca *CA) Cert() []byte { return certPEM(ca.cert.Raw) }

// Write writes the authority's certificate and key as Issue does.
func (ca *CA) Write(path string) error { return write(path, ca.cert.Raw, ca.key) }

// Issue creates a certificate for a client or a server, and writes <path>.crt and
// <path>.key, which only the owner can read. Kubernetes takes a client's common name
// as the user's name and the organizations as groups.
func (ca *CA) Issue(path string, config cert.Config) error {
	der, key, err := ca.issue(config)
	if err != nil {
		return err
	}
	return write(path, der, key)
}

// WriteKubeconfig creates a client's certificate and writes a kubeconfig that has it
// and needs no other file. Only the owner can read it.
func (ca *CA) WriteKubeconfig(file, server, user string, groups ...string) error {
	der, key, err := ca.issue(cert.Config{CommonName: user, Organization: groups})
	if err != nil {
		return err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	const name = "space-cluster"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca.Cert()}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: certPEM(der), ClientKeyData: keyPEM}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: user}
	config.CurrentContext = name
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		return fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	return nil
}

func (ca *CA) issue(config cert.Config) (der []byte, key crypto.Signer, err error) {
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, nil, fmt.Errorf("create the key of %s: %w", config.CommonName, err)
	}
	der, err = x509.CreateCertificate(rand.Reader, &x509.Certificate{
		Subject:     pkix.Name{CommonName: config.CommonName, Organization: config.Organization},
		DNSNames:    config.AltNames.DNSNames,
		IPAddresses: config.AltNames.IPs,
		NotBefore:   time.Now().Add(-clockSkew),
		NotAfter:    time.Now().Add(lifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, nil, fmt.Errorf("issue the certificate of %s: %w", config.CommonName, err)
	}
	return der, key, nil
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: der})
}

func write(path string, der []byte, key crypto.Signer) error {
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err == nil {
		err = errors.Join(cert.WriteCert(path+".crt", certPEM(der)), keyutil.WriteKey(path+".key", keyPEM))
	}
	if err != nil {
		return fmt.Errorf("write %s.crt and .key: %w", path, err)
	}
	return nil
}
