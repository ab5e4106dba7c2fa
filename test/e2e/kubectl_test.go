// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// user runs kubectl space for the driver of the test in a namespace.
type user struct {
	framework.User
	driver, ns string
}

func (u user) args(args ...string) []string {
	return append(args, "--driver-name", u.driver, "-n", u.ns)
}

// awaitOutput waits until a command prints words, which may be in columns: events and other reports of
// the components have a delay.
func (u user) awaitOutput(t *testing.T, words []string, args ...string) {
	t.Helper()
	framework.Eventually(t, "kubectl space "+strings.Join(args, " "), func(ctx context.Context) error {
		out, errOut, err := u.TryKubectlSpace(ctx, u.args(args...)...)
		if exit := (*exec.ExitError)(nil); args[0] == "why" && errors.As(err, &exit) && exit.ExitCode() == 1 {
			err = nil // There is no space.
		}
		for _, word := range words {
			if !strings.Contains(strings.Join(strings.Fields(out+errOut), " "), word) {
				return fmt.Errorf("it does not print %q, but (error %v)\n%s%s", word, err, out, errOut) //nolint:errorlint // it may be nil
			}
		}
		return err
	})
}

// makeKubectlSpace builds kubectl space, which the installation of the driver does not.
var makeKubectlSpace = sync.OnceValue(func() error {
	if out, err := exec.Command("make", "-C", framework.Root(), "kubectl-space").CombinedOutput(); err != nil {
		return fmt.Errorf("build kubectl space: %w\n%s", err, out)
	}
	return nil
})

func buildKubectlSpace(t *testing.T) {
	t.Helper()
	if err := makeKubectlSpace(); err != nil {
		t.Fatal(err)
	}
}

func TestKubectlSpace_explainsWithTheUsersPermissions(t *testing.T) {
	t.Parallel()
	buildKubectlSpace(t)
	t.Run("its documentation runs as printed", func(t *testing.T) {
		env.Requires(t, "1.36", "the time of an allocation, which the page shows,")
		runREADME(t, "docs/kubectl-space.md")
	})
	const driver = "plugin.space.example.com"
	env.InstallAnotherRelease(t, "plugin", "driverName="+driver, "controller.replicas=1",
		"deviceClasses[0].name=plugin-limited", "deviceClasses[0].pool=limited", "pools[0].name=limited", "pools[0].limit=1",
		"deviceClasses[1].name=plugin-unlimited", "deviceClasses[1].pool=unlimited", "pools[1].name=unlimited",
		"deviceClasses[2].name=plugin-extensible", "deviceClasses[2].pool=unlimited", "deviceClasses[2].config.maxLifetime=1h", "deviceClasses[2].config.maxExtension=2h")
	ns := env.Namespace(t)
	env.Kubectl(t, "create", "serviceaccount", "developer", "-n", ns)
	env.Kubectl(t, "create", "rolebinding", "developer", "-n", ns, "--clusterrole=edit", "--serviceaccount="+ns+":developer")
	list := get(claims(ns, ""))
	framework.AwaitAllowed(t, list.String(), list.By(env.As(t, ns, "developer")))
	if out, _ := (user{env.Admin(), driver, ns}).KubectlSpace(t, "check", "--wait=2m", "--driver-name", driver, "-o", "json"); strings.Count(out, `"ok": true`) != 5 {
		t.Errorf("kubectl space check prints\n%s", out)
	}
	if out, _, err := (user{env.Admin(), driver, ns}).TryKubectlSpace(t.Context(), "check", "--driver-name", "none.example.com"); err == nil || !strings.Contains(out, "the driver is not installed") {
		t.Errorf("kubectl space check of a driver that is not installed: error %v:\n%s", err, out)
	}
	admin, dev := user{env.Admin(), driver, ns}, user{env.UserWith(t, ns, "developer"), driver, ns}

	// The namespace is stuck after a minute, during the other tests.
	stuck := env.Use(t, ns, claimOf("stuck", "plugin-unlimited"), framework.NewPod("stuck", "stuck")).Namespace
	env.Kubectl(t, "create", "configmap", "blocker", "-n", stuck)
	setFinalizers := func(finalizers string) {
		if out, err := env.TryKubectl(context.Background(), "patch", "configmap", "blocker", "-n", stuck, "--type=merge", "-p", `{"metadata":{"finalizers":`+finalizers+`}}`); err != nil {
			t.Errorf("set the finalizers of a ConfigMap to %s: %v: %s", finalizers, err, out)
		}
	}
	setFinalizers(`["example.com/test"]`)
	release := sync.OnceFunc(func() { setFinalizers("null") })
	t.Cleanup(release)
	env.DeletePod(t, ns, "stuck")
	env.Kubectl(t, "delete", "resourceclaim", "stuck", "-n", ns)

	testExtend(t, admin, dev)
	testFullPool(t, admin, dev)
	testUnavailableDriver(t, admin, dev)
	exists := "Its namespace " + stuck + " still exists: "
	admin.awaitOutput(t, []string{"ContentRemaining"}, "list")
	admin.awaitOutput(t, []string{"A space of ResourceClaim stuck is deprovisioned, and its credentials are revoked. " + exists, "example.com/test in 1 resource instances"}, "why", "stuck")
	admin.awaitOutput(t, []string{exists}, "why", "namespace/"+stuck)
	release()
	env.AwaitNamespaceDeleted(t, stuck)
	if _, errOut, err := admin.TryKubectlSpace(t.Context(), admin.args("why", "stuck")...); err == nil || !strings.Contains(errOut, "there is neither a ResourceClaim nor a Pod stuck") {
		t.Errorf("kubectl space why of a deleted claim and space: error %v: %s", err, errOut)
	}
}

