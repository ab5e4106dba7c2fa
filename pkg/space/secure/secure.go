// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package secure serves metrics by TLS to those who may read them: whoever comes with
// a bearer token that the API server knows (TokenReview) and that may `get` the URL
// /metrics (SubjectAccessReview).
//
// docs/decisions/0010-who-may-read-metrics.md says why it is not k8s.io/apiserver's.
package secure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/space-dra/space-dra-driver/pkg/space/health"
)

// path is what is served, and what may be allowed.
const path = "/metrics"

// Metrics serves metrics.
type Metrics struct {
	// Address is where to listen, as host:port. Empty: nowhere.
	Address string
	// CertFile and KeyFile are the certificate as PEM. Without both, there is one that
	// nobody else has signed.
	CertFile, KeyFile string
}

// AddFlags registers flags.
func (m *Metrics) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&m.Address, "secure-metrics-address", "", "Where /metrics is served by TLS, as host:port, to those whose token may get this URL; it is not served at --http-address then. Empty: nowhere.")
	fs.StringVar(&m.CertFile, "secure-metrics-certificate", "", "File with the certificate for --secure-metrics-address, as PEM. It may change. Empty: one that the process signs itself.")
	fs.StringVar(&m.KeyFile, "secure-metrics-key", "", "File with the key of the certificate, as PEM.")
}

// Validate says why the flags can't be, or nil.
func (m *Metrics) Validate() error {
	switch {
	case (m.CertFile == "") != (m.KeyFile == ""):
		return errors.New("--secure-metrics-certificate and --secure-metrics-key belong together")
	case m.CertFile != "" && m.Address == "":
		return errors.New("--secure-metrics-certificate is of no use without --secure-metrics-address")
	}
	return nil
}

// Enabled says that metrics are not for everybody.
func (m *Metrics) Enabled() bool { return m.Address != "" }

// Run serves until the context ends, which is no error.
func (m *Metrics) Run(ctx context.Context, api kubernetes.Interface, clock clock.PassiveClock) error {
	if !m.Enabled() {
		<-ctx.Done()
		return nil
	}
	certificate := newCertificate(m.CertFile, m.KeyFile, clock, klog.FromContext(ctx))
	if err := certificate.look(); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", m.Address)
	if err != nil {
		return fmt.Errorf("listen for those who read metrics: %w", err)
	}
	return health.Serve(ctx, tls.NewListener(listener, certificate.config()), Handler(api, clock, health.Metrics()))
}

// Handler lets those read the metrics who may.
func Handler(api kubernetes.Interface, clock clock.PassiveClock, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+path, newAccess(api, clock).guard(metrics))
	return mux
}
