// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package containeredits determines what containers see of a claim's spaces: environment
// variables and directories with files. Its functions are pure, so that the controller can
// reject what a node could not prepare.
package containeredits

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

// Directories in which containers find a claim's files: claimsDir/<claim UID>, configDir/<pod
// claim name> and, if inCluster is set, inClusterDir.
const (
	claimsDir    = "/var/run/claim-artifacts"
	configDir    = "/etc"
	inClusterDir = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// Names of the files in a directory with credentials. In-cluster clients look for
// TokenFile, CAFile and NamespaceFile.
const (
	KubeconfigFile = "kubeconfig"
	TokenFile      = "token"
	CAFile         = "ca.crt"
	NamespaceFile  = "namespace"
)

// Edits are what containers see of one space.
type Edits struct {
	// Env are environment variables as NAME=value, each name once.
	Env []string
	// Dirs are the directories with the space's files.
	Dirs []string
}

// CredentialsDir returns the directory with the files of a space. subdir is empty for a
// claim's only space.
func CredentialsDir(claim types.UID, subdir string) string {
	return path.Join(claimsDir, string(claim), subdir)
}

// Build returns what containers see of each space of an allocation. server is the URL of the API
// server. configs, namespaces and the returned edits have one element for each result. The error
// names parameters that conflict.
func Build(driver, server string, a *allocation.Allocation, configs []config.Container, namespaces []string) ([]Edits, error) {
	out := make([]Edits, len(a.Results))
	for i, result := range a.Results {
		out[i] = build(driver, server, a, result, configs[i], namespaces[i])
	}
	if err := checkVariables(a, out); err != nil {
		return nil, err
	}
	if err := checkDirs(a, out); err != nil {
		return nil, err
	}
	return out, nil
}

// Validate returns the error that Build would return. It does not depend on the server and the
// names of the namespaces.
func Validate(driver string, a *allocation.Allocation, configs []config.Container) error {
	namespaces := make([]string, len(a.Results))
	for i, result := range a.Results {
		namespaces[i] = result.NamespaceName("")
	}
	_, err := Build(driver, "https://server:443", a, configs, namespaces)
	return err
}

func build(driver, server string, a *allocation.Allocation, result allocation.Result, c config.Container, namespace string) Edits {
	dir := CredentialsDir(a.ClaimUID, result.Subdir)
	file := path.Join(dir, KubeconfigFile)
	prefix := envPrefix(a.PodClaimName)
	if result.Subdir != "" {
		prefix += "_" + envPrefix(result.Subdir)
	}
	prefix = cmp.Or(c.EnvPrefix, prefix)
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

// envPrefix returns the start of the names of environment variables for a name: in upper
// case, with `_` for characters that the name of a variable can't contain.
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

// A container may use all spaces of a claim. If two spaces set the same variable or mount the
// same directory, their order would decide which of them the container sees. The driver does not
// know which containers use which requests. It therefore rejects the claim, although each
// container might use only one.

// checkVariables returns an error if a variable has two values.
func checkVariables(a *allocation.Allocation, edits []Edits) error {
	type variable struct{ value, request string }
	seen := map[string]variable{}
	for i, e := range edits {
		request := label(a.Results[i])
		for _, env := range e.Env {
			name, value, _ := strings.Cut(env, "=")
			if other, found := seen[name]; found && other.value != value {
				return fmt.Errorf("requests %s and %s set environment variable %s to different values: "+
					"set envPrefix, or use separate claims", other.request, request, name)
			}
			seen[name] = variable{value, request}
		}
	}
	return nil
}

// checkDirs returns an error if two spaces have the same directory, or a directory is below
// another one: mounts are read-only, so that nothing can be mounted in them.
func checkDirs(a *allocation.Allocation, edits []Edits) error {
	type mount struct{ dir, request string }
	var seen []mount
	for i, e := range edits {
		request := label(a.Results[i])
		for _, dir := range e.Dirs {
			for _, other := range seen {
				switch here, there := resolveLinks(dir), resolveLinks(other.dir); {
				case here == there && request != other.request:
					return fmt.Errorf("requests %s and %s both have their files at %s: "+
						"set different values of mountPath, or use separate claims", other.request, request, dir)
				case strings.HasPrefix(here, there+"/"):
					return nested(dir, request, other.dir, other.request)
				case strings.HasPrefix(there, here+"/"):
					return nested(other.dir, other.request, dir, request)
				}
			}
			seen = append(seen, mount{dir, request})
		}
	}
	return nil
}

func nested(inner, innerRequest, outer, outerRequest string) error {
	return fmt.Errorf("the files of request %s cannot be at %s, because those of request %s are at %s, where nothing else can be mounted: choose another mountPath",
		innerRequest, inner, outerRequest, outer)
}

// resolveLinks returns where a directory is in most images, in which /var/run is a link to /run.
func resolveLinks(dir string) string {
	if below, found := strings.CutPrefix(dir, "/var/run/"); found {
		return "/run/" + below
	}
	return dir
}

// label returns the name of a space in messages.
func label(result allocation.Result) string { return cmp.Or(result.Subdir, result.Request) }
