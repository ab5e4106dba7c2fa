// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/client-go/rest"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/kubeconfig"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

func parse(t *testing.T, args ...string) *Options {
	t.Helper()
	o := &Options{}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	o.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOptionsThatWork(t *testing.T) {
	for _, args := range [][]string{
		{"--lease-namespace=space-system"},
		{"--leader-elect=false"},
		{"--leader-elect=false", "--server=https://kubernetes.default.svc"},
		{"--leader-elect=false", "--server=https://[fd00::1]:6443"},
		{"--leader-elect=false", "--namespace-prefix=" + strings.Repeat("p", 53)},
		{"--leader-elect=false", "--namespace-prefix="},
		{"--leader-elect=false", "--network=Open", "--api-server-cidrs=10.0.0.0/8,fd00::/64", "--dns-namespace=openshift-dns", "--dns-labels=a=b,c=d", "--dns-port=5353", "--dns-cidrs=169.254.20.10/32", "--allowed-cluster-roles="},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			if err := parse(t, args...).validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	for _, test := range []struct{ arg, want string }{
		{"--leader-elect=true", "--lease-namespace is needed"},
		{"--driver-name=Not A Name", `driver name "Not A Name"`},
		{"--namespace-prefix=Upper-", `--namespace-prefix "Upper-"`},
		{"--namespace-prefix=-dash", "--namespace-prefix"},
		{"--namespace-prefix=a.b-", "--namespace-prefix"},
		{"--namespace-prefix=" + strings.Repeat("p", 54), "--namespace-prefix"},
		{"--cluster-role=", "--cluster-role"},
		{"--network=Closed", `--network "Closed"`},
		{"--dns-cidrs=169.254.20.10", `--dns-cidrs "169.254.20.10"`},
		{"--dns-port=0", `--dns-port 0: must be`},
		{"--dns-namespace=", `--dns-namespace must not be empty`},
		{"--api-server-cidrs=10.0.0.1", `--api-server-cidrs "10.0.0.1"`},
		{"--server=http://10.96.0.1", "--server"},
		{"--server=10.96.0.1:443", "--server"},
		{"--server=https://", "--server"},
		{"--exclusive-devices=0", "--exclusive-devices 0"},
		{"--workers=0", "--workers 0"},
	} {
		t.Run(test.arg, func(t *testing.T) {
			err := parse(t, "--leader-elect=false", test.arg).validate()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one that says %q", err, test.want)
			}
		})
	}
}

// What the options call the length of a suffix is what identity gives names.
func TestThePrefixIsCheckedWithTheRealSuffix(t *testing.T) {
	share := allocationOf(t, claimOf("a")).Shares[0]
	if got := len(share.NamespaceName("")); got != maxSuffix {
		t.Errorf("names have %d characters after the prefix, but prefixes are checked for %d", got, maxSuffix)
	}
}

// certificates returns a bundle of at least the given size.
func certificates(t *testing.T, size int) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return bytes.Repeat(block, size/len(block)+1)
}

func TestHowPodsReachTheAPIServer(t *testing.T) {
	ca := certificates(t, 1)
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	caFile, otherFile := file("ca.crt", ca), file("other.crt", append([]byte("# other\n"), ca...))
	inline := rest.TLSClientConfig{CAData: ca}
	byFile := rest.TLSClientConfig{CAFile: caFile}
	for name, test := range map[string]struct {
		args   []string
		tls    rest.TLSClientConfig
		server string
		ca     string
		err    string
	}{
		"as the controller, with its CA inline":  {nil, inline, "https://own:6443", string(ca), ""},
		"as the controller, with its CA in file": {nil, byFile, "https://own:6443", string(ca), ""},
		"by another name":                        {[]string{"--server=https://other"}, inline, "https://other", string(ca), ""},
		"trusting another CA":                    {[]string{"--certificate-authority=" + otherFile}, inline, "https://own:6443", "# other\n" + string(ca), ""},
		"trusting the system's roots":            {nil, rest.TLSClientConfig{}, "https://own:6443", "", ""},
		"no such file":                           {[]string{"--certificate-authority=" + dir + "/none"}, inline, "", "", dir + "/none"},
		"no certificates in it":                  {[]string{"--certificate-authority=" + file("junk", []byte("junk"))}, inline, "", "", "certificate authority for pods"},
		"more of them than a status has room for": {
			[]string{"--certificate-authority=" + file("big", certificates(t, maxCA))}, inline, "", "", "give a smaller bundle"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(t, test.args...).cluster(&rest.Config{Host: "https://own:6443", TLSClientConfig: test.tls})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got error %v, want one that says %q", err, test.err)
				}
				return
			}
			if err != nil || got.Server != test.server || string(got.CA) != test.ca {
				t.Errorf("got server %q, CA %q, error %v; want server %q, CA %q", got.Server, got.CA, err, test.server, test.ca)
			}
		})
	}
}

func TestTheLargestCAFitsIntoAClaimsStatus(t *testing.T) {
	claim := claimOf("a")
	a := allocationOf(t, claim)
	c := newController(t)
	c.Settings.NamespacePrefix = strings.Repeat("p", 53)
	c.Cluster = kubeconfig.Cluster{Server: "https://" + strings.Repeat("s", 253) + ":6443", CA: bytes.Repeat([]byte("x"), maxCA)}
	entry, err := c.readyEntry(a, a.Shares[0], c.nameOf(a, a.Shares[0], parameters.Effective{}), provisioned{serviceAccountUID: "6d2a5f0e-6a52-4f1e-8d55-0123456789ab"})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(entry.Data)
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > resourceapi.AllocatedDeviceStatusDataMaxLength {
		t.Errorf("the data have %d bytes, and the API server takes %d", len(raw), resourceapi.AllocatedDeviceStatusDataMaxLength)
	}
	if entry.Data.Kind != spaceapi.SpaceStatusKind {
		t.Errorf("the data are of kind %q", entry.Data.Kind)
	}
}
