// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package containeredits

import (
	"fmt"
	"path"
)

// kubeconfigFormat quotes all values, in a way that YAML has in common with Go.
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
    tokenFile: %q
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
// reads the token again at least once a minute.
func Kubeconfig(server, dir, namespace string) string {
	return fmt.Sprintf(kubeconfigFormat, server, path.Join(dir, CAFile), path.Join(dir, TokenFile), namespace)
}