// testExtend extends the space of a claim, as a user with the role edit in the namespace of the claim.
func testExtend(t *testing.T, admin, dev user) {
	t.Helper()
	env.Use(t, dev.ns, claimOf("extended", "plugin-extensible"), framework.NewPod("extended", "extended"))
	for range 2 { // Each one adds an hour.
		if out, _ := dev.KubectlSpace(t, dev.args("extend", "extended", "1h")...); !strings.HasPrefix(out, "resourceclaim.resource.k8s.io/extended extended until 2") {
			t.Errorf("kubectl space extend prints %q", out)
		}
	}
	if _, errOut, err := dev.TryKubectlSpace(t.Context(), dev.args("extend", "extended", "1s")...); err == nil || !strings.HasPrefix(errOut, "error: ResourceClaim extended expires at 2") {
		t.Errorf("an extension that the class does not allow: error %v: %s", err, errOut)
	}
	admin.awaitOutput(t, []string{"Expires: 2"}, "describe", "extended")
	if claim := env.Kubectl(t, "get", "resourceclaim", "extended", "-n", dev.ns, "-o", "yaml"); !strings.Contains(claim, "/extension: 2h0m0s") {
		t.Errorf("the claim is\n%s", claim)
	}
	env.DeletePod(t, dev.ns, "extended")
}

