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

// Kubeconfig returns a kubeconfig for a namespace. server is the URL of the API server, and dir the
// absolute path of the credentials in containers. The kubeconfig contains the paths of the token and
// of the CA certificate, so that it can be copied within the container. client-go reads the token
// again at least once a minute. If token is not empty, the kubeconfig also contains the token, for
// clients that do not support tokenFile. client-go prefers the file.
func Kubeconfig(server, dir, namespace, token string) string {
	if token != "" {
		token = fmt.Sprintf("\n    token: %q", token)
	}
	return fmt.Sprintf(kubeconfigFormat, server, path.Join(dir, CAFile), path.Join(dir, TokenFile), token, namespace)
}
