// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	cluster "github.com/space-dra/space-dra-driver/test/cluster"
)

const (
	toolbox      = cluster.ImageRepository + "/toolbox:" + cluster.DefaultTag
	podTimeout   = 2 * time.Minute
	pollInterval = 200 * time.Millisecond
)

func (s *suite) do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// restarts checks that an action empties /run, keeps /var, and that pods come
// back after it.
func (s *suite) restarts(t *testing.T, pod string, action func()) {
	t.Helper()
	s.createPod(t, pod, "exec sleep 100000", corev1.RestartPolicyAlways)
	before := s.waitPod(t, pod, "to run", running)
	s.do(t, s.node.Command(s.ctx, "touch", "/run/marker", "/var/marker").Run())
	start := time.Now()
	action()
	t.Logf("it took %s", time.Since(start).Round(time.Millisecond))
	if s.node.Command(s.ctx, "test", "-e", "/run/marker").Run() == nil {
		t.Error("/run isn't empty")
	}
	if err := s.node.Command(s.ctx, "test", "-e", "/var/marker").Run(); err != nil {
		t.Errorf("/var isn't as it was: %v", err)
	}
	old := before.Status.ContainerStatuses[0].ContainerID
	s.waitPod(t, pod, "to run in a new container", func(p *corev1.Pod) bool {
		return running(p) && p.Status.ContainerStatuses[0].ContainerID != old
	})
	s.runToCompletion(t, "after-"+pod, "kubectl auth whoami")
}

func running(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodRunning && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].Ready
}

func (s *suite) runToCompletion(t *testing.T, name, script string) {
	t.Helper()
	s.createPod(t, name, script, corev1.RestartPolicyNever)
	s.succeeds(t, name)
}

func (s *suite) succeeds(t *testing.T, name string) {
	t.Helper()
	p := s.waitPod(t, name, "to end", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
	if p.Status.Phase != corev1.PodSucceeded {
		out, err := s.clients.CoreV1().Pods(p.Namespace).GetLogs(name, &corev1.PodLogOptions{}).DoRaw(s.ctx)
		t.Fatalf("pod %s failed: %s %v", name, out, err)
	}
}

func (s *suite) createPod(t *testing.T, name, script string, restart corev1.RestartPolicy) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			RestartPolicy:                 restart,
			TerminationGracePeriodSeconds: new(int64),
			Containers: []corev1.Container{{
				Name: "main", Image: toolbox, ImagePullPolicy: corev1.PullNever, Command: []string{"sh", "-c", script},
			}},
		},
	}
	if _, err := s.clients.CoreV1().Pods(metav1.NamespaceDefault).Create(s.ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatalf("creating pod %s: %v", name, err)
	}
}

// waitPod waits for a condition; when it isn't met, it says what was.
func (s *suite) waitPod(t *testing.T, name, what string, condition func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	start := time.Now()
	var pod *corev1.Pod
	last := "it was never seen"
	err := wait.PollUntilContextTimeout(s.ctx, pollInterval, podTimeout, true, func(ctx context.Context) (bool, error) {
		p, err := s.clients.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			last = err.Error()
			return false, nil // the API server may be starting
		}
		pod, last = p, fmt.Sprintf("phase %s, containers %+v", p.Status.Phase, p.Status.ContainerStatuses)
		return condition(p), nil
	})
	if err != nil {
		t.Fatalf("waiting for pod %s %s: %v: %s", name, what, err, last)
	}
	t.Logf("pod %s: waited %s for it %s", name, time.Since(start).Round(time.Millisecond), what)
	return pod
}
