// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/space-dra/space-dra-driver/pkg/space/kubeconfig"
)

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

// replaceFile replaces a file as the kubelet does.
func (n *node) replaceFile(path string, content []byte) {
	n.t.Helper()
	n.must(os.WriteFile(path+".new", content, 0o600))
	n.must(os.Rename(path+".new", path))
}

func (n *node) wantServerFiles(claim types.UID, dir, server string, ca []byte) {
	n.t.Helper()
	path := n.driver.store.credentialsPath(claim, dir)
	if got, err := os.ReadFile(filepath.Join(path, "ca.crt")); err != nil || !bytes.Equal(got, ca) {
		n.t.Errorf("claim %s has a CA of %d bytes, error %v, want %d bytes", claim, len(got), err, len(ca))
	}
	got, err := os.ReadFile(filepath.Join(path, "kubeconfig"))
	namespace, _ := os.ReadFile(filepath.Join(path, "namespace"))
	want := kubeconfig.Build(server, filepath.Join("/var/run/claim-artifacts", string(claim), dir), string(namespace))
	if err != nil || string(got) != want || len(namespace) == 0 {
		n.t.Errorf("claim %s has, error %v, kubeconfig\n%s\nwant\n%s", claim, err, got, want)
	}
}

func TestWatchCA_updatesAllClaimsInPlace(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		path := filepath.Join(t.TempDir(), "ca.crt")
		first, second, large := certificates(t, 1), certificates(t, 1), certificates(t, maxCASize-1000)
		n.replaceFile(path, first)
		n.server = APIServer{URL: testServer, CAFile: path}
		n.restart()
		n.preparedAs(claimA, "a", "b")
		other := claimFor("a")
		other.UID, other.Name = claimB, "other"
		_, err := n.driver.prepare(t.Context(), n.create(readyWith(t, other, "account-1")))
		n.must(err)
		want := func(ca []byte) {
			t.Helper()
			synctest.Wait()
			n.wantServerFiles(claimA, "a", testServer, ca)
			n.wantServerFiles(claimA, "b", testServer, ca)
			n.wantServerFiles(claimB, "", testServer, ca)
		}
		want(first)
		mounted, err := os.OpenRoot(n.driver.store.credentialsPath(claimB, ""))
		n.must(err)
		defer func() { _ = mounted.Close() }()

		n.replaceFile(path, second)
		<-time.After(resyncInterval)
		want(second)
		if got, err := mounted.ReadFile("ca.crt"); err != nil || !bytes.Equal(got, second) {
			t.Errorf("a running container sees %q, error %v", got, err)
		}
		// What can't be used changes nothing.
		for _, bad := range [][]byte{nil, []byte("junk"), certificates(t, maxCASize+1)} {
			n.replaceFile(path, bad)
			<-time.After(resyncInterval)
			want(second)
		}
		n.must(os.Remove(path))
		<-time.After(resyncInterval)
		want(second)

		// A claim that is in use just then is updated a little later.
		n.replaceFile(path, large)
		_, unlock := take(t, n.driver.locks, claimB)
		<-time.After(resyncInterval)
		synctest.Wait()
		n.wantServerFiles(claimA, "a", testServer, large)
		n.wantServerFiles(claimB, "", testServer, second)
		unlock()
		<-time.After(resyncInterval)
		want(large)
	})
}

func TestStart_updatesClaimsToItsOwnServer(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		n.wantServerFiles(claimA, "", testServer, []byte("the CA"))
		n.server = APIServer{URL: "https://api.example.com", CA: []byte("another CA")}
		n.restart()
		synctest.Wait()
		n.wantServerFiles(claimA, "", "https://api.example.com", []byte("another CA"))
	})
}

func TestPrepare_believesNothingOfTheStatusButNames(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyWith(t, withChoice(claimFor("a"), `,"inCluster":true`), "account-1"))
		devices, err := n.driver.prepare(t.Context(), claim)
		n.must(err)
		n.wantServerFiles(claim.UID, "", testServer, []byte("the CA"))
		env := n.containerGets(devices[0].CDIDeviceIDs[0]).Env
		for _, want := range []string{"TEST_CLAIM_CLUSTER=" + testServer, "KUBERNETES_SERVICE_HOST=10.96.0.1"} {
			if !slices.Contains(env, want) {
				t.Errorf("containers have no %s: %q", want, env)
			}
		}
		if text := strings.Join(env, "\n"); strings.Contains(text, "status.example.com") {
			t.Errorf("the status leads containers elsewhere: %s", text)
		}
	})
}

func TestOptions_howPodsReachTheAPIServer(t *testing.T) {
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
	for name, test := range map[string]struct {
		args   []string
		tls    rest.TLSClientConfig
		server string
		ca     string
		err    string
	}{
		"as the plugin, with its CA inline":  {nil, inline, "https://own:6443", string(ca), ""},
		"as the plugin, with its CA in file": {nil, rest.TLSClientConfig{CAFile: caFile}, "https://own:6443", string(ca), ""},
		"by another name":                    {[]string{"--advertise-apiserver-url=https://other"}, inline, "https://other", string(ca), ""},
		"trusting another CA":                {[]string{"--certificate-authority=" + otherFile}, inline, "https://own:6443", "# other\n" + string(ca), ""},
		"trusting the system's roots":        {nil, rest.TLSClientConfig{}, "https://own:6443", "", ""},
		"no such file":                       {[]string{"--certificate-authority=" + dir + "/none"}, inline, "", "", dir + "/none"},
		"no certificates in it":              {[]string{"--certificate-authority=" + file("junk", []byte("junk"))}, inline, "", "", "certificate authority for pods"},
		"an endless file":                    {[]string{"--certificate-authority=/dev/zero"}, inline, "", "", "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			s := apiServer{APIServer: parse(t, test.args...).apiServer(&rest.Config{Host: "https://own:6443", TLSClientConfig: test.tls})}
			_, err := s.load()
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got error %v, want one that says %q", err, test.err)
				}
				return
			}
			if err != nil || s.URL != test.server || string(*s.ca.Load()) != test.ca {
				t.Errorf("got server %q, CA %q, error %v; want server %q, CA %q", s.URL, *s.ca.Load(), err, test.server, test.ca)
			}
		})
	}
}
