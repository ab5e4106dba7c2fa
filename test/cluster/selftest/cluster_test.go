// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package selftest tests the cluster itself. It needs root, and takes minutes.
package selftest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/space-dra/space-dra-driver/test/cluster"
)

// name must not be part of other paths or command lines, because the test finds the remains of the
// cluster by its name.
const name = "self-test-cluster"

const (
	toolbox      = cluster.ImageRepository + "/toolbox:" + cluster.DefaultTag
	patience     = 5 * time.Minute
	pollInterval = 200 * time.Millisecond
)

// TestCluster_worksAndLeavesNothing tests the lifecycle of a cluster with one node. The steps depend on
// each other.
func TestCluster_worksAndLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("a cluster of Linux namespaces needs root: run the test with sudo -E env PATH=$PATH")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 18*time.Minute)
	defer cancel()
	cfg := cluster.DefaultConfig()
	cfg.Name, cfg.Nodes, cfg.Log = name, 1, t.Logf
	if err := cluster.Delete(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	before := traces(t)

	c, err := cluster.Create(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Delete(context.WithoutCancel(ctx), cfg); err != nil {
			t.Error(err)
		}
	})
	s := newSuite(ctx, t, cfg, c)
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"a pod reaches the API server", s.podReachesAPIServer},
		{"a killed API server starts again", s.restartAPIServer},
		{"a disconnected node is noticed", s.disconnect},
		{"wiping /run restarts pods", func(t *testing.T) { s.restarts(t, "wiped", s.node.WipeRun) }},
		{"a node reboots", func(t *testing.T) { s.restarts(t, "rebooted", s.node.Reboot) }},
		{"the control plane reboots", s.rebootControlPlane},
		{"creating again starts what is not running", s.createAgain},
	} {
		if !t.Run(step.name, step.run) {
			s.logs(t)
			t.FailNow()
		}
	}

	if err := c.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	for _, trace := range traces(t) {
		if !slices.Contains(before, trace) {
			t.Errorf("remains after delete: %s", trace)
		}
	}
	if _, err := cluster.Open(cfg); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("opening a deleted cluster: got %v, want ErrNotFound", err)
	}
	if err := c.Delete(ctx); err != nil {
		t.Errorf("deleting again: %v", err)
	}
}

// suite contains the state of all steps.
type suite struct {
	ctx     context.Context
	config  cluster.Config
	cluster *cluster.Cluster
	node    *cluster.Host
	clients kubernetes.Interface
}

func newSuite(ctx context.Context, t *testing.T, cfg cluster.Config, c *cluster.Cluster) *suite {
	t.Helper()
	config, err := c.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	archives, err := cluster.BuildImages(ctx, cfg, t.TempDir(), cluster.DefaultTag, "toolbox")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.LoadImages(ctx, archives...); err != nil {
		t.Fatal(err)
	}
	return &suite{ctx: ctx, config: cfg, cluster: c, node: c.Nodes()[0], clients: clients}
}

// logs prints the end of each log.
func (s *suite) logs(t *testing.T) {
	t.Helper()
	for _, h := range s.cluster.Hosts() {
		files, _ := filepath.Glob(filepath.Join(filepath.Dir(h.LogFile("x")), "*.log"))
		for _, f := range files {
			data, _ := os.ReadFile(f)
			t.Logf("%s:\n%s", f, data[max(0, len(data)-3000):])
		}
	}
}

func (s *suite) podReachesAPIServer(t *testing.T) {
	out := s.runToCompletion(t, "client", "kubectl auth whoami -o jsonpath={.status.userInfo.username} && printenv KUBERNETES_SERVICE_HOST")
	if want := "system:serviceaccount:default:default10.96.0.1\n"; out != want {
		t.Errorf("pod printed %q, want %q", out, want)
	}
}

