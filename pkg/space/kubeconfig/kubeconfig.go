// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubeconfig makes the kubeconfig of a space. It never holds a token.
package kubeconfig

import (
	"fmt"
	"regexp"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// File is the name of the file with the kubeconfig.
const File = "kubeconfig"

// TokenFile is where the kubeconfig expects the token: beside itself. client-go
// resolves the path against the kubeconfig's own directory and reads the file
// again at least once a minute, so a renewed token is picked up.
const TokenFile = "token"

const name = "space"

// Cluster is how pods reach the API server.
type Cluster struct {
	// Server is a URL.
	Server string
	// CA is one or more certificates, PEM; empty means the system's roots.
	CA []byte
}

// Build returns the kubeconfig for a namespace.
func Build(cluster Cluster, namespace string) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: cluster.Server, CertificateAuthorityData: cluster.CA}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{TokenFile: TokenFile}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: namespace}
	config.CurrentContext = name
	out, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("encode the kubeconfig of namespace %s: %w", namespace, err)
	}
	return out, nil
}

// anyNamespace is what a Template has where the namespace is to be.
const anyNamespace = "namespace-of-the-space"

// plain are names that YAML takes for nothing but a text.
var plain = regexp.MustCompile(`^[a-z][-a-z0-9]{9,}$`)

// Template builds kubeconfigs for many namespaces. They are those of Build, which takes
// a hundred times as long.
type Template struct {
	cluster       Cluster
	before, after string
}

// NewTemplate makes a Template for a cluster.
func NewTemplate(cluster Cluster) (*Template, error) {
	raw, err := Build(cluster, anyNamespace)
	if err != nil {
		return nil, err
	}
	t := &Template{cluster: cluster}
	if strings.Count(string(raw), anyNamespace) == 1 {
		t.before, t.after, _ = strings.Cut(string(raw), anyNamespace)
	}
	return t, nil
}

// Build returns the kubeconfig for a namespace.
func (t *Template) Build(namespace string) (string, error) {
	if t.before != "" && plain.MatchString(namespace) {
		return t.before + namespace + t.after, nil
	}
	raw, err := Build(t.cluster, namespace)
	return string(raw), err
}

// CA returns the certificates that the kubeconfig trusts.
func CA(kubeconfig []byte) ([]byte, error) {
	config, err := clientcmd.Load(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("decode the kubeconfig: %w", err)
	}
	context, ok := config.Contexts[config.CurrentContext]
	if !ok {
		return nil, fmt.Errorf("the kubeconfig has no context %q", config.CurrentContext)
	}
	cluster, ok := config.Clusters[context.Cluster]
	if !ok {
		return nil, fmt.Errorf("the kubeconfig has no cluster %q", context.Cluster)
	}
	return cluster.CertificateAuthorityData, nil
}
