// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
	"github.com/space-dra/space-dra-driver/tools/release/image"
)

const (
	noClaim = "without a claim"
	// exampleDriver is kubernetes-sigs/dra-example-driver. Its claims cost as little as possible.
	exampleDriver = "dra-example-driver"
	examplePlugin = "dra-example-kubeletplugin"
	exampleClass  = "gpu.example.com"
	// limitedClass sets all limits that a class can set.
	limitedClass = "limited.space.resource.example.com"
	limits       = `{"apiVersion": "space.resource.example.com/v1alpha1", "kind": "SpaceClassConfig", "network":{"mode":"Isolated"},
"resourceQuota":{"hard":{"requests.cpu": "4", "requests.memory": "8Gi", "pods": "20"}},
"limitRange":{"limits":[{"type": "Container", "defaultRequest": {"cpu": "100m", "memory": "128Mi"}}]}}`
)

// BenchmarkPodStart starts pods of each kind in turns, one at a time, on idle nodes.
func BenchmarkPodStart(b *testing.B) {
	r := startReport(b, "podstart")
	env := twoNodes(b)
	createClass(b, env, limitedClass, limits)
	install(b, env, exampleDriver, framework.Binary(exampleDriver+"-chart"), map[string]string{examplePlugin: framework.Binary(examplePlugin)})
	kinds := []struct{ name, class string }{
		{noClaim, ""},
		{"with a GPU of " + exampleDriver, exampleClass},
		{"with a space", spaceapi.DefaultDriverName},
		{"with a space that has limits", limitedClass},
	}
	if *flags.before != "" {
		programs := map[string]string{}
		for _, program := range []string{"space-controller", "space-kubeletplugin"} {
			programs[program] = filepath.Join(*flags.before, "build/bin", program)
		}
		install(b, env, "before", filepath.Join(*flags.before, "deployments/helm/space-dra-driver"), programs, "--set", "driverName="+beforeDriver)
		kinds = append(kinds, struct{ name, class string }{"with a space, before", beforeDriver})
	}
	const running, steps, driverSteps = "from the creation of a pod until it is Running (s)", "steps since the creation, as a watch shows them (s)", "steps of the driver, by its metrics (s)"
	inTurns(*flags.pods, len(kinds), func(round, i int) {
		kind, name := kinds[i], fmt.Sprintf("pod-%d-%d", round, i)
		before := durations(b, env)
		seen := startPod(b, env, name, kind.class, "Running")
		env.DeletePod(b, metav1.NamespaceDefault, name)
		after := durations(b, env)
		b.Logf("pod %d %s: %.3f s", round, kind.name, seen["Running"])
		if round == 0 {
			return
		}
		r.add(running, kind.name, seen["Running"])
		for _, step := range []string{"allocated", "bound", "Ready", "Running"} {
			if at, ok := seen[step]; ok {
				r.add(steps, kind.name+": "+step, at)
			}
		}
		for _, step := range slices.Sorted(maps.Keys(after)) {
			if seconds := after[step] - before[step]; seconds > 0 {
				r.add(driverSteps, kind.name+": "+step, seconds)
			}
		}
	})
	for _, kind := range kinds[2:] {
		median := r.median(running, kind.name)
		r.atMost("seconds more than without a claim, median, "+kind.name, 0.15, median-r.median(running, noClaim))
		r.atMost("seconds more than "+kinds[1].name+", median, "+kind.name, 0.1, median-r.median(running, kinds[1].name))
	}
}

// install installs a chart, with an image that has programs in /usr/bin.
func install(b *testing.B, env *framework.Env, name, chart string, programs map[string]string, args ...string) {
	b.Helper()
	repository, archive := cluster.ImageRepository+"/"+name, filepath.Join(b.TempDir(), "image.tar")
	spec := image.Spec{Architecture: runtime.GOARCH, Programs: map[string]string{}, Config: image.Config{Env: []string{"PATH=/usr/bin"}}}
	for program, file := range programs {
		spec.Programs["usr/bin/"+program] = file
	}
	if err := image.WriteArchive(archive, repository+":"+cluster.DefaultTag, spec); err != nil {
		b.Fatalf("build an image of %s, which make bench builds: %v", name, err)
	}
	if err := env.Cluster.LoadImages(b.Context(), archive); err != nil {
		b.Fatalf("load the image of %s: %v", name, err)
	}
	args = append([]string{"upgrade", "-i", "--create-namespace", "--namespace", name, name, chart, "--wait",
		"--set", "image.repository=" + repository, "--set", "image.tag=" + cluster.DefaultTag}, args...)
	if out, err := env.Tool(b.Context(), "helm", args...); err != nil {
		b.Fatalf("install %s: %v: %s", name, err, out)
	}
}

