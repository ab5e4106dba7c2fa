// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package containeredits_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
)

func TestKubeconfig_canBeCopied(t *testing.T) {
	dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "config")
	for path, content := range map[string]string{
		copied: containeredits.Kubeconfig("https://10.96.0.1:443", dir, "ephemeral-ns-x", ""),
		filepath.Join(dir, containeredits.TokenFile): "secret",
		filepath.Join(dir, containeredits.CAFile):    "the CA",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: copied}, &clientcmd.ConfigOverrides{})
	namespace, overridden, err := loader.Namespace()
	if err != nil || namespace != "ephemeral-ns-x" || overridden {
		t.Errorf("got namespace %q (overridden: %t), error %v", namespace, overridden, err)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://10.96.0.1:443" || config.CAFile != filepath.Join(dir, "ca.crt") || config.Insecure {
		t.Errorf("got host %q, insecure %t, CA file %q", config.Host, config.Insecure, config.CAFile)
	}
	// The status of each claim contains it.
	if len(config.CAData) > 0 || config.Password != "" || config.ExecProvider != nil {
		t.Errorf("the kubeconfig has credentials or a certificate: %v", config)
	}
	// client-go reads the token when it loads the file, and again later.
	if config.BearerTokenFile != filepath.Join(dir, "token") || config.BearerToken != "secret" {
		t.Errorf("got token %q of file %q", config.BearerToken, config.BearerTokenFile)
	}
}

func TestKubeconfig_clientGoPrefersTheFileToTheToken(t *testing.T) {
	dir := t.TempDir()
	for file, content := range map[string]string{
		"kubeconfig":             containeredits.Kubeconfig("https://10.96.0.1:443", dir, "ns", "embedded"),
		containeredits.TokenFile: "newer",
		containeredits.CAFile:    "the CA",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	config.CAFile = ""
	rt, err := rest.HTTPWrappersForConfig(config, roundTripper(func(request *http.Request) (*http.Response, error) {
		if got := request.Header.Get("Authorization"); got != "Bearer newer" {
			t.Errorf("client-go sends %q", got)
		}
		return &http.Response{Body: http.NoBody}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	response, err := rt.RoundTrip(httptest.NewRequest(http.MethodGet, "https://10.96.0.1:443", http.NoBody))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

func TestKubeconfig_quotesValues(t *testing.T) {
	for _, value := range []string{"ephemeral-ns-zgwsktrlqh", "2222222222", "22222e2222", "0x22222222", "2222-22-22", "true", "null", "n", "y", "a: b", "#", "'\"\\", "ä\u00a0\n\t"} {
		config, err := clientcmd.Load([]byte(containeredits.Kubeconfig(value, "/"+value, value, value)))
		if err != nil {
			t.Errorf("%q: %v", value, err)
			continue
		}
		cluster, user, context := config.Clusters["space"], config.AuthInfos["space"], config.Contexts[config.CurrentContext]
		if cluster == nil || user == nil || context == nil || context.Cluster != "space" || context.AuthInfo != "space" {
			t.Errorf("%q: got %+v", value, config)
			continue
		}
		if cluster.Server != value || context.Namespace != value || cluster.CertificateAuthority != "/"+value+"/ca.crt" || user.TokenFile != "/"+value+"/token" || user.Token != value {
			t.Errorf("%q: got server %q, namespace %q, CA %q, token file %q, token %q", value, cluster.Server, context.Namespace, cluster.CertificateAuthority, user.TokenFile, user.Token)
		}
	}
}
