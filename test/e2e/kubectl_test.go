// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// person runs kubectl space for the driver of the test in a namespace.
type person struct {
	framework.Person
	driver, ns string
}

func (p person) args(args ...string) []string {
	return append(args, "--driver-name", p.driver, "-n", p.ns)
}

// says waits until a command prints words, which may be in columns. What the
// components report, in events for instance, appears a moment later.
func (p person) says(t *testing.T, words []string, args ...string) {
	t.Helper()
	framework.Eventually(t, "kubectl space "+strings.Join(args, " "), func(ctx context.Context) error {
		out, errOut, err := p.TrySpace(ctx, p.args(args...)...)
		for _, word := range words {
			if !strings.Contains(strings.Join(strings.Fields(out+errOut), " "), word) {
				return fmt.Errorf("it does not print %q, but (error %v)\n%s%s", word, err, out, errOut) //nolint:errorlint // it may be nil
			}
		}
		return err
	})
}

func TestKubectlSpace_explainsWithTheUsersPermissions(t *testing.T) {
	t.Parallel()
	// It is in no image, so that the installation did not build it.
	if out, err := exec.CommandContext(t.Context(), "make", "-C", framework.Root(), "kubectl-space").CombinedOutput(); err != nil {
		t.Fatalf("build kubectl space: %v\n%s", err, out)
	}
	// It is about the driver that all tests share, and an administrator.
	t.Run("the page about it is true", func(t *testing.T) {
		env.Requires(t, "1.36", "the time of an allocation, which the page shows,")
		runREADME(t, "docs/kubectl-space.md")
	})
	const driver = "plugin.space.example.com"
	env.InstallAnother(t, "plugin", "driverName="+driver, "controller.replicas=1",
		"deviceClasses[0].name=plugin-few", "deviceClasses[0].pool=few", "pools[0].name=few", "pools[0].limit=1",
		"deviceClasses[1].name=plugin-many", "deviceClasses[1].pool=many", "pools[1].name=many")
	ns := env.Namespace(t)
	env.Kubectl(t, "create", "serviceaccount", "developer", "-n", ns)
	env.Kubectl(t, "create", "rolebinding", "developer", "-n", ns, "--clusterrole=edit", "--serviceaccount="+ns+":developer")
	look := get(claims(ns, ""))
	framework.AwaitAllowed(t, look.String(), look.By(env.As(t, ns, "developer")))
	admin, dev := person{env.Administrator(), driver, ns}, person{env.PersonWith(t, ns, "developer"), driver, ns}

	// Only time makes it stuck.
	held := env.Use(t, ns, claimOf("held", "plugin-many"), framework.NewPod("held", "held")).Namespace
	env.Kubectl(t, "create", "configmap", "holder", "-n", held)
	hold := func(finalizers string) {
		if out, err := env.TryKubectl(context.Background(), "patch", "configmap", "holder", "-n", held, "--type=merge", "-p", `{"metadata":{"finalizers":`+finalizers+`}}`); err != nil {
			t.Errorf("set the finalizers of a ConfigMap to %s: %v: %s", finalizers, err, out)
		}
	}
	hold(`["example.com/hold"]`)
	release := sync.OnceFunc(func() { hold("null") })
	t.Cleanup(release)
	env.DeletePod(t, ns, "held")
	env.Kubectl(t, "delete", "resourceclaim", "held", "-n", ns)

	explainsALimit(t, admin, dev)
	explainsTheDriver(t, admin, dev)
	stuck := "Its namespace " + held + " still exists: "
	admin.says(t, []string{"ContentRemaining"}, "list")
	admin.says(t, []string{"A space of ResourceClaim held is deprovisioned, and its credentials are revoked. " + stuck, "example.com/hold in 1 resource instances"}, "why", "held")
	admin.says(t, []string{stuck}, "why", "namespace/"+held)
	release()
	env.AwaitNamespaceGone(t, held)
	if _, errOut, err := admin.TrySpace(t.Context(), admin.args("why", "held")...); err == nil || !strings.Contains(errOut, "there is neither a ResourceClaim nor a Pod held") {
		t.Errorf("of a claim that is gone with its space: error %v: %s", err, errOut)
	}
}

