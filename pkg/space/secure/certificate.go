// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package secure

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"os"
	"sync"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// lookInterval is how often the files are looked at, if somebody comes.
	lookInterval = 10 * time.Second
	// ownLifetime is that of a certificate that the process signs itself. Another one
	// follows after half of it.
	ownLifetime = 365 * 24 * time.Hour
)

// certificate is the one that is shown now.
type certificate struct {
	certFile, keyFile string
	clock             clock.PassiveClock
	logger            klog.Logger

	mutex   sync.Mutex
	current *tls.Certificate
	// looked is when the files were read, or the certificate was made.
	looked    time.Time
	cert, key []byte
}

func newCertificate(certFile, keyFile string, clock clock.PassiveClock, logger klog.Logger) *certificate {
	return &certificate{certFile: certFile, keyFile: keyFile, clock: clock, logger: logger}
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: c.get}
}

// get is called for each connection. What can't be read or does not fit together, as in
// the midst of a change, does not take the place of what was there.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	age := lookInterval
	if c.certFile == "" {
		age = ownLifetime / 2
	}
	if c.clock.Since(c.looked) >= age {
		if err := c.renew(); err != nil {
			c.logger.Error(err, "The certificate for metrics stays as it was")
		}
	}
	return c.current, nil
}

// look is for the start, when there is nothing else to show.
func (c *certificate) look() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.renew()
}

func (c *certificate) renew() error {
	c.looked = c.clock.Now()
	if c.certFile == "" {
		return c.sign()
	}
	cert, err := os.ReadFile(c.certFile)
	if err != nil {
		return fmt.Errorf("read the certificate for metrics: %w", err)
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return fmt.Errorf("read the key of the certificate for metrics: %w", err)
	}
	if c.current != nil && bytes.Equal(cert, c.cert) && bytes.Equal(key, c.key) {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("the certificate for metrics in %s and its key in %s: %w", c.certFile, c.keyFile, err)
	}
	c.current, c.cert, c.key = &pair, cert, key
	c.logger.V(1).Info("Certificate for metrics read", "until", pair.Leaf.NotAfter)
	return nil
}

// sign makes a certificate that keeps others from listening, and proves nothing.
func (c *certificate) sign() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key for metrics: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return fmt.Errorf("make a certificate for metrics: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("make a certificate for metrics: %w", err)
	}
	now := c.clock.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: host},
		DNSNames:     []string{host},
		// Clocks of machines differ a little.
		NotBefore:   now.Add(-time.Hour),
		NotAfter:    now.Add(ownLifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("sign a certificate for metrics: %w", err)
	}
	c.current = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return nil
}
