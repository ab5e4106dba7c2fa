// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"path/filepath"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
)

// maxSocketPath is how long the path of a Unix socket can be on Linux: of 108
// bytes, Go leaves the last to a zero.
const maxSocketPath = 107

// instance tells this plugin from others of the same driver on the node: an old and
// a new one serve side by side, each at sockets of its own. It is the pod's UID or,
// where that would make a socket's path too long, a few characters made of it.
func (o *Options) instance() types.UID {
	if o.PodUID == "" {
		return ""
	}
	hash := sha256.Sum256([]byte(o.PodUID))
	// There are two of them because the library shortens the other socket's name by
	// itself, but takes a path for good that has one character too many.
	candidates := []string{
		o.PodUID,
		base64.RawURLEncoding.EncodeToString(hash[:8]),
		base64.RawURLEncoding.EncodeToString(hash[:7]),
	}
	for _, c := range candidates {
		if o.excess(types.UID(c)) <= 0 {
			return types.UID(c)
		}
	}
	return types.UID(candidates[len(candidates)-1])
}

// excess is by how many characters the path of a socket is too long.
func (o *Options) excess(instance types.UID) int {
	return max(len(o.servingPath(instance)), len(o.registrationPath(instance))) - maxSocketPath
}

func (o *Options) registrationPath(instance types.UID) string {
	if instance == "" {
		return filepath.Join(o.registryDir(), o.Driver+"-reg.sock")
	}
	return filepath.Join(o.registryDir(), kubeletplugin.RollingUpdateRegistrarSocketFile(o.registryDir(), o.Driver, instance))
}

func (o *Options) servingPath(instance types.UID) string {
	return filepath.Join(o.dataDir(), servingName(instance))
}

func servingName(instance types.UID) string {
	if instance == "" {
		return "dra.sock"
	}
	return string(instance) + ".sock"
}

// checkSockets says what is wrong when even the shortest names are too long.
func (o *Options) checkSockets() error {
	if over := o.excess(o.instance()); over > 0 {
		return fmt.Errorf("--kubelet-directory %q and --driver-name %q: by %d characters too long together for a socket like %s, which can have %d",
			o.KubeletDir, o.Driver, over, o.servingPath(o.instance()), maxSocketPath)
	}
	return nil
}