// explainsALimit asks about a claim that has the only space of a pool, one that waits for it,
// and one for a class that does not exist, also with fewer rights.
func explainsALimit(t *testing.T, admin, dev person) {
	t.Helper()
	ns := admin.ns
	s := env.Use(t, ns, claimOf("first", "plugin-few"), framework.NewPod("first", "first"))
	for name, class := range map[string]string{"next": "plugin-few", "classless": "plugin-none"} {
		env.CreateClaim(t, ns, claimOf(name, class))
		env.StartPod(t, ns, framework.NewPod(name, name))
	}
	admin.says(t, []string{"first " + s.Namespace + " Ready first ", "next <none> Pending next"}, "list")
	dev.says(t, []string{"first " + s.Namespace + " Ready first ", "few <unknown>", "You do not have permission to list namespaces", "list resourcequotas"}, "list")
	admin.says(t, []string{"few <any> spaces 1 0 1", "many <any> spaces"}, "top")
	admin.says(t, []string{"Claim: first", "Claim: next"}, "describe", "namespace/"+s.Namespace, "next")
	admin.says(t, []string{"There is no room for ResourceClaim next on the nodes that pod next can run on: of pool few 1 of 1 spaces are in use"}, "why", "pod/next")
	dev.says(t, []string{"pool is full, or has no space for the nodes", "permission to list resourceslices", "list resourceclaims in all namespaces"}, "why", "next")
	for _, p := range []person{admin, dev} {
		p.says(t, []string{"names DeviceClass plugin-none, which does not exist"}, "why", "classless")
	}
	for right, args := range map[string][]string{
		`cannot create resource "serviceaccounts/token"`:          {"kubeconfig", "first"},
		`cannot list resource "resourceslices"`:                   {"top"},
		`cannot list resource "resourceclaims" in API group "res`: {"list", "-A"},
	} {
		if _, errOut, err := dev.TrySpace(t.Context(), dev.args(args...)...); err == nil || !strings.HasPrefix(errOut, "Error from server (Forbidden): ") || !strings.Contains(errOut, right) {
			t.Errorf("kubectl space %v without a right: error %v: %s", args, err, errOut)
		}
	}
	for _, pod := range []string{"classless", "next", "first"} {
		env.DeletePod(t, ns, pod)
	}
}

// explainsTheDriver asks while the controller, and then the plugin, does not run.
func explainsTheDriver(t *testing.T, admin, dev person) {
	t.Helper()
	ns := admin.ns
	const controller, plugin = "deployment/plugin-space-dra-driver-controller", "daemonset/plugin-space-dra-driver-kubeletplugin"
	change := func(workload, patch string) {
		env.Kubectl(t, "patch", "-n", "plugin", workload, "--type=merge", "-p", patch)
	}
	awaitNone := func(selector string) {
		env.Kubectl(t, "wait", "-n", "plugin", "--for=delete", "pod", "-l", selector, "--timeout="+framework.Patience.String())
	}
	failed := func(pod, words string) {
		framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("Pod", pod, "FailedPrepareDynamicResources", words))
	}
	change(controller, `{"spec":{"replicas":0}}`)
	awaitNone(framework.ControllerPods)
	env.CreateClaim(t, ns, claimOf("unmade", "plugin-many"))
	env.StartPod(t, ns, framework.NewPod("unmade", "unmade"))
	failed("unmade", "ResourceClaim "+ns+"/unmade")
	for _, p := range []person{admin, dev} {
		p.says(t, []string{"is allocated from pool many, and the controller has not reported anything about its space yet"}, "why", "unmade")
	}
	change(controller, `{"spec":{"replicas":1}}`)
	framework.Await(t, framework.Pod(env.Client, ns, "unmade"), framework.PodReady())
	made := env.SpaceOf(t, ns, "unmade", "unmade")
	made.Usable(t, ns, "unmade")
	env.DeletePod(t, ns, "unmade")
	env.AwaitNamespaceGone(t, made.Namespace)

	change(plugin, `{"spec":{"template":{"spec":{"nodeSelector":{"no":"where"}}}}}`)
	awaitNone(framework.PluginPods)
	env.CreateClaim(t, ns, claimOf("unprepared", "plugin-many"))
	env.StartPod(t, ns, framework.NewPod("unprepared", "unprepared"))
	failed("unprepared", "is not registered")
	for _, p := range []person{admin, dev} {
		p.says(t, []string{"is ready, but the kubelet plugin does not run on node"}, "why", "pod/unprepared")
	}
	change(plugin, `{"spec":{"template":{"spec":{"nodeSelector":{"no":null}}}}}`)
	env.DeletePod(t, ns, "unprepared")
}
