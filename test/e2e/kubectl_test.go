// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// person runs kubectl space for the driver of the test in a namespace.
type person struct {
	framework.Person
	driver, ns string
}

func (p person) args(args ...string) []string {
	return append(args, "--driver", p.driver, "-n", p.ns)
}

// says waits until a command prints words, which may be in columns. What the
// components report, in events for instance, appears a moment later.
func (p person) says(t *testing.T, words []string, args ...string) {
	t.Helper()
	var lacks, out, errOut string
	err := wait.PollUntilContextTimeout(t.Context(), time.Second, framework.Patience, true, func(ctx context.Context) (bool, error) {
		var err error
		if out, errOut, err = p.TrySpace(ctx, p.args(args...)...); err != nil {
			return false, err
		}
		text := strings.Join(strings.Fields(out+errOut), " ")
		for _, word := range words {
			if !strings.Contains(text, word) {
				lacks = word
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		t.Errorf("kubectl space %s does not print %q (%v), but\n%s%s", strings.Join(args, " "), lacks, err, out, errOut)
	}
}

func TestKubectlSpace(t *testing.T) {
	t.Parallel()
	// It is in no image, so that the installation did not build it.
	cmd := exec.CommandContext(t.Context(), "make", "-C", filepath.Dir(cluster.DefaultConfig().BuildDir), "kubectl-space")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build kubectl space: %v\n%s", err, out)
	}
	// It is about the driver that all tests share.
	t.Run("the page about it is true", func(t *testing.T) {
		runREADME(t, filepath.Dir(cluster.DefaultConfig().BuildDir), "docs/kubectl-space.md")
	})
	const driver = "plugin.space.example.com"
	env.InstallAnother(t, "plugin", "driverName="+driver, "controller.replicas=1",
		"deviceClasses[0].name=plugin-few", "deviceClasses[0].pool=few", "pools[0].name=few", "pools[0].limit=1", "pools[1].name=many",
		"deviceClasses[1].name=plugin-many", "deviceClasses[1].pool=many",
		"deviceClasses[2].name=plugin-short", "deviceClasses[2].pool=many", "deviceClasses[2].config.maxLifetime=20s")
	ns := env.Namespace(t)
	admin := person{env.Administrator(), driver, ns}
	dev := person{developer(t, ns), driver, ns}

	// What takes longest begins first.
	for name, class := range map[string]string{"ends": "plugin-short", "held": "plugin-many", "first": "plugin-few", "next": "plugin-few"} {
		createClaimOf(t, ns, name, class, nil)
		if name != "next" {
			env.StartPod(t, ns, framework.NewPod(name, name))
		}
	}
	held := ready(t, ns, "held")
	env.Kubectl(t, "create", "configmap", "holder", "-n", held)
	env.Kubectl(t, "patch", "configmap", "holder", "-n", held, "--type=merge", "-p", `{"metadata":{"finalizers":["example.com/hold"]}}`)
	t.Cleanup(func() {
		_, _ = env.TryKubectl(context.Background(), "patch", "configmap", "holder", "-n", held, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	})
	env.DeletePod(t, ns, "held")
	env.Kubectl(t, "delete", "resourceclaim", "held", "-n", ns)

	ready(t, ns, "first")
	waits(t, ns, "next", "next")
	showsSpaces(t, admin, dev)
	explainsPods(t, admin, dev)
	explainsEnds(t, admin, dev, held)
	for _, pod := range []string{"first", "next", "ends"} {
		env.DeletePod(t, ns, pod)
	}
	explainsTheDriver(t, admin, dev)
}

// developer has the ClusterRole edit in a namespace.
func developer(t *testing.T, ns string) framework.Person {
	t.Helper()
	env.Kubectl(t, "create", "serviceaccount", "developer", "-n", ns)
	env.Kubectl(t, "create", "rolebinding", "developer", "-n", ns, "--clusterrole=edit", "--serviceaccount="+ns+":developer")
	client := env.As(t, ns, "developer")
	framework.AwaitAllowed(t, "a developer to list claims", func(ctx context.Context) error {
		_, err := client.ResourceV1().ResourceClaims(ns).List(ctx, metav1.ListOptions{})
		return err
	})
	return env.PersonWith(t, ns, "developer")
}

// ready waits until the pod of a claim runs in its space, and returns its namespace.
func ready(t *testing.T, ns, name string) string {
	t.Helper()
	claim := framework.Await(t, framework.Claim(env.Client, ns, name), framework.SpacesReady(1))
	framework.Await(t, framework.Pod(env.Client, ns, name), framework.PodReady())
	return framework.SpaceStatus(t, claim, 0).Namespace
}

// showsSpaces asks about a claim that has a space and one that waits for it.
func showsSpaces(t *testing.T, admin, dev person) {
	t.Helper()
	ns := admin.ns
	s := usableSpace(t, ns, "first", "first")
	node := framework.Await(t, framework.Pod(env.Client, ns, "first"), framework.PodReady()).Spec.NodeName
	described := env.Kubectl(t, "describe", "namespace", s.Namespace)
	for _, line := range []string{"claim-namespace: " + ns, "claim-name: first"} {
		if !strings.Contains(described, admin.driver+"/"+line+"\n") {
			t.Errorf("kubectl describe namespace does not say %q, but\n%s", line, described)
		}
	}
	row := "first " + s.Namespace + " Ready first " + node + " few "
	admin.says(t, []string{row + "<none>", "next <none> Pending next"}, "list")
	dev.says(t, []string{row + "<unknown>", "You do not have permission to list namespaces", "list resourcequotas"}, "list")
	admin.says(t, []string{"few <any> spaces 1 0 1", "many <any> spaces"}, "top")
	names, _ := admin.Space(t, admin.args("list", "-o", "name")...)
	admin.says(t, []string{"Claim: first", "Space: " + s.Namespace, "Claim: next", "Normal Provisioned"}, append([]string{"describe"}, strings.Fields(names)...)...)
	admin.says(t, []string{"Claim: first"}, "describe", "namespace/"+s.Namespace)

	vars := env.Variables(t, ns, "first")
	dev.says(t, []string{"FIRST_NAMESPACE=" + vars["FIRST_NAMESPACE"], "FIRST_KUBECONFIG=" + vars["FIRST_KUBECONFIG"], "FIRST_CLUSTER=" + vars["FIRST_CLUSTER"]}, "env", "first")

	config, _ := admin.Space(t, admin.args("kubeconfig", "first")...)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	env.Kubectl(t, "--kubeconfig", file, "create", "configmap", "made-by-a-user")
	env.Exec(t, ns, "first", "kubectl", "--kubeconfig", s.Kubeconfig, "get", "configmap", "made-by-a-user")
	if out, err := env.TryKubectl(t.Context(), "--kubeconfig", file, "get", "configmaps", "-n", ns); err == nil || !strings.Contains(out, "forbidden") {
		t.Errorf("the kubeconfig works in namespace %s: error %v: %s", ns, err, out)
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
}

// explainsPods asks about pods that the scheduler does not take, and about a claim
// that the driver does not.
func explainsPods(t *testing.T, admin, dev person) {
	t.Helper()
	ns := admin.ns
	createClaimOf(t, ns, "nowhere", "plugin-many", nil)
	createClaimOf(t, ns, "classless", "plugin-none", nil)
	refused := framework.WithParameters(claimOfClass("plugin-many"), `{"apiVersion":"`+spaceapi.APIVersion+`","kind":"SpaceClaimConfig","clusterRoles":["cluster-admin"]}`)
	refused.Name, refused.Spec.Devices.Config[0].Opaque.Driver = "refused", admin.driver
	env.CreateClaim(t, ns, refused)
	for _, pod := range []*corev1.Pod{framework.On("nowhere", framework.NewPod("nowhere", "nowhere")), framework.NewPod("classless", "classless"), framework.NewPod("refused", "refused")} {
		env.StartPod(t, ns, pod)
	}
	for _, pod := range []string{"nowhere", "classless"} {
		framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("Pod", pod, "FailedScheduling", "nodes are available"))
	}
	framework.Await(t, framework.Claim(env.Client, ns, "refused"), framework.NotReadyBecause(spaceapi.ReasonInvalidParameters, "cluster-admin"))

	admin.says(t, []string{"There is no room for ResourceClaim next on the nodes that pod next can run on: of pool few 1 of 1 spaces are in use"}, "why", "pod/next")
	dev.says(t, []string{"pool is full, or has no space for the nodes", "permission to list resourceslices", "You do not have permission to", "list resourceclaims in all namespaces"}, "why", "next")
	for _, p := range []person{admin, dev} {
		p.says(t, []string{"Pod nowhere cannot be scheduled", "didn't match Pod's node affinity/selector"}, "why", "pod/nowhere")
		p.says(t, []string{"names DeviceClass plugin-none, which does not exist"}, "why", "classless")
		p.says(t, []string{"ResourceClaim refused has invalid parameters", `clusterRoles[0]: Invalid value: "cluster-admin"`, "This is final"}, "why", "pod/refused")
		p.says(t, []string{"ResourceClaim first has its space", "it is ready"}, "why", "first")
	}
}

// explainsEnds asks about spaces that have ended.
func explainsEnds(t *testing.T, admin, dev person, held string) {
	t.Helper()
	framework.Await(t, framework.Claim(env.Client, admin.ns, "ends"), framework.NotReadyBecause(spaceapi.ReasonExpired, ""))
	dev.says(t, []string{"reached maxLifetime of its class", "recreate the claim"}, "why", "ends")
	// Only time makes it stuck.
	err := wait.PollUntilContextTimeout(t.Context(), time.Second, framework.Patience, true, func(ctx context.Context) (bool, error) {
		out, _, err := admin.TrySpace(ctx, admin.args("list")...)
		return err == nil && strings.Contains(out, "StuckTerminating"), nil
	})
	if err != nil {
		t.Fatalf("waited until namespace %s counts as stuck: %v", held, err)
	}
	stuck := "Its namespace " + held + " still exists: "
	admin.says(t, []string{"A space of ResourceClaim held is deprovisioned, and its credentials are revoked. " + stuck, "example.com/hold in 1 resource instances"}, "why", "held")
	admin.says(t, []string{stuck}, "why", "namespace/"+held)
	admin.says(t, []string{"Claim: held", "State: StuckTerminating"}, "describe", "held")
	env.Kubectl(t, "patch", "configmap", "holder", "-n", held, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	env.AwaitNamespaceGone(t, held)
	if _, errOut, err := admin.TrySpace(t.Context(), admin.args("why", "held")...); err == nil || !strings.Contains(errOut, "there is neither a ResourceClaim nor a Pod held") {
		t.Errorf("of a claim that is gone with its space: error %v: %s", err, errOut)
	}
}

// explainsTheDriver asks while the plugin, and then the controller too, does not run.
func explainsTheDriver(t *testing.T, admin, dev person) {
	t.Helper()
	ns := admin.ns
	without := func(component, workload, patch string) {
		t.Helper()
		env.Kubectl(t, "patch", "-n", "plugin", workload, "--type=merge", "-p", patch)
		env.Kubectl(t, "wait", "-n", "plugin", "--for=delete", "pod", "-l", "app.kubernetes.io/component="+component, "--timeout="+framework.Patience.String())
	}
	without("kubeletplugin", "daemonset/plugin-space-dra-driver-kubeletplugin", `{"spec":{"template":{"spec":{"nodeSelector":{"no":"where"}}}}}`)
	createClaimOf(t, ns, "unprepared", "plugin-many", nil)
	env.StartPod(t, ns, framework.NewPod("unprepared", "unprepared"))
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("Pod", "unprepared", "FailedPrepareDynamicResources", "is not registered"))
	framework.Await(t, framework.Claim(env.Client, ns, "unprepared"), framework.SpacesReady(1))
	without("controller", "deployment/plugin-space-dra-driver-controller", `{"spec":{"replicas":0}}`)
	createClaimOf(t, ns, "unmade", "plugin-many", nil)
	env.StartPod(t, ns, framework.NewPod("unmade", "unmade"))
	framework.Await(t, framework.Claim(env.Client, ns, "unmade"), allocated())
	for _, p := range []person{admin, dev} {
		p.says(t, []string{"is ready, but the kubelet plugin does not run on node"}, "why", "pod/unprepared")
		p.says(t, []string{"is allocated from pool many, and the controller has not reported anything about its space yet"}, "why", "unmade")
	}
	env.Kubectl(t, "patch", "-n", "plugin", "daemonset/plugin-space-dra-driver-kubeletplugin", "--type=merge", "-p", `{"spec":{"template":{"spec":{"nodeSelector":{"no":null}}}}}`)
	env.Kubectl(t, "scale", "-n", "plugin", "deployment/plugin-space-dra-driver-controller", "--replicas=1")
	space := framework.SpaceStatus(t, framework.Await(t, framework.Claim(env.Client, ns, "unprepared"), framework.SpacesReady(1)), 0).Namespace
	made := framework.SpaceStatus(t, framework.Await(t, framework.Claim(env.Client, ns, "unmade"), framework.SpacesReady(1)), 0).Namespace
	for _, pod := range []string{"unprepared", "unmade", "refused"} {
		env.DeletePod(t, ns, pod)
	}
	env.AwaitNamespaceGone(t, space)
	env.AwaitNamespaceGone(t, made)
}
