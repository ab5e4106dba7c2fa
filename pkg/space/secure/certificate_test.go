// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package secure

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

// files are a certificate and its key.
type files struct{ cert, key string }

// write makes a certificate for a name.
func (f files) write(t *testing.T, name string) {
	t.Helper()
	pemCert, pemKey, err := cert.GenerateSelfSignedCertKey(name, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{f.cert: pemCert, f.key: pemKey} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func newFiles(t *testing.T) files {
	t.Helper()
	dir := t.TempDir()
	return files{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
}

// shown returns the certificate that the next client sees.
func shown(t *testing.T, c *certificate) *x509.Certificate {
	t.Helper()
	pair, err := c.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func TestACertificateThatChangesIsShownAndABrokenOneIsNot(t *testing.T) {
	f, now := newFiles(t), clocktesting.NewFakeClock(time.Now())
	f.write(t, "first")
	c := newCertificate(f.cert, f.key, now, klog.Background())
	if err := c.look(); err != nil {
		t.Fatal(err)
	}
	want := func(name string) {
		t.Helper()
		if err := shown(t, c).VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	want("first")
	f.write(t, "second")
	want("first") // it has just been looked at
	now.Step(lookInterval)
	want("second")

	other := newFiles(t)
	other.write(t, "third")
	content, err := os.ReadFile(other.cert)
	if err != nil {
		t.Fatal(err)
	}
	// Half a change, which the next look may find whole.
	if err := os.WriteFile(f.cert, content, 0o600); err != nil {
		t.Fatal(err)
	}
	now.Step(lookInterval)
	want("second")
	if err := os.Remove(f.cert); err != nil {
		t.Fatal(err)
	}
	now.Step(lookInterval)
	want("second")
	f.write(t, "fourth")
	now.Step(lookInterval)
	want("fourth")
}

func TestWithoutACertificateThereIsOneOfItsOwnThatDoesNotRunOut(t *testing.T) {
	now := clocktesting.NewFakeClock(time.Now())
	c := newCertificate("", "", now, klog.Background())
	if err := c.look(); err != nil {
		t.Fatal(err)
	}
	first := shown(t, c)
	for range 10 {
		now.Step(100 * 24 * time.Hour)
		if leaf := shown(t, c); leaf.NotAfter.Before(now.Now()) || leaf.NotBefore.After(now.Now()) {
			t.Errorf("at %s it is valid from %s to %s", now.Now(), leaf.NotBefore, leaf.NotAfter)
		}
	}
	if shown(t, c).Equal(first) {
		t.Error("it is still the first one")
	}
}

func TestACertificateThatCantBeReadIsSaidAtTheStart(t *testing.T) {
	f := newFiles(t)
	m := Metrics{Address: "127.0.0.1:0", CertFile: f.cert, KeyFile: f.key}
	if err := m.Run(t.Context(), fake.NewClientset(), clock.RealClock{}); err == nil || !strings.Contains(err.Error(), f.cert) {
		t.Errorf("got error %v, want one that names the file", err)
	}
	f.write(t, "a")
	if err := os.WriteFile(f.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY"}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context(), fake.NewClientset(), clock.RealClock{}); err == nil || !strings.Contains(err.Error(), f.key) {
		t.Errorf("got error %v, want one that names the file", err)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	c := newCertificate("", "", clock.RealClock{}, klog.Background())
	if err := c.look(); err != nil {
		t.Fatal(err)
	}
	for version, works := range map[uint16]bool{tls.VersionTLS12: false, tls.VersionTLS13: true} {
		ours, theirs := net.Pipe()
		go func() { _ = tls.Server(ours, c.config()).HandshakeContext(t.Context()) }()
		client := tls.Client(theirs, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
		if err := client.HandshakeContext(t.Context()); (err == nil) != works {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

func TestFlagsThatDoNotFitTogetherAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		metrics Metrics
		right   bool
	}{
		"nothing":                          {Metrics{}, true},
		"an address":                       {Metrics{Address: ":8443"}, true},
		"all":                              {Metrics{Address: ":8443", CertFile: "a", KeyFile: "b"}, true},
		"no key":                           {Metrics{Address: ":8443", CertFile: "a"}, false},
		"no certificate":                   {Metrics{Address: ":8443", KeyFile: "b"}, false},
		"a certificate without an address": {Metrics{CertFile: "a", KeyFile: "b"}, false},
	} {
		if err := test.metrics.Validate(); (err == nil) != test.right {
			t.Errorf("%s: got error %v", name, err)
		}
	}
}
