// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeconfig_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/space-dra/space-dra-driver/pkg/space/kubeconfig"
)

var (
	ca      = []byte("-----BEGIN CERTIFICATE-----\nZmFrZQ==\n-----END CERTIFICATE-----\n")
	cluster = kubeconfig.Cluster{Server: "https://10.96.0.1:443", CA: ca}
)

func build(t *testing.T, cluster kubeconfig.Cluster, namespace string) []byte {
	t.Helper()
	raw, err := kubeconfig.Build(cluster, namespace)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestClientsLoadItAndFindTheTokenBesideIt(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(path, build(t, cluster, "ephemeral-ns-x"), 0o600); err != nil {
		t.Fatal(err)
	}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: path}, &clientcmd.ConfigOverrides{})
	// client-go reads the token when it loads the file.
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	namespace, overridden, err := loader.Namespace()
	if err != nil || namespace != "ephemeral-ns-x" || overridden {
		t.Errorf("got namespace %q (overridden: %t), error %v", namespace, overridden, err)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != cluster.Server || !bytes.Equal(config.CAData, ca) || config.Insecure {
		t.Errorf("got host %q, insecure %t, CA %q", config.Host, config.Insecure, config.CAData)
	}
	if want := filepath.Join(dir, kubeconfig.TokenFile); config.BearerTokenFile != want {
		t.Errorf("clients look for the token in %q, want %q", config.BearerTokenFile, want)
	}
	if config.BearerToken != "secret" {
		t.Errorf("clients use token %q, want that of the file", config.BearerToken)
	}
}

func TestItHoldsNoCredentials(t *testing.T) {
	config, err := clientcmd.Load(build(t, cluster, "ephemeral-ns-x"))
	if err != nil {
		t.Fatal(err)
	}
	if len(config.AuthInfos) != 1 {
		t.Fatalf("got %d users, want 1", len(config.AuthInfos))
	}
	for _, user := range config.AuthInfos {
		if user.TokenFile != "token" {
			t.Errorf("got token file %q: only a relative path works wherever it is mounted", user.TokenFile)
		}
		if user.Token != "" || user.Password != "" || len(user.ClientKeyData) > 0 || user.ClientKey != "" || user.Exec != nil {
			t.Errorf("the user has credentials")
		}
	}
}

func TestTheCAComesBack(t *testing.T) {
	for name, want := range map[string][]byte{"one that was given": ca, "none": nil} {
		t.Run(name, func(t *testing.T) {
			got, err := kubeconfig.CA(build(t, kubeconfig.Cluster{Server: cluster.Server, CA: want}, "ephemeral-ns-x"))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %q and error %v, want %q", got, err, want)
			}
		})
	}
}

func TestTheCAOfABrokenKubeconfigIsAnError(t *testing.T) {
	whole := string(build(t, cluster, "ephemeral-ns-x"))
	for name, test := range map[string]struct{ raw, want string }{
		"no YAML":    {"\t{", "decode"},
		"no context": {strings.Replace(whole, "current-context: space", "current-context: other", 1), `no context "other"`},
		"no cluster": {strings.Replace(whole, "cluster: space", "cluster: other", 1), `no cluster "other"`},
		"nothing":    {"", "no context"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := kubeconfig.CA([]byte(test.raw))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q and error %v, want an error that says %q", got, err, test.want)
			}
		})
	}
}

func TestATemplateBuildsTheSame(t *testing.T) {
	for name, cluster := range map[string]kubeconfig.Cluster{
		"a cluster": cluster,
		"a server that is called as the place for the namespace": {Server: "https://namespace-of-the-space:443"},
	} {
		template, err := kubeconfig.NewTemplate(cluster)
		if err != nil {
			t.Fatal(err)
		}
		for _, namespace := range []string{"ephemeral-ns-zgwsktrlqh", "ns-2222222222", "2222222222", "22222e2222", "0x22222222", "2222-22-22", "true", "null", "x", "n", "y", "0b", "infinity-9", "namespace-of-the-space"} {
			got, err := template.Build(namespace)
			if want := string(build(t, cluster, namespace)); err != nil || got != want {
				t.Errorf("%s: got for %s, with error %v,\n%s\nwant\n%s", name, namespace, err, got, want)
			}
		}
	}
}
