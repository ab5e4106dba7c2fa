// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// pauseImage has no files but a shell.
const pauseImage = "registry.example.com/space-dra-driver/pause:v0.1.0"

// mountCase is a pod with something where a space has files. Its container is usable and can read the
// file with the name of the space's namespace, unless fails is set.
type mountCase struct {
	// pod changes a pod that uses claim `claim`.
	pod func(*corev1.Pod)
	// cat is how the container prints the file. If empty, `cat /etc/claim/namespace`.
	cat string
	// prints is the output if it is not the namespace.
	prints string
	// fails are words of the event about a container that does not start.
	fails string
	// then is done afterwards.
	then func(t *testing.T, ns, pod string)
}

// withVolume mounts a volume in a pod's containers. It has the keys `namespace` and `other`, if it has any.
func withVolume(path string, readOnly bool, source corev1.VolumeSource) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		name := strings.ReplaceAll(strings.Trim(path, "/"), "/", "-")
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
		for i := range pod.Spec.Containers {
			pod.Spec.Containers[i].VolumeMounts = append(pod.Spec.Containers[i].VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path, ReadOnly: readOnly})
		}
	}
}

var (
	emptyDir  = corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	configMap = corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "other"}}}
	secret    = corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "other"}}
	projected = corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "other"}}},
	}}}
	imageVolume = corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: framework.Toolbox, PullPolicy: corev1.PullIfNotPresent}}
)

