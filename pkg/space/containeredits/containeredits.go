// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package containeredits says what containers see of a claim's spaces: which variables they
// get, and where they find the files. It is a pure function of the allocation and
// its parameters, so that the controller can refuse what a node could not prepare.
package containeredits

import (
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/kubeconfig"
)

// Where containers find a claim's files: below its UID in the first, below the
// pod's name for the claim in the second, and in the third if they ask for it.
const (
	artifactsDir = "/var/run/claim-artifacts"
	configDir    = "/etc"
	inClusterDir = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// Edits is what containers see of one space.
type Edits struct {
	// Env are variables as NAME=value, each name once.
	Env []string
	// Dirs are the directories with the space's files.
	Dirs []string
}

// CredentialsDir is where containers find the files of a space. dir is the directory below that of
// the claim, or empty for a claim's only space.
func CredentialsDir(claim types.UID, dir string) string {
	return path.Join(artifactsDir, string(claim), dir)
}

// Build returns what containers see of each share of an allocation, whose spaces have these
// namespaces, with the API server at a URL. The lists have an element for each share. The
// error is about parameters that contradict each other, and says which.
func Build(driver, server string, a *allocation.Allocation, configs []config.Container, namespaces []string) ([]Edits, error) {
	out := make([]Edits, len(a.Results))
	for i, result := range a.Results {
		out[i] = of(driver, server, a, result, configs[i], namespaces[i])
	}
	if err := checkVariables(a, out); err != nil {
		return nil, err
	}
	if err := checkDirs(a, out); err != nil {
		return nil, err
	}
	return out, nil
}

// Validate says whether Of would fail, whatever the spaces will be.
func Validate(driver string, a *allocation.Allocation, configs []config.Container) error {
	namespaces := make([]string, len(a.Results))
	for i, result := range a.Results {
		namespaces[i] = result.NamespaceName("")
	}
	_, err := Build(driver, "https://server:443", a, configs, namespaces)
	return err
}

func of(driver, server string, a *allocation.Allocation, result allocation.Result, c config.Container, namespace string) Edits {
	dir := CredentialsDir(a.ClaimUID, result.Subdir)
	file := path.Join(dir, kubeconfig.File)
	prefix := prefixOf(a, result, c)
	out := Edits{
		Env: []string{
			"DRA_RESOURCE_DRIVER_NAME=" + driver,
			prefix + "_CLUSTER=" + server,
			prefix + "_NAMESPACE=" + namespace,
			prefix + "_KUBECONFIG=" + file,
		},
		Dirs: []string{dir, path.Join(configDir, a.PodClaimName, result.Subdir)},
	}
	if c.KubeconfigEnv {
		out.Env = append(out.Env, "KUBECONFIG="+file)
	}
	if c.InCluster {
		out.Env = append(out.Env, inClusterVariables(server)...)
		out.Dirs = append(out.Dirs, inClusterDir)
	}
	if dir := path.Clean(c.MountPath); c.MountPath != "" && !slices.Contains(out.Dirs, dir) {
		out.Dirs = append(out.Dirs, dir)
	}
	out.Env = append(out.Env, variables("admin_", c.AdminEnv)...)
	out.Env = append(out.Env, variables("user_", c.UserEnv)...)
	return out
}

// prefixOf is how the names of the variables of one space begin.
func prefixOf(a *allocation.Allocation, result allocation.Result, c config.Container) string {
	switch {
	case c.EnvPrefix != "":
		return c.EnvPrefix
	case result.Subdir != "":
		return allocation.EnvPrefix(a.PodClaimName) + "_" + allocation.EnvPrefix(result.Subdir)
	default:
		return allocation.EnvPrefix(a.PodClaimName)
	}
}

// inClusterVariables make clients that run in a cluster ask the server that the
// space's files are for. The kubelet's own variables name the cluster's Service,
// which need not have a certificate of the same authority. What the variables
// can't say, such as a path, leaves it at those.
func inClusterVariables(server string) []string {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" {
		return nil
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return []string{"KUBERNETES_SERVICE_HOST=" + u.Hostname(), "KUBERNETES_SERVICE_PORT=" + port}
}

func variables(prefix string, parameters map[string]string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		out = append(out, prefix+key+"="+parameters[key])
	}
	return out
}
