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

// TestRollout_deadlockIsExplained uses the default strategy: the new pod waits for the old one, and the
// Deployment deletes the old pod only when the new one is ready. The example rollout shows strategies
// that work.
func TestRollout_deadlockIsExplained(t *testing.T) {
	t.Parallel()
	const hint = "strategy Recreate, or RollingUpdate with maxSurge 0"
	t.Run("an exclusive claim", func(t *testing.T) {
		t.Parallel()
		ns := env.Namespace(t)
		env.CreateClaim(t, ns, framework.WithParameters(framework.NewClaim("claim"), framework.ConfigJSON(spaceapi.SpaceClaimConfigKind, `"exclusive":true`)))
		first, next := createRollout(t, ns, framework.NewPod("", "claim"))
		user{env.Admin(), spaceapi.DefaultDriverName, ns}.awaitOutput(t, []string{"in use by pod " + first, hint}, "why", "pod/"+next)
	})
	t.Run("a full pool", func(t *testing.T) {
		t.Parallel()
		const driver = "rollout.space.example.com"
		env.InstallAnotherRelease(t, "rollout", "driverName="+driver, "controller.replicas=1", "pools[0].name=one", "pools[0].limit=1")
		ns := env.Namespace(t)
		template := framework.NewTemplate("template")
		template.Spec.Spec.Devices.Requests[0].Exactly.DeviceClassName = driver
		if _, err := env.Client.ResourceV1().ResourceClaimTemplates(ns).Create(t.Context(), template, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		first, next := createRollout(t, ns, framework.NewPodFromTemplate("", "template"))
		user{env.Admin(), driver, ns}.awaitOutput(t, []string{"1 of 1 spaces of pool one are in use", "In use by pod " + ns + "/" + first, hint}, "why", "pod/"+next)
		// The driver must run until the claim is unprepared.
		env.Kubectl(t, "delete", "deployment", "app", "-n", ns)
		framework.AwaitDeleted[*corev1.Pod](t, framework.Pod(env.Client, ns, first))
	})
}

// createRollout creates a Deployment with one replica of a pod, and restarts it. It returns the names
// of the first pod, and of the next one, which waits for a node.
func createRollout(t *testing.T, ns string, pod *corev1.Pod) (first, next string) {
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