// mountCases have the names of the rows of docs/pods.md.
func mountCases() map[string]mountCase {
	ownToken := func(pod *corev1.Pod) { pod.Spec.AutomountServiceAccountToken = ptr.To(false) }
	both := func(changes ...func(*corev1.Pod)) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			for _, change := range changes {
				change(pod)
			}
		}
	}
	const readOnly = "read-only file system"
	return map[string]mountCase{
		"`readOnlyRootFilesystem`": {pod: func(pod *corev1.Pod) {
			pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{ReadOnlyRootFilesystem: ptr.To(true)}
		}},
		"an image without `/etc` and `/var/run`": {
			pod: func(pod *corev1.Pod) {
				pod.Spec.Containers[0].Image, pod.Spec.Containers[0].Command = pauseImage, []string{"/busybox", "sleep", "infinity"}
				pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{ReadOnlyRootFilesystem: ptr.To(true)}
			},
			cat: "/busybox cat /etc/claim/namespace",
		},
		"an `emptyDir` at `/etc`":            {pod: withVolume("/etc", false, emptyDir)},
		"an `emptyDir` at `/var/run`":        {pod: withVolume("/var/run", false, emptyDir)},
		"a ConfigMap at `/etc/claim`":        {pod: withVolume("/etc/claim", true, configMap)},
		"a Secret at `/etc/claim`":           {pod: withVolume("/etc/claim", true, secret)},
		"a projected volume at `/etc/claim`": {pod: withVolume("/etc/claim", true, projected)},
		"an image volume at `/etc/claim`":    {pod: withVolume("/etc/claim", true, imageVolume)},
		"an image volume elsewhere":          {pod: withVolume("/tools", true, imageVolume)},
		"a read-only volume at `/etc`":       {pod: withVolume("/etc", true, emptyDir), fails: readOnly},
		"a read-only volume at `/var/run`":   {pod: both(ownToken, withVolume("/var/run", true, emptyDir)), fails: readOnly},
		"a volume at `/etc/claim/dir`":       {pod: withVolume("/etc/claim/dir", false, emptyDir), fails: readOnly},
		"a file of a volume, with `subPath`, at `/etc/claim/namespace`": {
			pod: func(pod *corev1.Pod) {
				withVolume("/etc/claim/namespace", true, configMap)(pod)
				pod.Spec.Containers[0].VolumeMounts[0].SubPath = "namespace"
			},
			prints: "other",
		},
		"init containers and sidecars": {pod: func(pod *corev1.Pod) {
			check := *pod.Spec.Containers[0].DeepCopy()
			check.Name, check.Command = "init", []string{"kubectl", "--kubeconfig=/etc/claim/kubeconfig", "get", "configmaps"}
			sidecar := *pod.Spec.Containers[0].DeepCopy()
			sidecar.Name, sidecar.RestartPolicy = "sidecar", ptr.To(corev1.ContainerRestartPolicyAlways)
			pod.Spec.InitContainers = []corev1.Container{check, sidecar}
		}, then: func(t *testing.T, ns, pod string) {
			env.Exec(t, ns, pod+"/sidecar", "kubectl", "--kubeconfig=/etc/claim/kubeconfig", "get", "configmaps")
		}},
		"ephemeral containers": {pod: func(*corev1.Pod) {}, then: func(t *testing.T, ns, pod string) {
			env.Kubectl(t, "debug", "-n", ns, pod, "--image="+framework.Toolbox, "--image-pull-policy=IfNotPresent", "--target=ctr", "--container=debug", "--profile=general", "--", "sleep", "infinity")
			framework.Await(t, framework.Pod(env.Client, ns, pod), framework.That("running the ephemeral container", func(p *corev1.Pod) bool {
				return len(p.Status.EphemeralContainerStatuses) == 1 && p.Status.EphemeralContainerStatuses[0].State.Running != nil
			}))
			if out, err := env.TryExec(t.Context(), ns, pod+"/debug", "cat", "/etc/claim/namespace"); err == nil {
				t.Errorf("an ephemeral container sees the space itself: %s", out)
			}
			if got, want := env.Exec(t, ns, pod+"/debug", "cat", "/proc/1/root/etc/claim/namespace"), env.Exec(t, ns, pod+"/ctr", "cat", "/etc/claim/namespace"); got != want {
				t.Errorf("by the file system of its target, an ephemeral container reads %q, want %q", got, want)
			}
		}},
		"its own token at `/var/run/secrets/kubernetes.io/serviceaccount`": {pod: func(*corev1.Pod) {}, then: func(t *testing.T, ns, pod string) {
			env.Exec(t, ns, pod, "sh", "-c", "cd /var/run/secrets/kubernetes.io/serviceaccount && test -s token && ! cmp -s token /etc/claim/token")
		}},
		"a user without privileges, or `fsGroup`": {pod: func(pod *corev1.Pod) {
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](12345), FSGroup: ptr.To[int64](2345)}
		}, then: func(t *testing.T, ns, pod string) {
			env.Exec(t, ns, pod, "sh", "-c", "test $(stat -L -c %g /etc/claim/token) = 0")
		}},
		"resize in place": {
			pod: func(pod *corev1.Pod) {
				pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("20Mi")}
				pod.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
			},
			then: func(t *testing.T, ns, pod string) {
				for _, resize := range []struct {
					resources string
					restarts  int32
				}{{`{"cpu":"20m"}`, 0}, {`{"memory":"30Mi"}`, 1}} {
					env.Kubectl(t, "patch", "-n", ns, "pod", pod, "--subresource=resize", "--patch",
						`{"spec":{"containers":[{"name":"ctr","resources":{"requests":`+resize.resources+`}}]}}`)
					framework.Await(t, framework.Pod(env.Client, ns, pod), framework.That("resized to "+resize.resources, func(p *corev1.Pod) bool {
						status := p.Status.ContainerStatuses[0]
						return status.RestartCount == resize.restarts && status.State.Running != nil && status.Resources != nil &&
							status.Resources.Requests.Cpu().Equal(*p.Spec.Containers[0].Resources.Requests.Cpu()) &&
							status.Resources.Requests.Memory().Equal(*p.Spec.Containers[0].Resources.Requests.Memory())
					}))
					env.Exec(t, ns, pod, "kubectl", "--kubeconfig=/etc/claim/kubeconfig", "get", "configmaps")
				}
			},
		},
	}
}

func TestMounts_coexistWithVolumesOfThePod(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	other := metav1.ObjectMeta{Name: "other"}
	data := map[string]string{"namespace": "other", "other": "x"}
	if _, err := env.Client.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: other, Data: data}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := env.Client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{ObjectMeta: other, StringData: data}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	space := env.Use(t, ns, framework.NewClaim("claim"), framework.NewPod("holder", "claim"))
	number := 0
	for name, s := range mountCases() {
		number++
		pod := framework.NewPod("pod-"+string(rune('a'+number)), "claim")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.pod(pod)
			env.StartPod(t, ns, pod)
			if s.fails != "" {
				framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.EventAbout("Pod", pod.Name, "Failed", s.fails))
				return
			}
			framework.Await(t, framework.Pod(env.Client, ns, pod.Name), framework.PodReady())
			cat, want := s.cat, s.prints
			if cat == "" {
				cat = "cat /etc/claim/namespace"
				env.Exec(t, ns, pod.Name+"/ctr", "kubectl", "--kubeconfig", space.Kubeconfig, "get", "configmaps")
			}
			if want == "" {
				want = space.Namespace
			}
			if got := env.Exec(t, ns, pod.Name+"/ctr", strings.Fields(cat)...); got != want {
				t.Errorf("the container reads namespace %q, want %q", got, want)
			}
			if s.then != nil {
				s.then(t, ns, pod.Name)
			}
		})
	}
}

