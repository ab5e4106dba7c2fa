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
    tokenFile: %q
contexts:
- name: space
  context:
    cluster: space
    user: space
    namespace: %q
current-context: space
`

// Kubeconfig returns the kubeconfig for a namespace of the API server at a URL, for containers
// with the credentials in dir, an absolute path. It contains the paths of the files with the
// token and the certificate, so that it can be copied within the container. client-go reads the
// token again at least once a minute.
func Kubeconfig(server, dir, namespace string) string {
	return fmt.Sprintf(kubeconfigFormat, server, path.Join(dir, CAFile), path.Join(dir, TokenFile), namespace)
}
