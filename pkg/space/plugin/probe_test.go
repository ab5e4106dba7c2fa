// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// running is a plugin that serves at its own sockets.
type running struct {
	*kubeletConnection
	url  string
	stop func()
}

func startPlugin(t *testing.T, dir string, uid types.UID) *running {
	t.Helper()
	// Names are short because the path of a socket can have only 107 characters.
	o := parse(t, "--node-name=node-7", "--driver-name=a.b", "--pod-uid="+string(uid), "--credentials-dir="+dir+"/a", "--cdi-root="+dir+"/c", "--kubelet-root-dir="+dir)
	if err := os.MkdirAll(o.dataDir(), 0o750); err != nil { // in a cluster, the kubelet creates it
		t.Fatal(err)
	}
	api := fake.NewClientset()
	driver, err := o.newDriver(api, watchWith(api), APIServer{}, record.NewFakeRecorder(1), prometheus.NewRegistry(), func(err error) { t.Errorf("the plugin failed: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	driver.Start(t.Context())
	t.Cleanup(driver.Stop)
	kubelet := &kubeletConnection{
		socket:    o.servingPath(),
		registrar: filepath.Join(dir, kubeletplugin.RollingUpdateRegistrarSocketFile(dir, o.Driver, o.instance())),
	}
	helper, err := kubeletplugin.Start(t.Context(), driver, append(o.helperOptions(kubelet),
		kubeletplugin.KubeClient(api), kubeletplugin.RegistrarDirectoryPath(dir))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(helper.Stop)
	server := httptest.NewServer(o.healthHandler(kubelet))
	t.Cleanup(server.Close)
	return &running{kubelet, server.URL, helper.Stop}
}

// register registers the plugin, as the kubelet does.
func (r *running) register(t *testing.T, status *registerapi.RegistrationStatus) {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+r.registrar, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client := registerapi.NewRegistrationClient(conn)
	info, err := client.GetInfo(t.Context(), &registerapi.InfoRequest{})
	if err != nil || info.Endpoint != r.socket {
		t.Fatalf("got info %v, error %v, want endpoint %s", info, err, r.socket)
	}
	// The helper returns an error for a failed registration.
	if _, err := client.NotifyRegistrationStatus(t.Context(), status); err != nil && status.PluginRegistered {
		t.Fatal(err)
	}
}

func (r *running) want(t *testing.T, path string, code int) {
	t.Helper()
	resp, err := http.Get(r.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != code {
		t.Errorf("%s: got status %d, want %d", path, resp.StatusCode, code)
	}
}

func TestHealthHandler_readyWhenRegistered(t *testing.T) {
	dir := t.TempDir()
	r := startPlugin(t, dir, "1")
	r.want(t, "/healthz", http.StatusOK)
	r.want(t, "/readyz", http.StatusServiceUnavailable)

	r.register(t, &registerapi.RegistrationStatus{Error: "too old"})
	if err := r.checkRegistered(); err == nil || !strings.Contains(err.Error(), "too old") {
		t.Errorf("got error %v, want the kubelet's", err)
	}
	r.want(t, "/readyz", http.StatusServiceUnavailable)

	r.register(t, &registerapi.RegistrationStatus{PluginRegistered: true})
	r.want(t, "/readyz", http.StatusOK)

	// During an update, another plugin runs at the same time.
	second := startPlugin(t, dir, "2")
	second.want(t, "/readyz", http.StatusServiceUnavailable)
	second.register(t, &registerapi.RegistrationStatus{PluginRegistered: true})
	second.want(t, "/readyz", http.StatusOK)
	r.want(t, "/readyz", http.StatusOK)
	r.stop()
	r.want(t, "/healthz", http.StatusServiceUnavailable)
	r.want(t, "/readyz", http.StatusServiceUnavailable)
	second.want(t, "/readyz", http.StatusOK)
}

func TestDrain_waitsForCallsAndResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &kubeletConnection{}
		call := func(takes time.Duration) {
			go func() {
				_, _ = c.intercept(t.Context(), nil, nil, func(context.Context, any) (any, error) {
					<-time.After(takes)
					return nil, nil
				})
			}()
			synctest.Wait()
		}
		drain := func(limit time.Duration) (time.Duration, error) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			start := time.Now()
			err := c.drain(ctx)
			return time.Since(start), err
		}
		if took, err := drain(time.Minute); took < settleTime || took > 2*settleTime || err != nil {
			t.Errorf("without a call it took %s, error %v", took, err)
		}
		call(time.Second)
		call(10 * time.Second)
		if took, err := drain(time.Minute); took < 10*time.Second+settleTime || took > 11*time.Second || err != nil {
			t.Errorf("with calls of 1 and 10 seconds it took %s, error %v", took, err)
		}
		call(time.Hour)
		if took, err := drain(time.Minute); took != time.Minute || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a call of an hour it took %s, error %v", took, err)
		}
		<-time.After(time.Hour) // until all goroutines of the bubble have ended
	})
}

func TestProbe_failsIfThePluginDoesNotServe(t *testing.T) {
	dir := t.TempDir()
	c := &kubeletConnection{socket: filepath.Join(dir, "dra.sock"), registrar: filepath.Join(dir, "reg.sock")}
	err := c.probe(t.Context())
	for _, socket := range []string{c.socket, c.registrar} {
		if err == nil || !strings.Contains(err.Error(), socket) {
			t.Errorf("got error %v, want one that names socket %s", err, socket)
		}
	}
}

func TestHealthHandler_failsWithoutASocket(t *testing.T) {
	for _, socketOf := range []func(*running) string{
		func(r *running) string { return r.registrar },
		func(r *running) string { return r.socket },
	} {
		r := startPlugin(t, t.TempDir(), "1")
		r.register(t, &registerapi.RegistrationStatus{PluginRegistered: true})
		r.want(t, "/readyz", http.StatusOK)
		r.want(t, "/healthz", http.StatusOK)
		if err := os.Remove(socketOf(r)); err != nil {
			t.Fatal(err)
		}
		r.want(t, "/readyz", http.StatusServiceUnavailable)
		r.want(t, "/healthz", http.StatusServiceUnavailable)
	}
}
