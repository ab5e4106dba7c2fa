// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// With the default strategy, a new pod waits for the old one, which waits for the new one. The
// example rollout shows strategies that work.
func TestRollout_thatWaitsForItselfIsExplained(t *testing.T) {
	t.Parallel()
	const hint = "strategy Recreate, or RollingUpdate with maxSurge 0"
	t.Run("an exclusive claim", func(t *testing.T) {
		t.Parallel()
		ns := env.Namespace(t)
		env.CreateClaim(t, ns, framework.WithParameters(framework.NewClaim("claim"), framework.ConfigJSON(spaceapi.SpaceClaimConfigKind, `"exclusive":true`)))
		first, next := rollOut(t, ns, framework.NewPod("", "claim"))
		person{env.Administrator(), spaceapi.DefaultDriverName, ns}.says(t, []string{"in use by pod " + first, hint}, "why", "pod/"+next)
	})
	t.Run("a full pool", func(t *testing.T) {
		t.Parallel()
		const driver = "rollout.space.example.com"
		env.InstallAnother(t, "rollout", "driverName="+driver, "controller.replicas=1", "pools[0].name=one", "pools[0].limit=1")
		ns := env.Namespace(t)
		template := framework.NewTemplate("template")
		template.Spec.Spec.Devices.Requests[0].Exactly.DeviceClassName = driver
		if _, err := env.Client.ResourceV1().ResourceClaimTemplates(ns).Create(t.Context(), template, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		first, next := rollOut(t, ns, framework.NewPodFromTemplate("", "template"))
		person{env.Administrator(), driver, ns}.says(t, []string{"of pool one 1 of 1 spaces are in use", "In use by pod " + ns + "/" + first, hint}, "why", "pod/"+next)
		// The driver is uninstalled after this test.
		env.Kubectl(t, "delete", "deployment", "app", "-n", ns)
		framework.AwaitGone[*corev1.Pod](t, framework.Pod(env.Client, ns, first))
	})
}

// rollOut runs a Deployment with one replica of a pod, and rolls it out again. It returns the names
// of its first pod, and of the next one, which waits for a node.
func rollOut(t *testing.T, ns string, pod *corev1.Pod) (first, next string) {
	t.Helper()
	labels := map[string]string{"app": "app"}
	app := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "app"}, Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod.Spec},
	}}
	if _, err := env.Client.AppsV1().Deployments(ns).Create(t.Context(), app, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pods := env.Client.CoreV1().RESTClient()
	first = framework.AwaitAny(t, pods, "pods", ns, framework.PodReady()).Name
	env.Kubectl(t, "rollout", "restart", "deployment/app", "-n", ns)
	return first, framework.AwaitAny(t, pods, "pods", ns, framework.That("waiting for a node", func(p *corev1.Pod) bool {
		return p.Name != first && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse
		})
	})).Name
}
