// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubeconfig builds the kubeconfig of a space. It has neither a token nor a
// certificate, but the paths of the files that have them.
package kubeconfig

import (
	"fmt"
	"path"
)

// Names of the files in a directory with credentials. In-cluster clients look for
// TokenFile, CAFile and NamespaceFile.
const (
	File          = "kubeconfig"
	TokenFile     = "token"
	CAFile        = "ca.crt"
	NamespaceFile = "namespace"
)

// format quotes all values, in a way that YAML has in common with Go.
const format = `apiVersion: v1
kind: Config
clusters:
- name: space
  cluster:
    server: %q
    certificate-authority: %q
users:
- name: space
  user:
    tokenFile: %q
contexts:
- name: space
  context:
    cluster: space
    user: space
    namespace: %q
current-context: space
`

// Build returns the kubeconfig for a namespace of the API server at a URL, for
// containers that have the credentials in dir, an absolute path. It can be copied within
// the container; client-go reads the token again at least once a minute.
func Build(server, dir, namespace string) string {
	return fmt.Sprintf(format, server, path.Join(dir, CAFile), path.Join(dir, TokenFile), namespace)
}
