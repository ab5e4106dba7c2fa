// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

// staleAfter is the age at which a socket that refuses connections is stale. A process that has just
// created its socket does not accept connections yet.
const staleAfter = time.Minute

// removeStaleSockets removes the sockets of plugins that were killed, and whose pods do not run again.
// As long as a registration socket exists, the kubelet tries to register the plugin.
func (o *Options) removeStaleSockets(ctx context.Context) {
	logger := klog.FromContext(ctx)
	files, err := os.ReadDir(o.dataDir())
	if err != nil {
		logger.Error(err, "Cannot look for sockets of processes that were killed")
	}
	for _, file := range files {
		instance, ok := strings.CutSuffix(file.Name(), ".sock")
		if !ok || !isStale(ctx, filepath.Join(o.dataDir(), file.Name())) {
			continue
		}
		other := Options{Config: Config{Driver: o.Driver}, KubeletDir: o.KubeletDir, PodUID: instance}
		// The serving socket is found in the directory: it is removed last, so that an error is retried.
		for _, path := range []string{other.registrationPath(), other.servingPath()} {
			switch err := os.Remove(path); {
			case err == nil:
				logger.Info("Removed a socket of a process that was killed", logkeys.Path, path)
			case !errors.Is(err, fs.ErrNotExist):
				logger.Error(err, "Cannot remove a socket of a process that was killed")
			}
		}
	}
}

// isStale reports whether no process accepts connections at a socket.
func isStale(ctx context.Context, path string) bool {
	info, err := os.Lstat(path)
	if err != nil || time.Since(info.ModTime()) < staleAfter {
		return false
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
