// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
	"github.com/space-dra/space-dra-driver/pkg/space/kubeconfig"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

const (
	// caInterval is how often the file with the certificate authority is read. A claim
	// that is in use just then is updated the next time.
	caInterval = 20 * time.Second
	// maxCASize limits what is copied into each claim's directory.
	maxCASize = 1 << 20
)

// APIServer is how containers reach the API server. It comes from the plugin's own
// configuration, never from the status of a claim, which others may write.
type APIServer struct {
	// URL is https://host:port.
	URL string
	// CAFile has the certificates to trust, as PEM. It may change.
	CAFile string
	// CA are the certificates if there is no CAFile. Empty: clients trust what the system trusts.
	CA []byte
}

// serverFilesSource is an APIServer with its current certificates.
type serverFilesSource struct {
	APIServer
	ca atomic.Pointer[[]byte]
}

// load reads the certificates, and reports whether they have changed.
func (s *serverFilesSource) load() (changed bool, err error) {
	ca := s.CA
	if s.CAFile != "" {
		if ca, err = readCA(s.CAFile); err != nil {
			return false, fmt.Errorf("read the certificate authority for pods: %w", err)
		}
	}
	old := s.ca.Swap(&ca)
	return old == nil || !bytes.Equal(*old, ca), nil
}

func readCA(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	ca, err := io.ReadAll(io.LimitReader(f, maxCASize+1))
	if err != nil {
		return nil, err
	}
	if len(ca) > maxCASize {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxCASize)
	}
	if _, err := cert.ParseCertsPEM(ca); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return ca, nil
}

// files returns what containers with a space get of the API server.
func (s *serverFilesSource) files(claim types.UID, space preparedSpace) serverFiles {
	return serverFiles{
		kubeconfig: []byte(kubeconfig.Build(s.URL, containeredits.CredentialsDir(claim, space.Subdir), space.Namespace)),
		ca:         *s.ca.Load(),
	}
}

// watchCA updates all prepared claims when the certificates change, until the context
// ends. Containers have their files mounted, and see that without a restart.
func (d *Driver) watchCA(ctx context.Context) {
	ticker := d.Clock.NewTicker(caInterval)
	defer ticker.Stop()
	outdated := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		changed, err := d.apiServer.load()
		if err != nil {
			klog.FromContext(ctx).Error(err, "Containers keep the certificates that they have")
		}
		if changed {
			klog.FromContext(ctx).Info("Certificate authority changed", logkeys.Path, d.apiServer.CAFile)
		}
		if changed || outdated {
			outdated = !d.updateServerFiles(ctx)
		}
	}
}

// updateServerFiles updates all prepared claims, and reports whether it could.
func (d *Driver) updateServerFiles(ctx context.Context) bool {
	claims, _, err := d.store.list()
	if err != nil {
		klog.FromContext(ctx).Error(err, "Cannot look for claims with other certificates")
		return false
	}
	all := true
	for _, listed := range claims {
		unlock, ok := d.locks.tryLock(listed.UID)
		if !ok {
			all = false
			continue
		}
		// A call may have changed it meanwhile.
		if p, err := d.store.get(listed.UID); err == nil {
			all = d.writeServerFiles(ctx, p) && all
		}
		unlock()
	}
	return all
}

// writeServerFiles updates a claim, and reports whether it could. The caller has the
// claim's lock.
func (d *Driver) writeServerFiles(ctx context.Context, p preparedClaim) bool {
	for _, space := range p.Spaces {
		if err := d.store.writeServerFiles(p.UID, space.Subdir, d.apiServer.files(p.UID, space)); err != nil {
			klog.FromContext(ctx).Error(err, "Cannot update how containers reach the API server")
			return false
		}
	}
	return true
}