// testFullPool runs commands about a claim with the only space of a pool, one that waits for that space,
// and one with a DeviceClass that does not exist, as an administrator and as a user with fewer
// permissions.
func testFullPool(t *testing.T, admin, dev user) {
	t.Helper()
	ns := admin.ns
	s := env.Use(t, ns, claimOf("first", "plugin-limited"), framework.NewPod("first", "first"))
	for name, class := range map[string]string{"next": "plugin-limited", "classless": "plugin-none"} {
		env.CreateClaim(t, ns, claimOf(name, class))
		env.StartPod(t, ns, framework.NewPod(name, name))
	}
	admin.awaitOutput(t, []string{"first " + s.Namespace + " Ready first ", "next <none> Pending next"}, "list")
	dev.awaitOutput(t, []string{"first " + s.Namespace + " Ready first ", "limited <unknown>", "You do not have permission to list namespaces", "list resourcequotas"}, "list")
	admin.awaitOutput(t, []string{"limited <any> spaces 1 0 1", "unlimited <any> spaces"}, "top")
	admin.awaitOutput(t, []string{"Claim: first", "Claim: next"}, "describe", "namespace/"+s.Namespace, "next")
	admin.awaitOutput(t, []string{"There is no room for ResourceClaim next on the nodes that pod next can run on: 1 of 1 spaces of pool limited are in use"}, "why", "pod/next")
	dev.awaitOutput(t, []string{"pool is full, or has no space for the nodes", "permission to list resourceslices", "list resourceclaims in all namespaces"}, "why", "next")
	for _, p := range []user{admin, dev} {
		p.awaitOutput(t, []string{"names DeviceClass plugin-none, which does not exist"}, "why", "classless")
	}
	for permission, args := range map[string][]string{
		`cannot create resource "serviceaccounts/token"`:          {"kubeconfig", "first"},
		`cannot list resource "resourceslices"`:                   {"top"},
		`cannot list resource "resourceclaims" in API group "res`: {"list", "-A"},
	} {
		if _, errOut, err := dev.TryKubectlSpace(t.Context(), dev.args(args...)...); err == nil || !strings.HasPrefix(errOut, "Error from server (Forbidden): ") || !strings.Contains(errOut, permission) {
			t.Errorf("kubectl space %v without a permission: error %v: %s", args, err, errOut)
		}
	}
	for _, pod := range []string{"classless", "next", "first"} {
		env.DeletePod(t, ns, pod)
	}
}

// testUnavailableDriver runs commands while the controller, and then the kubelet plugin, does not run.
func testUnavailableDriver(t *testing.T, admin, dev user) {
	t.Helper()
	ns := admin.ns
	const controller, plugin = "deployment/plugin-space-dra-driver-controller", "daemonset/plugin-space-dra-driver-kubeletplugin"
	change := func(workload, patch string) {
		env.Kubectl(t, "patch", "-n", "plugin", workload, "--type=merge", "-p", patch)
	}
	awaitNone := func(selector string) {
		env.Kubectl(t, "wait", "-n", "plugin", "--for=delete", "pod", "-l", selector, "--timeout="+framework.Timeout.String())
	}
	failed := func(pod, words string) {
		framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.EventAbout("Pod", pod, "FailedPrepareDynamicResources", words))
	}
	change(controller, `{"spec":{"replicas":0}}`)
	awaitNone(framework.ControllerPods)
	env.CreateClaim(t, ns, claimOf("unprovisioned", "plugin-unlimited"))
	env.StartPod(t, ns, framework.NewPod("unprovisioned", "unprovisioned"))
	failed("unprovisioned", "ResourceClaim "+ns+"/unprovisioned")
	for _, p := range []user{admin, dev} {
		p.awaitOutput(t, []string{"is allocated from pool unlimited, and the controller has not reported anything about its space yet"}, "why", "unprovisioned")
	}
	change(controller, `{"spec":{"replicas":1}}`)
	framework.Await(t, framework.Pod(env.Client, ns, "unprovisioned"), framework.PodReady())
	space := env.SpaceOf(t, ns, "unprovisioned", "unprovisioned")
	space.CheckUsable(t, ns, "unprovisioned")
	env.DeletePod(t, ns, "unprovisioned")
	env.AwaitNamespaceDeleted(t, space.Namespace)

	change(plugin, `{"spec":{"template":{"spec":{"nodeSelector":{"no":"node"}}}}}`)
	awaitNone(framework.PluginPods)
	env.CreateClaim(t, ns, claimOf("unprepared", "plugin-unlimited"))
	env.StartPod(t, ns, framework.NewPod("unprepared", "unprepared"))
	failed("unprepared", "is not registered")
	for _, p := range []user{admin, dev} {
		p.awaitOutput(t, []string{"is ready, but the kubelet plugin does not run on node"}, "why", "pod/unprepared")
	}
	change(plugin, `{"spec":{"template":{"spec":{"nodeSelector":{"no":null}}}}}`)
	env.DeletePod(t, ns, "unprepared")
}