// createClass creates a class of the driver's devices, with parameters unless they are empty.
func createClass(b *testing.B, env *framework.Env, name, parameters string) {
	b.Helper()
	class := &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourceapi.DeviceClassSpec{
		Selectors: []resourceapi.DeviceSelector{{CEL: &resourceapi.CELDeviceSelector{Expression: fmt.Sprintf("device.driver == %q", spaceapi.DefaultDriverName)}}},
	}}
	if parameters != "" {
		class.Spec.Config = []resourceapi.DeviceClassConfiguration{{DeviceConfiguration: resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
			Driver: spaceapi.DefaultDriverName, Parameters: k8sruntime.RawExtension{Raw: []byte(parameters)},
		}}}}
	}
	if _, err := env.Client.ResourceV1().DeviceClasses().Create(b.Context(), class, metav1.CreateOptions{}); err != nil {
		b.Fatalf("create DeviceClass %s: %v", name, err)
	}
}

// startPod creates a pod, with a claim unless class is empty, and waits until the pod is bound or
// Running, as wanted, and its space is Ready. It returns the seconds until each step: allocated, bound,
// Ready and Running.
func startPod(b *testing.B, env *framework.Env, name, class, wanted string) map[string]float64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), framework.Timeout)
	defer cancel()
	var mutex sync.Mutex
	var begin time.Time
	seen := map[string]float64{}
	see := func(step string, reached bool) bool {
		mutex.Lock()
		defer mutex.Unlock()
		if _, known := seen[step]; reached && !known {
			seen[step] = time.Since(begin).Seconds()
		}
		return reached
	}
	this := fields.OneTermEqualSelector(metav1.ObjectNameField, name)
	pods := follow(ctx, b, env.Client.CoreV1().RESTClient(), "pods", metav1.NamespaceDefault, this)
	claims := follow(ctx, b, env.Client.ResourceV1().RESTClient(), "resourceclaims", metav1.NamespaceDefault, this)
	pod := framework.NewPod(name)
	group, ctx := errgroup.WithContext(ctx)
	if class != "" {
		pod = framework.NewPod(name, name)
		claim := framework.NewClaim(name)
		claim.Spec.Devices.Requests[0].Exactly.DeviceClassName = class
		env.CreateClaim(b, metav1.NamespaceDefault, claim)
		group.Go(func() error {
			return claims(ctx, func(event watch.Event) bool {
				claim, ok := event.Object.(*resourceapi.ResourceClaim)
				return ok && see("allocated", claim.Status.Allocation != nil) && (class == exampleClass || see("Ready", framework.SpacesReadyNow(claim)))
			})
		})
	}
	begin = time.Now()
	env.StartPod(b, metav1.NamespaceDefault, pod)
	group.Go(func() error {
		return pods(ctx, func(event watch.Event) bool {
			pod, ok := event.Object.(*corev1.Pod)
			if !ok {
				return false
			}
			bound, running := see("bound", pod.Spec.NodeName != ""), see("Running", pod.Status.Phase == corev1.PodRunning)
			return running || bound && wanted == "bound"
		})
	})
	if err := group.Wait(); err != nil {
		b.Fatalf("start pod %s, which reached the steps %v: %v", name, seen, err)
	}
	return seen
}

// durations returns the total seconds that the driver has spent in each step of the start of pods, on
// all nodes.
func durations(b *testing.B, env *framework.Env) map[string]float64 {
	b.Helper()
	out := map[string]float64{}
	for _, component := range []struct{ name, selector, metric string }{
		{"controller", framework.ControllerPods, "space_dra_provisioning_step_duration_seconds_sum"},
		{"kubelet plugin", framework.PluginPods, "space_dra_prepare_step_duration_seconds_sum"},
	} {
		pods, err := env.DriverPods(b.Context(), component.selector)
		if err != nil {
			b.Fatal(err)
		}
		for _, pod := range pods {
			raw, err := env.Client.CoreV1().Pods(pod.Namespace).ProxyGet("", pod.Name, "8080", "metrics", nil).DoRaw(b.Context())
			if err != nil {
				b.Fatalf("read the metrics of pod %s: %v", pod.Name, err)
			}
			for _, sample := range parseMetrics(b, string(raw))[component.metric] {
				out[component.name+": "+string(sample.Metric["step"])] += float64(sample.Value)
			}
		}
	}
	return out
}
