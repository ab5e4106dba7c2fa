// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package containeredits

import (
	"fmt"
	"path"
)

// kubeconfigFormat quotes all values as Go and YAML do.
const kubeconfigFormat = `apiVersion: v1
kind: Config
clusters:
- name: space
  cluster:
    server: %q
    certificate-authority: %q
users:
- name: space
  user:
    tokenFile: %q%s
contexts:
- name: space
  context:
    cluster: space
    user: space
    namespace: %q
current-context: space
`

// Kubeconfig returns the kubeconfig for a namespace of the API server at a URL, for
// containers that have the credentials in dir, an absolute path. It has neither a token nor a
// certificate, but the paths of their files. It can be copied within the container; client-go
// reads the token again at least once a minute. A token, unless it is empty, is for clients that
// do not know tokenFile. client-go prefers the file.
func Kubeconfig(server, dir, namespace, token string) string {
	if token != "" {
		token = fmt.Sprintf("\n    token: %q", token)
	}
	return fmt.Sprintf(kubeconfigFormat, server, path.Join(dir, CAFile), path.Join(dir, TokenFile), token, namespace)
}
