// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/cert"
)

// FreeAddress is one where nobody listens. Its host is one of the many that this
// machine has for itself, and which no connection begins at: nobody takes the port
// before the one whom it is for.
func FreeAddress(t testing.TB) string {
	t.Helper()
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}

// Asker asks a component by HTTP.
type Asker struct {
	Client *http.Client
	// URL is what paths are added to.
	URL string
	// Token is who asks, unless it is empty.
	Token string
}

// Plainly asks without encryption.
func Plainly(address string) Asker {
	return Asker{Client: http.DefaultClient, URL: "http://" + address}
}

// As is the same asker with a token.
func (a Asker) As(token string) Asker {
	a.Token = token
	return a
}

// Ask returns the code of the answer and its text.
func (a Asker) Ask(ctx context.Context, path string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+path, nil)
	if err != nil {
		return 0, "", err
	}
	if a.Token != "" {
		r.Header.Set("Authorization", "Bearer "+a.Token)
	}
	resp, err := a.Client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// Await waits until the answer has the code and the words, and returns its text.
func (a Asker) Await(t testing.TB, path string, code int, words ...string) string {
	t.Helper()
	var text, last string
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, Patience, true, func(ctx context.Context) (bool, error) {
		got, body, err := a.Ask(ctx, path)
		text, last = body, fmt.Sprintf("%d, error %v: %s", got, err, body[:min(len(body), 1000)])
		for _, word := range words {
			if !strings.Contains(body, word) {
				return false, nil
			}
		}
		return err == nil && got == code, nil
	})
	if err != nil {
		t.Fatalf("waited until %s%s answers %d with %q: %v; the last answer: %s", a.URL, path, code, words, err, last)
	}
	return text
}

// AwaitMatch waits until the answer's text has a match of each pattern.
func (a Asker) AwaitMatch(t testing.TB, path string, patterns ...string) {
	t.Helper()
	var last string
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, Patience, true, func(ctx context.Context) (bool, error) {
		code, body, err := a.Ask(ctx, path)
		last = fmt.Sprintf("%d, error %v: %s", code, err, body)
		for _, pattern := range patterns {
			if !regexp.MustCompile(pattern).MatchString(body) {
				return false, nil
			}
		}
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("waited until the answer to %s%s has %q: %v; the last answer: %s", a.URL, path, patterns, err, last)
	}
}

// Certified makes a certificate for an address, and returns the flags of a controller
// that serves metrics there, and a client that trusts nothing else.
func Certified(t testing.TB, address string) ([]string, Asker) {
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
	return flags, Asker{Client: &http.Client{Transport: transport}, URL: "https://" + address}
}

// Bind gives a ServiceAccount a ClusterRole in the whole cluster for one test.
func (e *Env) Bind(t testing.TB, role, namespace, account string) {
	t.Helper()
	bindings := e.Client.RbacV1().ClusterRoleBindings()
	made, err := bindings.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: role + "-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("bind ClusterRole %s: %v", role, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		if err := bindings.Delete(ctx, made.Name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete ClusterRoleBinding %s: %v", made.Name, err)
		}
	})
}
