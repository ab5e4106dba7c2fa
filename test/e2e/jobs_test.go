// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// createJob creates a Job `job`. Each of its pods has its own space, and runs the script.
func createJob(t *testing.T, ns string, retries int32, script string) {
	t.Helper()
	env.CreateTemplate(t, ns, "my-space")
	pod := framework.WithScript(script, framework.NewPodFromTemplate("", "my-space"))
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "job"},
		Spec:       batchv1.JobSpec{BackoffLimit: ptr.To(retries), Template: corev1.PodTemplateSpec{Spec: pod.Spec}},
	}
	if _, err := env.Client.BatchV1().Jobs(ns).Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
		t.Fatalf("create the Job: %v", err)
	}
}

// awaitJobPod waits for a pod that matches, and is none of the others.
func awaitJobPod(t *testing.T, ns string, p framework.Predicate[*corev1.Pod], others ...string) *corev1.Pod {
	t.Helper()
	return framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "pods", ns, p.And(framework.That("another pod", func(p *corev1.Pod) bool {
		return !slices.Contains(others, p.Name)
	})))
}

func TestJob_hasANewSpaceForEachRetry(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	createJob(t, ns, 1, framework.RetryTimeouts("kubectl --kubeconfig=/etc/my-space/kubeconfig create configmap result")+"cat /etc/my-space/namespace && exit 1")
	failed := framework.That("failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	first := awaitJobPod(t, ns, failed)
	second := awaitJobPod(t, ns, failed, first.Name)
	// Each pod has printed the name of its space.
	spaces := sets.New(env.Kubectl(t, "logs", "-n", ns, first.Name), env.Kubectl(t, "logs", "-n", ns, second.Name))
	for name := range spaces {
		if len(spaces) != 2 || !strings.HasPrefix(name, "ephemeral-ns-") {
			t.Fatalf("the pods print %q, want the names of two spaces", spaces)
		}
		env.AwaitNamespaceDeleted(t, name)
	}
}

func TestJob_hasANewSpaceAfterASuspension(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	createJob(t, ns, 0, "exec sleep infinity")
	first := awaitJobPod(t, ns, framework.PodReady())
	before := env.SpaceOf(t, ns, first.Name, "my-space")

	env.Kubectl(t, "patch", "job", "job", "-n", ns, "--type=merge", "-p", `{"spec":{"suspend":true}}`)
	framework.AwaitDeleted[*corev1.Pod](t, framework.Pod(env.Client, ns, first.Name))
	env.AwaitNamespaceDeleted(t, before.Namespace)
	env.CheckNoFilesOf(t, before.Claim)

	env.Kubectl(t, "patch", "job", "job", "-n", ns, "--type=merge", "-p", `{"spec":{"suspend":false}}`)
	second := awaitJobPod(t, ns, framework.PodReady(), first.Name)
	after := env.SpaceOf(t, ns, second.Name, "my-space")
	if after.Namespace == before.Namespace {
		t.Errorf("the Job has the namespace %s again", after.Namespace)
	}
	after.CheckUsable(t, ns, second.Name)
}
