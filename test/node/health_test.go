// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestPluginHealth_followsTheRegistration(t *testing.T) {
	t.Parallel()
	n := newEmptyNode(t)
	address := framework.FreeAddress(t)
	ask := framework.PlainHTTP(address)
	p := n.launch(t, "pod-1", nil, "--http-bind-address="+address)
	ask.Await(t, "/healthz", http.StatusOK)
	ask.Await(t, "/readyz", http.StatusServiceUnavailable, "not registered the plugin yet")
	if err := p.register(t, n.kubelet, "pod-1"); err != nil {
		t.Fatal(err)
	}
	ask.Await(t, "/readyz", http.StatusOK)
	// Pods can be unprepared without an API server.
	n.proxy.Close(t)
	ask.Await(t, "/readyz", http.StatusOK)
	ask.Await(t, "/healthz", http.StatusOK)

	registrar := filepath.Join(n.kubelet, "plugins_registry", spaceapi.DefaultDriverName+"-pod-1-reg.sock")
	if err := os.Remove(registrar); err != nil {
		t.Fatal(err)
	}
	ask.Await(t, "/readyz", http.StatusServiceUnavailable, registrar)
	ask.Await(t, "/healthz", http.StatusServiceUnavailable, registrar)
	p.kill()
	p = n.launch(t, "pod-1", nil, "--http-bind-address="+address)
	if err := p.register(t, n.kubelet, "pod-1"); err != nil {
		t.Fatal(err)
	}
	ask.Await(t, "/readyz", http.StatusOK)
}
