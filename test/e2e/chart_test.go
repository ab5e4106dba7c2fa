// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// helmTest runs the chart's own test of a release in a namespace of the same name,
// and checks that it leaves nothing.
func helmTest(t *testing.T, release string) {
	t.Helper()
	out, err := env.Tool(t.Context(), "helm", "test", "--namespace", release, release, "--timeout="+framework.Patience.String())
	if err != nil {
		t.Fatalf("helm test: %v: %s", err, out)
	}
	if !strings.Contains(out, "Succeeded") {
		t.Errorf("helm test tested nothing: %s", out)
	}
	// Helm does not wait for the grace period.
	var left string
	if err := wait.PollUntilContextTimeout(t.Context(), time.Second, framework.Patience, true, func(ctx context.Context) (bool, error) {
		left, err = env.TryKubectl(ctx, "get", "pods,resourceclaimtemplates", "-n", release, "-l", "app.kubernetes.io/component=test", "-o", "name")
		return err == nil && left == "", nil
	}); err != nil {
		t.Errorf("helm test left %s", left)
	}
}

func TestChart_withAllSafeguardsPassesItsTest(t *testing.T) {
	t.Parallel()
	env.InstallAnother(t, "guarded", "driverName=guarded.space.example.com", "controller.replicas=1", "networkPolicy.enabled=true",
		"flowControl.enabled=true", "criticalPodsQuota.enabled=true", "space.podSecurity=restricted", "space.clusterRole=view",
		"commonLabels.team=a", "commonAnnotations.contact=b", "kubeletPlugin.updateStrategy.rollingUpdate.maxSurge=100%")
	helmTest(t, "guarded")
}

func TestChart_refusesASecondReleaseOfADriver(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	chart := filepath.Join(filepath.Dir(cluster.DefaultConfig().BuildDir), "deployments/helm/space-dra-driver")
	out, err := env.Tool(t.Context(), "helm", "install", "--namespace", ns, "second", chart)
	want := "driverName: space.resource.example.com is already the driver of release space-dra-driver in namespace space-dra-driver"
	if err == nil || !strings.Contains(out, want) {
		t.Errorf("error %v, output %s, want %s", err, out, want)
	}
}

func TestController_meetsTheRestrictedStandard(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	patch := []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`)
	if _, err := env.Client.CoreV1().Namespaces().Patch(t.Context(), ns, "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{framework.ControllerName, framework.PluginName} {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := env.Client.CoreV1().ServiceAccounts(ns).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	dryRun := func(ctx context.Context, template corev1.PodTemplateSpec) error {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod", Labels: template.Labels}, Spec: template.Spec}
		_, err := env.Client.CoreV1().Pods(ns).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	daemonSet, err := env.Client.AppsV1().DaemonSets(framework.DriverNamespace).Get(t.Context(), framework.PluginName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// The plugin needs directories of the host, so that the API server denies its pod as soon
	// as it knows the label of the namespace.
	framework.AwaitDenied(t, "the plugin's pod", func(ctx context.Context) error { return dryRun(ctx, daemonSet.Spec.Template) }, "hostPath")
	deployment, err := env.Client.AppsV1().Deployments(framework.DriverNamespace).Get(t.Context(), framework.ControllerName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := dryRun(t.Context(), deployment.Spec.Template); err != nil {
		t.Errorf("the controller's pod is not restricted: %v", err)
	}
}

// The driver keeps no state in the release.
func TestReinstall_continuesAsAnotherRelease(t *testing.T) {
	t.Parallel()
	const driver = "removed.space.example.com"
	values := []string{"driverName=" + driver, "controller.replicas=1"}
	env.InstallAnother(t, "removed", values...)
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, claimOfClass(driver))
	env.CreatePod(t, ns, framework.NewPod("pod", "claim"))
	s := usableSpace(t, ns, "pod", "claim")

	if out, err := env.Tool(t.Context(), "helm", "uninstall", "--wait", "--namespace", "removed", "removed"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.Kubectl(t, ns, "pod", "get", "configmaps")
	if err := env.Client.CoreV1().Pods(ns).Delete(t.Context(), "pod", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}

	env.InstallAnother(t, "again", values...)
	framework.AwaitGone[*corev1.Pod](t, framework.Pod(env.Client, ns, "pod"))
	env.AwaitNamespaceGone(t, s.Namespace)
}
