// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/kubernetes"

	"github.com/space-dra/space-dra-driver/test/cluster"
)

// Env is a cluster for tests.
type Env struct {
	Cluster *cluster.Cluster
	Client  kubernetes.Interface
	// version is the version of Kubernetes.
	version *version.Version
}

// NewEnv connects to a cluster.
func NewEnv(c *cluster.Cluster) (*Env, error) {
	config, err := c.RESTConfig()
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("create a client for the cluster: %w", err)
	}
	info, err := client.Discovery().ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("read the version of Kubernetes: %w", err)
	}
	parsed, err := version.ParseSemantic(info.GitVersion)
	if err != nil {
		return nil, fmt.Errorf("read the version of Kubernetes: %w", err)
	}
	return &Env{Cluster: c, Client: client, version: parsed}, nil
}

// Namespace creates a namespace for one test, and deletes it afterwards. If the test fails, it logs the
// objects and events of the namespace.
func (e *Env) Namespace(t testing.TB) string {
	t.Helper()
	ns, err := e.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create a namespace for the test: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Timeout)
		defer cancel()
		if t.Failed() {
			e.Diagnose(ctx, t, ns.Name)
		}
		if err := e.Client.CoreV1().Namespaces().Delete(ctx, ns.Name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete the test's namespace: %v", err)
		}
	})
	// Kubernetes creates it after the namespace, and rejects pods until then.
	Await(t, ServiceAccount(e.Client, ns.Name, "default"), That("created", func(*corev1.ServiceAccount) bool { return true }))
	return ns.Name
}

// Diagnose logs pods, claims and events of a namespace, and the logs of the driver.
func (e *Env) Diagnose(ctx context.Context, t testing.TB, namespace string) {
	const enough = 1 << 20 // objects can be large
	for _, args := range [][]string{
		{"get", "pods,resourceclaims", "-n", namespace, "-o", "wide"},
		{"get", "events", "-n", namespace, "--sort-by=.lastTimestamp"},
		{"get", "resourceclaims", "-n", namespace, "-o", "yaml"},
		{"logs", "-n", DriverNamespace, "-l", "app.kubernetes.io/name=space-dra-driver", "--prefix", "--tail=60"},
	} {
		out, err := e.TryKubectl(ctx, args...)
		t.Logf("kubectl %s (error: %v)\n%s", strings.Join(args, " "), err, out[:min(len(out), enough)])
	}
}

// Kubectl runs kubectl as the cluster's administrator, and returns its output.
func (e *Env) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := e.TryKubectl(t.Context(), args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// TryKubectl is Kubectl for commands that may fail. It repeats a command that could not connect, which
// can happen on a busy machine. This includes kubectl in a pod.
func (e *Env) TryKubectl(ctx context.Context, args ...string) (out string, err error) {
	const attempts = 5
	for range attempts {
		if out, err = e.Tool(ctx, "kubectl", args...); err == nil || ctx.Err() != nil || !strings.Contains(out, "TLS handshake timeout") {
			break
		}
	}
	return out, err
}

// Tool runs a command line tool as the cluster's administrator. It returns the standard output, and on
// failure also the standard error.
func (e *Env) Tool(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, e.Cluster.Binary(name), args...)
	cmd.Env = append(cmd.Environ(), "KUBECONFIG="+e.Cluster.Kubeconfig())
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String() + stderr.String(), err
	}
	return stdout.String(), nil
}

// Exec runs a command in the container of a pod. "pod/container" names one of several.
func (e *Env) Exec(t testing.TB, namespace, pod string, command ...string) string {
	t.Helper()
	return e.Kubectl(t, execArgs(namespace, pod, command)...)
}

// TryExec is Exec for commands that may fail.
func (e *Env) TryExec(ctx context.Context, namespace, pod string, command ...string) (string, error) {
	return e.TryKubectl(ctx, execArgs(namespace, pod, command)...)
}

func execArgs(namespace, pod string, command []string) []string {
	pod, container, named := strings.Cut(pod, "/")
	args := []string{"exec", "-n", namespace, pod}
	if named {
		args = append(args, "-c", container)
	}
	return append(append(args, "--"), command...)
}

// Variables returns the environment of a container in a pod.
func (e *Env) Variables(t testing.TB, namespace, pod string) map[string]string {
	t.Helper()
	vars := map[string]string{}
	for line := range strings.Lines(e.Exec(t, namespace, pod, "printenv")) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "="); ok {
			vars[name] = value
		}
	}
	return vars
}

// StartPod creates a pod, and does not wait for it.
func (e *Env) StartPod(t testing.TB, namespace string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	created, err := e.Client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create pod %s: %v", pod.Name, err)
	}
	return created
}

// CreatePod creates a pod, and waits until it is ready.
func (e *Env) CreatePod(t testing.TB, namespace string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	e.StartPod(t, namespace, pod)
	return Await(t, Pod(e.Client, namespace, pod.Name), PodReady())
}

// CreateClaim creates a claim.
func (e *Env) CreateClaim(t testing.TB, namespace string, claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
	t.Helper()
	created, err := e.Client.ResourceV1().ResourceClaims(namespace).Create(t.Context(), claim, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create ResourceClaim %s: %v", claim.Name, err)
	}
	return created
}

// CreateTemplate creates a template for claims with one space.
func (e *Env) CreateTemplate(t testing.TB, namespace, name string) {
	t.Helper()
	if _, err := e.Client.ResourceV1().ResourceClaimTemplates(namespace).Create(t.Context(), NewTemplate(name), metav1.CreateOptions{}); err != nil {
		t.Fatalf("create ResourceClaimTemplate %s: %v", name, err)
	}
}

// DeletePod deletes a pod, and waits until it does not exist.
func (e *Env) DeletePod(t testing.TB, namespace, name string) {
	t.Helper()
	if err := e.Client.CoreV1().Pods(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatalf("delete pod %s: %v", name, err)
	}
	AwaitDeleted[*corev1.Pod](t, Pod(e.Client, namespace, name))
}
