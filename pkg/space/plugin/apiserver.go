// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"k8s.io/client-go/util/cert"
)

// maxCASize is the maximum size of the certificates, which are copied into each claim's directory.
const maxCASize = 1 << 20

// APIServer has the address and the CA certificates with which containers reach the API server. It comes from the plugin's own configuration,
// and not from the status of a claim, which other clients may write.
type APIServer struct {
	// URL is https://host:port.
	URL string
	// CAFile has the CA certificates as PEM. It may change.
	CAFile string
	// CA are the CA certificates if there is no CAFile. If empty, clients use those of the system.
	CA []byte
}

// apiServerWithCA is an APIServer with the certificates that were last read.
type apiServerWithCA struct {
	APIServer
	ca atomic.Pointer[[]byte]
}

// load reads the certificates, and reports whether they have changed.
func (s *apiServerWithCA) load() (changed bool, err error) {
	ca := s.CA
	if s.CAFile != "" {
		if ca, err = readCA(s.CAFile); err != nil {
			return false, fmt.Errorf("read the CA certificates for pods: %w", err)
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