func (s *suite) restartAPIServer(t *testing.T) {
	must(t, s.cluster.ControlPlane().Kill(s.ctx, "kube-apiserver"))
	if _, err := s.clients.Discovery().ServerVersion(); err == nil {
		t.Error("the API server responds after it was killed")
	}
	must(t, s.cluster.ControlPlane().Start(s.ctx, "kube-apiserver"))
	s.runToCompletion(t, "after-apiserver", "true")
}

func (s *suite) disconnect(t *testing.T) {
	must(t, s.node.Disconnect(s.ctx))
	ping := func() error {
		return s.node.Command(s.ctx, "busybox", "ping", "-c1", "-W1", s.cluster.ControlPlane().Address()).Run()
	}
	if ping() == nil {
		t.Error("a disconnected node reaches the control plane")
	}
	must(t, s.node.Connect(s.ctx))
	// The kernel retries to resolve neighbors after a delay.
	err := wait.PollUntilContextTimeout(s.ctx, pollInterval, patience, true, func(context.Context) (bool, error) {
		return ping() == nil, nil
	})
	if err != nil {
		t.Errorf("a connected node does not reach the control plane: %v", err)
	}
}

// restarts checks that an action empties /run and keeps /var, and that pods restart after it.
func (s *suite) restarts(t *testing.T, pod string, action func(context.Context) error) {
	t.Helper()
	s.createPod(t, pod, "exec sleep 100000", corev1.RestartPolicyAlways)
	before := s.waitPod(t, pod, "run", running)
	must(t, s.node.Command(s.ctx, "touch", "/run/marker", "/var/marker").Run())
	must(t, action(s.ctx))
	if s.node.Command(s.ctx, "test", "-e", "/run/marker").Run() == nil {
		t.Error("/run is not empty")
	}
	if err := s.node.Command(s.ctx, "test", "-e", "/var/marker").Run(); err != nil {
		t.Errorf("/var has changed: %v", err)
	}
	old := before.Status.ContainerStatuses[0].ContainerID
	s.waitPod(t, pod, "run in a new container", func(p *corev1.Pod) bool {
		return running(p) && p.Status.ContainerStatuses[0].ContainerID != old
	})
	s.runToCompletion(t, "after-"+pod, "kubectl auth whoami")
}

func (s *suite) rebootControlPlane(t *testing.T) {
	must(t, s.cluster.ControlPlane().Reboot(s.ctx))
	s.runToCompletion(t, "after-control-plane", "kubectl auth whoami")
}

func (s *suite) createAgain(t *testing.T) {
	must(t, s.node.Kill(s.ctx, "containerd"))
	again, err := cluster.Create(s.ctx, s.config)
	must(t, err)
	states, err := again.Nodes()[0].Processes()
	must(t, err)
	for _, state := range states {
		if !state.Running {
			t.Errorf("%s is not running", state.Name)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func running(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodRunning && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].Ready
}

// runToCompletion runs a script in a pod until it succeeds, and returns its output. On a busy machine,
// requests time out.
func (s *suite) runToCompletion(t *testing.T, name, script string) string {
	t.Helper()
	s.createPod(t, name, script, corev1.RestartPolicyOnFailure)
	p := s.waitPod(t, name, "succeed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	out, err := s.clients.CoreV1().Pods(p.Namespace).GetLogs(name, &corev1.PodLogOptions{}).DoRaw(s.ctx)
	if err != nil {
		t.Fatalf("pod %s: %v", name, err)
	}
	return string(out)
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

// waitPod waits for a condition. If it is not met, the test ends with the pod's last state.
func (s *suite) waitPod(t *testing.T, name, what string, condition func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	last := "it was not found"
	err := wait.PollUntilContextTimeout(s.ctx, pollInterval, patience, true, func(ctx context.Context) (bool, error) {
		p, err := s.clients.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			last = err.Error()
			return false, nil // the API server may be starting
		}
		pod, last = p, fmt.Sprintf("phase %s, containers %+v", p.Status.Phase, p.Status.ContainerStatuses)
		return condition(p), nil
	})
	if err != nil {
		t.Fatalf("waiting for pod %s to %s: %v: %s", name, what, err, last)
	}
	return pod
}
