// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// Tools is a shell script that uses a space with kubectl, Helm and kustomize, and leaves nothing in it. They
// find the space as they are configured. The chart is the one that Helm creates for its users.
const Tools = `
dir=$(mktemp -d)
export HOME=$dir
kubectl create configmap kubectl
kubectl delete configmap kubectl

helm create $dir/chart
helm upgrade --install release $dir/chart --wait --set livenessProbe=null,readinessProbe=null \
  --set image.repository=registry.example.com/space-dra-driver/pause,image.tag=v0.1.0
helm list | grep release
helm uninstall release --wait

mkdir $dir/kustomization
printf 'namePrefix: kustomize-\nconfigMapGenerator: [{name: map, literals: [a=b]}]\n' >$dir/kustomization/kustomization.yaml
kubectl apply --kustomize $dir/kustomization
kubectl get configmaps --output name | grep configmap/kustomize-map-
kubectl delete --kustomize $dir/kustomization
`

// MountHelm mounts the directory of Helm at /helm in all containers of a pod.
func (e *Env) MountHelm(pod *corev1.Pod) {
	MountHostDir(pod, "helm", path.Dir(e.Cluster.Binary("helm")), "/helm")
}

// MountHostDir mounts a directory of the machine in all containers of a pod.
func MountHostDir(pod *corev1.Pod, volume, dir, mountPath string) {
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}}})
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: mountPath, ReadOnly: true})
	}
}

// AddContainer adds a copy of the pod's first container that runs another script.
func AddContainer(pod *corev1.Pod, name, script string) {
	c := pod.Spec.Containers[0].DeepCopy()
	c.Name, c.Command = name, []string{"sh", "-c", script}
	pod.Spec.Containers = append(pod.Spec.Containers, *c)
}

// Repeater is a container that repeats a request, and prints a line for each: ok, or what failed.
type Repeater struct {
	Env                       *Env
	Namespace, Pod, Container string
}

func (r Repeater) lines(ctx context.Context) ([]string, error) {
	out, err := r.Env.TryKubectl(ctx, "logs", "-n", r.Namespace, r.Pod, "-c", r.Container)
	return strings.Split(strings.TrimSuffix(out, "\n"), "\n"), err
}

// Requests returns how many requests the container may have begun.
func (r Repeater) Requests(t testing.TB) int {
	t.Helper()
	lines, err := r.lines(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(lines) + 1
}

// AwaitOK waits until a request succeeds, after a number of others.
func (r Repeater) AwaitOK(t testing.TB, after int, timeout time.Duration) {
	t.Helper()
	r.await(t, after, timeout, "ok")
}

// AwaitFailed waits until a request fails with a word, after a number of others, and fails the test if one of
// them succeeds.
func (r Repeater) AwaitFailed(t testing.TB, after int, word string) {
	t.Helper()
	for _, line := range r.await(t, after, Timeout, word) {
		if line == "ok" {
			t.Errorf("a request of %s succeeds", r.Container)
		}
	}
}

// await waits for a request whose line contains a word, and returns the lines since.
func (r Repeater) await(t testing.TB, after int, timeout time.Duration, word string) (lines []string) {
	t.Helper()
	var err error
	if wait.PollUntilContextTimeout(t.Context(), time.Second, timeout, true, func(ctx context.Context) (bool, error) {
		lines, err = r.lines(ctx)
		lines = lines[min(after, len(lines)):]
		for _, line := range lines {
			if strings.Contains(line, word) {
				return true, nil
			}
		}
		return false, nil
	}) != nil {
		t.Errorf("no request of %s prints %q in %s; the last lines are %q, error %v", r.Container, word, timeout, lines[max(0, len(lines)-3):], err)
	}
	return lines
}

// ReplaceToken revokes the token of a space, and waits until the API server that the pod uses denies it, and the
// pod has another one.
func (s Space) ReplaceToken(t testing.TB, namespace, pod string) {
	t.Helper()
	dir := path.Dir(s.Kubeconfig)
	s.Env.Exec(t, namespace, pod, "sh", "-ec", fmt.Sprintf(`
cp %[1]s/token /tmp/previous
sed -e 's,%[1]s/token,/tmp/previous,' -e '/^    token:/d' %[1]s/kubeconfig >/tmp/kubeconfig`, dir))
	if err := s.Env.Client.CoreV1().ServiceAccounts(s.Namespace).Delete(t.Context(), spaceapi.ServiceAccountName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "another token, and the previous one to be denied", func(ctx context.Context) error {
		out, err := s.Env.TryExec(ctx, namespace, pod, "sh", "-ec", `
if cmp -s `+dir+`/token /tmp/previous; then exit 1; fi
if kubectl --kubeconfig=/tmp/kubeconfig get --raw=/api 2>/tmp/error; then exit 1; fi
grep Unauthorized /tmp/error`)
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
}
