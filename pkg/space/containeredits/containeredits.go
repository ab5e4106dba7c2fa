// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package containeredits determines what containers see of a claim's spaces: environment
// variables and directories with files. Its functions are pure, so that the controller can
// reject what a node could not prepare.
package containeredits

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/dynamic-resource-allocation/api/metadata"
	"k8s.io/dynamic-resource-allocation/resourceclaim"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

// Directories in which containers find a claim's files: claimsDir/<claim UID>, configDir/<pod
// claim name> and, if inCluster is set, inClusterDir.
const (
	claimsDir    = "/var/run/claim-artifacts"
	configDir    = "/etc"
	inClusterDir = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// Prefixes of the variables of a class and of a claim.
const (
	adminPrefix = "admin_"
	userPrefix  = "user_"
)

// Names of the files in a directory with credentials. In-cluster clients look for
// TokenFile, CAFile and NamespaceFile.
const (
	KubeconfigFile = "kubeconfig"
	TokenFile      = "token"
	CAFile         = "ca.crt"
	NamespaceFile  = "namespace"
)

// Edits are the environment variables and directories of one space in containers.
type Edits struct {
	// Env are environment variables as NAME=value, each name once.
	Env []string
	// Dirs are the directories with the space's files.
	Dirs []string
	// MetadataFile is the file with the metadata of all devices of the space's request. It is empty
	// unless the space is the first of its request.
	MetadataFile string
}

// Dir returns the shortest of the directories with the space's files.
func (e Edits) Dir() string {
	return slices.MinFunc(e.Dirs, func(a, b string) int { return cmp.Compare(len(a), len(b)) })
}

// CredentialsDir returns the directory with the files of a space. subdir is empty for a
// claim's only space.
func CredentialsDir(claim types.UID, subdir string) string {
	return path.Join(claimsDir, string(claim), subdir)
}

// Build returns the edits for each space of an allocation. server is the URL of the API server.
// configs and namespaces have an element for each result. The error names parameters that conflict,
// or reports that the claim cannot have its name.
func Build(driver, server string, a *allocation.Allocation, configs []config.ContainerConfig, namespaces []string) ([]Edits, error) {
	out := make([]Edits, len(a.Results))
	for i, result := range a.Results {
		var err error
		if out[i], err = build(driver, server, a, result, configs[i], namespaces[i]); err != nil {
			return nil, err
		}
	}
	seen := sets.New[string]()
	for i, result := range a.Results {
		if request := resourceclaim.BaseRequestRef(result.Request); !seen.Has(request) {
			seen.Insert(request)
			out[i].MetadataFile = metadataFile(driver, a, request)
		}
	}
	if err := checkCollisions(requestMessages, spaceNames(a), out); err != nil {
		return nil, err
	}
	return out, nil
}

// Preview is Build before the namespaces exist: the server and the prefixes of the namespaces are
// placeholders. The error does not depend on them.
func Preview(driver string, a *allocation.Allocation, configs []config.ContainerConfig) ([]Edits, error) {
	namespaces := make([]string, len(a.Results))
	for i, result := range a.Results {
		namespaces[i] = result.NamespaceName("")
	}
	return Build(driver, "https://server:443", a, configs, namespaces)
}

func build(driver, server string, a *allocation.Allocation, result allocation.Result, c config.ContainerConfig, namespace string) (Edits, error) {
	dir := CredentialsDir(a.ClaimUID, result.Subdir)
	file := path.Join(dir, KubeconfigFile)
	prefix, prefixErr := envPrefixOf(a, result, c)
	etcDir, dirErr := etcDirOf(a, result, c)
	if err := errors.Join(prefixErr, dirErr); err != nil {
		return Edits{}, err
	}
	out := Edits{
		Env: []string{
			"DRA_RESOURCE_DRIVER_NAME=" + driver,
			prefix + "_CLUSTER=" + server,
			prefix + "_NAMESPACE=" + namespace,
			prefix + "_KUBECONFIG=" + file,
		},
		Dirs: []string{dir},
	}
	if etcDir != "" {
		out.Dirs = append(out.Dirs, etcDir)
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
	out.Env = append(out.Env, variables(adminPrefix, c.AdminEnv)...)
	out.Env = append(out.Env, variables(userPrefix, c.UserEnv)...)
	return out, nil
}

// metadataFile returns the path of the metadata of the devices of a request in containers
// (k8s.io/dynamic-resource-allocation/api/metadata).
func metadataFile(driver string, a *allocation.Allocation, request string) string {
	if a.FromTemplate {
		return metadata.ResourceClaimTemplateFilePath(driver, a.PodClaimName, request)
	}
	return metadata.ResourceClaimFilePath(driver, a.Claim.Name, request)
}

// envPrefixOf returns the prefix of a space's variables, or an error if the claim's name is not valid
// in variables.
func envPrefixOf(a *allocation.Allocation, result allocation.Result, c config.ContainerConfig) (string, error) {
	if c.EnvPrefix != "" {
		return c.EnvPrefix, nil
	}
	prefix := envPrefix(a.PodClaimName)
	if result.Subdir != "" {
		prefix += "_" + envPrefix(result.Subdir)
	}
	why := spaceapi.ReservedEnvPrefix(prefix)
	if strings.TrimLeft(prefix, "0123456789") != prefix {
		why = "no shell can read variables that begin with a digit"
	}
	if why != "" {
		return "", fmt.Errorf("the claim has the name %q in the pod, so that its environment variables would begin with %s_, but %s: "+
			"give the claim another name in the pod, or set envPrefix", a.PodClaimName, prefix, why)
	}
	return prefix, nil
}

// etcDirOf returns the directory in /etc with a space's files, or "" if there is none. It returns an
// error if containers need the directory with the claim's name.
func etcDirOf(a *allocation.Allocation, result allocation.Result, c config.ContainerConfig) (string, error) {
	dir := path.Join(configDir, a.PodClaimName)
	why := spaceapi.ReservedMountPath(dir)
	switch {
	case c.DisableEtcMount, why != "" && c.MountPath != "":
		return "", nil
	case why != "":
		return "", fmt.Errorf("the claim has the name %q in the pod, so that its files would be at %s, but %s: "+
			"give the claim another name in the pod, or set mountPath, in place of the directory in %s", a.PodClaimName, dir, why, configDir)
	}
	return path.Join(dir, result.Subdir), nil
}

// envPrefix returns the start of the names of environment variables for a name: in upper
// case, with `_` for characters that the name of a variable cannot contain.
func envPrefix(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		default:
			return '_'
		}
	}, name)
}

// inClusterVariables make in-cluster clients use the server of the space's files. The kubelet's
// own variables name the cluster's Service, whose certificate can have another authority. There
// are none if they cannot express the URL of the server, for example because it has a path.
func inClusterVariables(server string) []string {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" {
		return nil
	}
	return []string{"KUBERNETES_SERVICE_HOST=" + u.Hostname(), "KUBERNETES_SERVICE_PORT=" + cmp.Or(u.Port(), "443")}
}

func variables(prefix string, parameters map[string]string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		out = append(out, prefix+key+"="+parameters[key])
	}
	return out
}
