// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestChart_withAllRestrictionsPassesHelmTest(t *testing.T) {
	t.Parallel()
	const release = "restricted"
	env.InstallAnotherRelease(t, release, "driverName=restricted.space.example.com", "controller.replicas=1", "networkPolicy.enabled=true",
		"flowControl.enabled=true", "criticalPodsQuota.enabled=true", "space.podSecurity=restricted", "space.clusterRole=view",
		"commonLabels.team=a", "commonAnnotations.contact=b", "kubeletPlugin.updateStrategy.rollingUpdate.maxSurge=100%")
	if out := env.Helm(t, "test", "--namespace", release, release, "--timeout="+framework.Timeout.String()); !strings.Contains(out, "Succeeded") {
		t.Errorf("helm test ran no test: %s", out)
	}
	// Helm does not wait until the pod has terminated.
	framework.Eventually(t, "the objects of helm test to be deleted", func(ctx context.Context) error {
		remaining, err := env.TryKubectl(ctx, "get", "pods,resourceclaimtemplates", "-n", release, "-l", "app.kubernetes.io/component=test", "-o", "name")
		if err == nil && remaining != "" {
			err = errors.New(remaining)
		}
		return err
	})
}

func TestChart_rejectsASecondReleaseOfADriver(t *testing.T) {
	t.Parallel()
	out, err := env.Tool(t.Context(), "helm", "install", "--namespace", env.Namespace(t), "second", framework.Chart())
	want := "space.resource.example.com is already the driver of release space-dra-driver in namespace space-dra-driver"
	if err == nil || !strings.Contains(out, want) {
		t.Errorf("error %v, output %s, want %s", err, out, want)
	}
}

func TestController_meetsTheRestrictedStandard(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.Kubectl(t, "label", "namespace", ns, "pod-security.kubernetes.io/enforce=restricted")
	for _, account := range []string{framework.ControllerName, framework.PluginName} {
		env.Kubectl(t, "create", "serviceaccount", account, "-n", ns)
	}
	daemonSet, err := env.Client.AppsV1().DaemonSets(framework.DriverNamespace).Get(t.Context(), framework.PluginName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	deployment, err := env.Client.AppsV1().Deployments(framework.DriverNamespace).Get(t.Context(), framework.ControllerName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dryRun := func(template corev1.PodTemplateSpec) framework.Request {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod", Labels: template.Labels}, Spec: template.Spec}
		return func(ctx context.Context) error {
			_, err := env.Client.CoreV1().Pods(ns).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		}
	}
	// The kubelet plugin needs directories of the host: when the API server denies its pod, the label of
	// the namespace is in effect.
	framework.AwaitDenied(t, "the kubelet plugin's pod", dryRun(daemonSet.Spec.Template), "hostPath")
	if err := dryRun(deployment.Spec.Template)(t.Context()); err != nil {
		t.Errorf("the controller's pod is not restricted: %v", err)
	}
}

// TestReinstall_continuesAsAnotherRelease installs another release for the claims and spaces of a
// removed one.
func TestReinstall_continuesAsAnotherRelease(t *testing.T) {
	t.Parallel()
	const driver = "removed.space.example.com"
	values := []string{"driverName=" + driver, "controller.replicas=1"}
	env.InstallAnotherRelease(t, "removed", values...)
	ns := env.Namespace(t)
	s := env.Use(t, ns, claimOf("claim", driver), framework.NewPod("pod", "claim"))
	s.CheckUsable(t, ns, "pod")

	env.Helm(t, "uninstall", "--no-hooks", "--wait", "--namespace", "removed", "removed")
	s.Kubectl(t, ns, "pod", "get", "configmaps")
	env.Kubectl(t, "delete", "pod", "pod", "-n", ns, "--wait=false")

	env.InstallAnotherRelease(t, "again", values...)
	framework.AwaitDeleted[*corev1.Pod](t, framework.Pod(env.Client, ns, "pod"))
	env.AwaitNamespaceDeleted(t, s.Namespace)
}
