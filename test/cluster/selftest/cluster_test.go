// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	cluster "github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/cluster/network"
)

// name must not be part of any path or command line that isn't the cluster's, because
// leftovers are found by it.
const name = "come-and-go"

// TestCluster goes through the life of a cluster with one node. The steps build
// on each other.
func TestCluster(t *testing.T) {
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
	linksBefore, placesBefore := links(t), usualPlaces(t)

	c, err := cluster.Create(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Delete(context.WithoutCancel(ctx), cfg); err != nil {
			t.Error(err)
		}
	})
	s := newSuite(ctx, t, c)

	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"a pod reaches the API server", s.podReachesAPIServer},
		{"a kubelet that was stopped comes back", s.kubeletComesBack},
		{"an API server that was killed comes back", s.apiServerComesBack},
		{"a signal reaches a process", s.signal},
		{"a disconnected node is noticed", s.disconnect},
		{"wiping /run restarts pods", s.wipeRun},
		{"a node reboots", s.rebootNode},
		{"the control plane reboots", s.rebootControlPlane},
		{"creating again keeps the cluster and starts what died", s.createAgain},
		{"other settings are refused", s.otherSettings},
	} {
		if !t.Run(step.name, step.run) {
			s.logs(t)
			t.FailNow()
		}
	}

	start := time.Now()
	if err := c.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("deleted in %s", time.Since(start).Round(time.Millisecond))
	for _, left := range leftovers(t, name) {
		t.Errorf("left after delete: %s", left)
	}
	for link := range links(t) {
		// Other clusters may come meanwhile.
		if !linksBefore[link] && (link == network.MachineInterface(name) || !strings.HasPrefix(link, network.MachinePrefix)) {
			t.Errorf("left after delete: interface %s", link)
		}
	}
	for place := range usualPlaces(t) {
		if !placesBefore[place] {
			t.Errorf("left after delete: %s", place)
		}
	}
	if _, err := cluster.Open(ctx, cfg); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("opening a deleted cluster: got %v, want ErrNotFound", err)
	}
	if err := c.Delete(ctx); err != nil {
		t.Errorf("deleting again: %v", err)
	}
}

// suite is what the steps share.
type suite struct {
	ctx     context.Context
	cluster *cluster.Cluster
	node    *cluster.Host
	clients kubernetes.Interface
}

func newSuite(ctx context.Context, t *testing.T, c *cluster.Cluster) *suite {
	t.Helper()
	config, err := c.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	cfg := cluster.DefaultConfig()
	cfg.Log = t.Logf
	archives, err := cluster.BuildImages(ctx, cfg, t.TempDir(), cluster.DefaultTag, "toolbox")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.LoadImages(ctx, archives...); err != nil {
		t.Fatal(err)
	}
	return &suite{ctx: ctx, cluster: c, node: c.Nodes()[0], clients: clients}
}

// logs shows the end of every log.
func (s *suite) logs(t *testing.T) {
	t.Helper()
	for _, h := range append(s.cluster.Nodes(), s.cluster.ControlPlane()) {
		files, _ := filepath.Glob(filepath.Join(filepath.Dir(h.LogFile("x")), "*.log"))
		for _, f := range files {
			data, _ := os.ReadFile(f)
			t.Logf("%s:\n%s", f, data[max(0, len(data)-3000):])
		}
	}
}

func (s *suite) podReachesAPIServer(t *testing.T) {
	s.runToCompletion(t, "client", "kubectl auth whoami -o jsonpath={.status.userInfo.username} && printenv KUBERNETES_SERVICE_HOST")
	out, err := s.clients.CoreV1().Pods("default").GetLogs("client", &corev1.PodLogOptions{}).DoRaw(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want := "system:serviceaccount:default:default10.96.0.1\n"; string(out) != want {
		t.Errorf("pod printed %q, want %q", out, want)
	}
}

func (s *suite) kubeletComesBack(t *testing.T) {
	s.do(t, s.node.Stop(s.ctx, "kubelet"))
	if out, err := s.node.Command(s.ctx, "pidof", "kubelet").Output(); err == nil {
		t.Errorf("kubelet still runs as process %s", out)
	}
	s.do(t, s.node.Start(s.ctx, "kubelet"))
	s.runToCompletion(t, "after-kubelet", "true")
}

func (s *suite) apiServerComesBack(t *testing.T) {
	s.do(t, s.cluster.ControlPlane().Kill(s.ctx, "kube-apiserver"))
	if _, err := s.clients.Discovery().ServerVersion(); err == nil {
		t.Error("the API server answers after it was killed")
	}
	s.do(t, s.cluster.ControlPlane().Start(s.ctx, "kube-apiserver"))
	s.runToCompletion(t, "after-apiserver", "true")
}

func (s *suite) signal(t *testing.T) {
	scheduler := "kube-scheduler"
	s.do(t, s.cluster.ControlPlane().Signal(s.ctx, scheduler, syscall.SIGSTOP))
	s.createPod(t, "unscheduled", "true", corev1.RestartPolicyNever)
	if p := s.waitPod(t, "unscheduled", "to be there", func(*corev1.Pod) bool { return true }); p.Spec.NodeName != "" {
		t.Error("a stopped scheduler scheduled a pod")
	}
	s.do(t, s.cluster.ControlPlane().Signal(s.ctx, scheduler, syscall.SIGCONT))
	s.succeeds(t, "unscheduled")
}

func (s *suite) disconnect(t *testing.T) {
	s.do(t, s.node.Disconnect(s.ctx))
	ping := func() error {
		return s.node.Command(s.ctx, "busybox", "ping", "-c1", "-W1", s.cluster.ControlPlane().Address()).Run()
	}
	if ping() == nil {
		t.Error("a disconnected node reaches the control plane")
	}
	s.do(t, s.node.Connect(s.ctx))
	// Neighbours that didn't answer are asked again only after a while.
	err := wait.PollUntilContextTimeout(s.ctx, pollInterval, podTimeout, true, func(context.Context) (bool, error) {
		return ping() == nil, nil
	})
	if err != nil {
		t.Errorf("a connected node doesn't reach the control plane: %v", err)
	}
}

func (s *suite) wipeRun(t *testing.T) {
	s.restarts(t, "wiped", func() { s.do(t, s.node.WipeRun(s.ctx)) })
}

func (s *suite) rebootNode(t *testing.T) {
	s.restarts(t, "rebooted", func() { s.do(t, s.node.Reboot(s.ctx)) })
}

func (s *suite) rebootControlPlane(t *testing.T) {
	s.do(t, s.cluster.ControlPlane().Reboot(s.ctx))
	s.runToCompletion(t, "after-control-plane", "kubectl auth whoami")
}

func (s *suite) createAgain(t *testing.T) {
	s.do(t, s.node.Kill(s.ctx, "containerd"))
	cfg := cluster.DefaultConfig()
	cfg.Name, cfg.Nodes, cfg.Log = name, 1, t.Logf
	again, err := cluster.Create(s.ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	states, err := again.Nodes()[0].Processes(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range states {
		if !state.Running {
			t.Errorf("%s: %s", state.Name, state.State)
		}
	}
}

func (s *suite) otherSettings(t *testing.T) {
	cfg := cluster.DefaultConfig()
	cfg.Name, cfg.Nodes = name, 2
	if _, err := cluster.Create(s.ctx, cfg); err == nil || !strings.Contains(err.Error(), "delete it first") {
		t.Errorf("creating it with more nodes: got %v", err)
	}
}
