// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package view says what containers see of a claim's spaces: which variables they
// get, and where they find the files. It is a pure function of the allocation and
// its parameters, so that the controller can refuse what a node could not prepare.
package view

import (
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/kubeconfig"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

// Where containers find a claim's files: below its UID in the first, below the
// pod's name for the claim in the second, and in the third if they ask for it.
const (
	artifactsDir = "/var/run/claim-artifacts"
	configDir    = "/etc"
	inClusterDir = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// Space is what containers see of one space.
type Space struct {
	// Env are variables as NAME=value, each name once.
	Env []string
	// Dirs are the directories with the space's files.
	Dirs []string
}

// Of returns what containers see of each share of an allocation. The other lists
// have an element for each share too. The error is about parameters that do not go
// together, and says which.
func Of(driver string, a *identity.Allocation, effective []parameters.Effective, spaces []*spaceapi.SpaceStatus) ([]Space, error) {
	out := make([]Space, len(a.Shares))
	for i, share := range a.Shares {
		out[i] = of(driver, a, share, effective[i], spaces[i])
	}
	if err := checkVariables(a, out); err != nil {
		return nil, err
	}
	if err := checkDirs(a, out); err != nil {
		return nil, err
	}
	return out, nil
}

// Check says whether Of would fail, whatever the spaces will be.
func Check(driver string, a *identity.Allocation, effective []parameters.Effective) error {
	spaces := make([]*spaceapi.SpaceStatus, len(a.Shares))
	for i, share := range a.Shares {
		spaces[i] = &spaceapi.SpaceStatus{Namespace: share.NamespaceName(""), Server: "https://server:443"}
	}
	_, err := Of(driver, a, effective, spaces)
	return err
}

func of(driver string, a *identity.Allocation, share identity.Share, e parameters.Effective, space *spaceapi.SpaceStatus) Space {
	dir := path.Join(artifactsDir, string(a.ClaimUID), share.Slot)
	config := path.Join(dir, kubeconfig.File)
	prefix := prefixOf(a, share, e)
	out := Space{
		Env: []string{
			"DRA_RESOURCE_DRIVER_NAME=" + driver,
			prefix + "_CLUSTER=" + space.Server,
			prefix + "_NAMESPACE=" + space.Namespace,
			prefix + "_KUBECONFIG=" + config,
		},
		Dirs: []string{dir, path.Join(configDir, a.PodClaimName, share.Slot)},
	}
	if e.KubeconfigEnv {
		out.Env = append(out.Env, "KUBECONFIG="+config)
	}
	if e.InCluster {
		out.Env = append(out.Env, inClusterVariables(space.Server)...)
		out.Dirs = append(out.Dirs, inClusterDir)
	}
	if dir := path.Clean(e.MountPath); e.MountPath != "" && !slices.Contains(out.Dirs, dir) {
		out.Dirs = append(out.Dirs, dir)
	}
	out.Env = append(out.Env, variables("admin_", e.AdminParameters)...)
	out.Env = append(out.Env, variables("user_", e.UserParameters)...)
	return out
}

// prefixOf is how the names of the variables of one space begin.
func prefixOf(a *identity.Allocation, share identity.Share, e parameters.Effective) string {
	switch {
	case e.VariablePrefix != "":
		return e.VariablePrefix
	case share.Slot != "":
		return identity.VariablePrefix(a.PodClaimName) + "_" + identity.VariablePrefix(share.Slot)
	default:
		return identity.VariablePrefix(a.PodClaimName)
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
