// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// installation is a controller that reaches the API server through a proxy. Each has its own driver
// name, so that it ignores the spaces of others.
type installation struct {
	driver     string
	proxy      *faults.Proxy
	arguments  []string
	controller *framework.Controller
}

// install prepares a controller, without starting it, with additional arguments.
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
		ctx, cancel := context.WithTimeout(context.Background(), framework.Timeout)
		defer cancel()
		selector := resourceapi.ResourceSliceSelectorDriver + "=" + driver
		if err := env.Client.ResourceV1().ResourceSlices().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: selector}); err != nil {
			t.Errorf("delete the ResourceSlices of driver %s: %v", driver, err)
		}
	})
}

// start starts or restarts the controller.
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
	case <-time.After(framework.Timeout):
		t.Fatalf("waited until %s", what)
	}
}

// ofDriver sets the driver of an allocation.
func ofDriver(driver string) func(*resourceapi.ResourceClaim) {
	return func(claim *resourceapi.ResourceClaim) {
		for i := range claim.Status.Allocation.Devices.Results {
			claim.Status.Allocation.Devices.Results[i].Driver = driver
		}
	}
}

// allocateTo allocates a claim to devices of a driver.
func allocateTo(t *testing.T, driver, namespace, name string, changes ...func(*resourceapi.ResourceClaim)) {
	t.Helper()
	allocate(t, env, namespace, name, append([]func(*resourceapi.ResourceClaim){ofDriver(driver)}, changes...)...)
}

// provision creates and allocates a claim, waits for its space, and returns the space's namespace.
func provision(t *testing.T, driver, namespace, name string, changes ...func(*resourceapi.ResourceClaim)) string {
	t.Helper()
	env.CreateClaim(t, namespace, framework.NewClaim(name))
	allocateTo(t, driver, namespace, name, changes...)
	return readySpace(t, namespace, name)
}

// readySpace waits for the only space of a claim, and returns its namespace.
func readySpace(t *testing.T, namespace, name string) string {
	t.Helper()
	_, spaces := spacesOf(t, env, namespace, name, 1)
	return spaces[0].Namespace
}

// awaitEvent waits for an event about an object in a namespace.
func awaitEvent(t *testing.T, namespace, kind, name, reason, words string) {
	t.Helper()
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", namespace, framework.EventAbout(kind, name, reason, words))
}

// failRequests makes the controller's requests of this kind fail.
func (i *installation) failRequests(verb, resource string) {
	i.proxy.Intercept(func(call faults.Call, _ func()) faults.Answer {
		if call.Verb == verb && call.Resource == resource && call.Subresource == "" {
			return faults.Failed
		}
		return faults.Forwarded
	})
}

// applyChart creates the objects of the chart, or of some of its templates, with these values. It
// returns the file with the manifest.
func applyChart(t *testing.T, release, namespace string, values map[string]string, templates ...string) (manifest string) {
	t.Helper()
	args := []string{"template", release, filepath.Join(filepath.Dir(cluster.DefaultConfig().BuildDir), "deployments/helm/space-dra-driver"), "--namespace", namespace, "--skip-tests"}
	for _, name := range templates {
		args = append(args, "--show-only", "templates/"+name)
	}
	for key, value := range values {
		args = append(args, "--set", key+"="+value)
	}
	// `make programs` builds it.
	rendered, err := exec.CommandContext(t.Context(), framework.Binary("helm"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("helm %q: %v: %s", args, err, rendered)
	}
	manifest = filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(manifest, rendered, 0o600); err != nil {
		t.Fatal(err)
	}
	env.Kubectl(t, "apply", "-f", manifest)
	return manifest
}

// releaseOf applies the chart. It returns the arguments of a controller with the permissions and
// settings of that release. Its ServiceAccount is <release>-space-dra-driver-controller.
func releaseOf(t *testing.T, release, namespace string, values map[string]string, templates ...string) []string {
	t.Helper()
	applyChart(t, release, namespace, values, templates...)
	account, driver := release+"-space-dra-driver-controller", cmp.Or(values["driverName"], spaceapi.DefaultDriverName)
	removeSlices(t, driver)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	env.WriteKubeconfigOf(t, namespace, account, kubeconfig)
	list := func(key string) string { return strings.Trim(values[key], "{}") }
	return []string{
		"--kubeconfig=" + kubeconfig, "--driver-name=" + driver, "--resourceslice-owner=" + account,
		"--leader-elect-resource-namespace=" + namespace, "--leader-elect-resource-name=" + account,
		"--allowed-cluster-roles=" + list("space.allowedClusterRoles"),
		"--cluster-wide-roles=" + list("space.clusterWideRoles"),
		"--copy-from-namespaces=" + list("space.copyFromNamespaces"),
	}
}