func TestUserNamespaces_readTheCredentials(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	pod := framework.NewPod("pod", "claim")
	pod.Spec.HostUsers = ptr.To(false)
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: ptr.To[int64](1000), ReadOnlyRootFilesystem: ptr.To(true)}
	s := env.Use(t, ns, withClaimConfig(framework.NewClaim("claim"), `,"inCluster":true`), pod)
	if got := env.Exec(t, ns, "pod", "cat", "/proc/self/uid_map"); strings.HasPrefix(strings.Join(strings.Fields(got), " "), "0 0 ") {
		t.Errorf("the container is not in a user namespace of its own: %s", got)
	}
	s.Kubectl(t, ns, "pod", "--cache-dir=/dev/shm", "create", "configmap", "from-pod")
	for _, file := range []string{"/etc/claim/token", "/var/run/secrets/kubernetes.io/serviceaccount/token"} {
		env.Exec(t, ns, "pod", "cat", file)
	}
}

func TestDeviceMetadata_isWhereProgramsLook(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateTemplate(t, ns, "template")
	env.CreateClaim(t, ns, framework.NewClaim("named", "one", "two"))
	pod := framework.NewPodFromTemplate("pod", "template")
	pod.Spec.ResourceClaims = append(pod.Spec.ResourceClaims, corev1.PodResourceClaim{Name: "other", ResourceClaimName: ptr.To("named")})
	pod.Spec.Containers[0].Resources.Claims = append(pod.Spec.Containers[0].Resources.Claims, corev1.ResourceClaim{Name: "other"})
	env.CreatePod(t, ns, pod)
	for file, want := range map[string]struct{ prefix, dir string }{
		"resourceclaimtemplates/template/space": {"TEMPLATE", "/etc/template"},
		"resourceclaims/named/one":              {"NAMED_ONE", "/etc/named/one"},
		"resourceclaims/named/two":              {"NAMED_TWO", "/etc/named/two"},
	} {
		var object struct {
			APIVersion, Kind string
			Requests         []struct {
				Devices []struct {
					Driver     string
					Attributes map[string]struct{ String string }
				}
			}
		}
		content := env.Exec(t, ns, "pod", "cat", "/var/run/kubernetes.io/dra-device-attributes/"+file+"/space.resource.example.com-metadata.json")
		if err := json.NewDecoder(strings.NewReader(content)).Decode(&object); err != nil {
			t.Fatal(err)
		}
		if object.APIVersion != "metadata.resource.k8s.io/v1beta1" || object.Kind != "DeviceMetadata" || len(object.Requests) != 1 || len(object.Requests[0].Devices) != 1 {
			t.Fatalf("%s has %s", file, content)
		}
		s, got := env.SpaceOf(t, ns, "pod", want.prefix), object.Requests[0].Devices[0].Attributes
		if got["namespace"].String != s.Namespace || got["directory"].String != want.dir || got["kubeconfig"].String != want.dir+"/kubeconfig" {
			t.Errorf("%s has attributes %v, want those of %+v", file, got, s)
		}
		if server := env.Variables(t, ns, "pod")[want.prefix+"_CLUSTER"]; got["server"].String != server {
			t.Errorf("%s has server %q, want %q", file, got["server"].String, server)
		}
	}
}

// Each row of the table about mounts is a case, apart from those of TestUserNamespaces_readTheCredentials and of Windows.
func TestMounts_areDocumented(t *testing.T) {
	t.Parallel()
	rows := framework.FirstCells(t, "pods.md", "## Mounts")
	want := append(slices.Collect(maps.Keys(mountCases())), "`hostUsers: false`", "Windows containers")
	slices.Sort(rows)
	slices.Sort(want)
	if !slices.Equal(rows, want) {
		t.Errorf("docs/pods.md has the rows %q, and the tests %q", rows, want)
	}
}
