// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// installation is a controller with a proxy between it and the API server, and
// with a driver name of its own, so that controllers do not see each other's spaces.
type installation struct {
	driver     string
	proxy      *faults.Proxy
	arguments  []string
	controller *framework.Controller
}

// install prepares a controller without starting it. Arguments are added to those
// that every installation has.
func install(t *testing.T, driver string, arguments ...string) *installation {
	t.Helper()
	config, err := env.Cluster.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	removeSlices(t, driver)
	return &installation{driver: driver, proxy: faults.New(t, config, kubeconfig), arguments: append([]string{
		"--kubeconfig=" + kubeconfig,
		"--driver-name=" + driver,
		"--advertise-apiserver-url=" + env.Cluster.APIServerURL(),
		"--leader-elect=false",
	}, arguments...)}
}

// removeSlices deletes the ResourceSlices of a controller at the end of the test.
func removeSlices(t *testing.T, driver string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), framework.Patience)
		defer cancel()
		selector := resourceapi.ResourceSliceSelectorDriver + "=" + driver
		if err := env.Client.ResourceV1().ResourceSlices().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: selector}); err != nil {
			t.Errorf("delete the ResourceSlices of driver %s: %v", driver, err)
		}
	})
}

// start starts the controller, for the first time or again.
func (i *installation) start(t *testing.T) {
	t.Helper()
	i.controller = startController(t, env, i.arguments...)
	// The test may end before the controller handles SIGTERM.
	t.Cleanup(func() { i.kill(t) })
}

// kill kills the controller, as the kernel does when it runs out of memory.
func (i *installation) kill(t *testing.T) {
	t.Helper()
	i.controller.Stop(t, syscall.SIGKILL)
}

// await waits until a channel is closed.
func await(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(framework.Patience):
		t.Fatalf("waited until %s", what)
	}
}

// ofDriver makes an allocation one of spaces of a driver.
func ofDriver(driver string) func(*resourceapi.ResourceClaim) {
	return func(claim *resourceapi.ResourceClaim) {
		for i := range claim.Status.Allocation.Devices.Results {
			claim.Status.Allocation.Devices.Results[i].Driver = driver
		}
	}
}

// allocateTo is allocate for another driver.
func allocateTo(t *testing.T, driver, namespace, name string, changes ...func(*resourceapi.ResourceClaim)) {
	t.Helper()
	allocate(t, env, namespace, name, append([]func(*resourceapi.ResourceClaim){ofDriver(driver)}, changes...)...)
}

// provision creates a claim with an allocation, and returns the namespace of its space when
// that is ready.
func provision(t *testing.T, driver, namespace, name string, changes ...func(*resourceapi.ResourceClaim)) string {
	t.Helper()
	env.CreateClaim(t, namespace, framework.NewClaim(name))
	allocateTo(t, driver, namespace, name, changes...)
	return readySpace(t, namespace, name)
}

// readySpace returns the namespace of a claim's only space when that is ready.
func readySpace(t *testing.T, namespace, name string) string {
	t.Helper()
	_, spaces := spacesOf(t, env, namespace, name, 1)
	return spaces[0].Namespace
}

// awaitEvent waits for an event about an object in a namespace.
func awaitEvent(t *testing.T, namespace, kind, name, reason, words string) {
	t.Helper()
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", namespace, framework.About(kind, name, reason, words))
}

// refuse refuses the controller's calls of this kind.
func (i *installation) refuse(verb, resource string) {
	i.proxy.Intercept(func(call faults.Call, _ func()) faults.Answer {
		if call.Verb == verb && call.Resource == resource && call.Subresource == "" {
			return faults.Refused
		}
		return faults.Real
	})
}
