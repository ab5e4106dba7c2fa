// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/bench/report"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// limited is a class that sets all limits that a class can set.
const limited = "limited.space.resource.example.com"

const limits = `{"apiVersion": "space.resource.example.com/v1alpha1", "kind": "SpaceClassConfig", "network":{"mode":"Isolated"},
"resourceQuota":{"hard":{"requests.cpu": "4", "requests.memory": "8Gi", "pods": "20"}},
"limitRange":{"limits":[{"type": "Container", "defaultRequest": {"cpu": "100m", "memory": "128Mi"}}]}}`

// PodStart starts pods of each sort in turns, one at a time, on nodes that do
// nothing else.
func PodStart(ctx context.Context, s Settings) (*report.Report, error) {
	r := &report.Report{Name: "podstart", Title: "From the creation of a pod until it is Running, one at a time", Machine: report.ThisMachine()}
	return r, s.onNodes(ctx, func(env *framework.Env) error { return s.podStart(ctx, env, r) })
}

func (s Settings) podStart(ctx context.Context, env *framework.Env, r *report.Report) error {
	if err := createClass(ctx, env, limited, []byte(limits)); err != nil {
		return err
	}
	if err := installExampleDriver(ctx, env); err != nil {
		return err
	}
	sorts := []struct {
		name, class string
		steps       []string
	}{
		{"without a claim", "", []string{"bound", "Running"}},
		{"with a GPU of " + exampleDriver, exampleClass, []string{"allocated", "bound", "Running"}},
		{"with a space", spaceapi.DefaultDriverName, []string{"allocated", "bound", "Ready", "Running"}},
		{"with a space that has limits", limited, []string{"allocated", "bound", "Ready", "Running"}},
	}
	running := make([]report.Series, len(sorts))
	seen, spent := &series{}, &series{}
	// The first pod of each sort warms up, and is not counted.
	for i := range s.Pods + 1 {
		for j, sort := range sorts {
			before, err := driverSteps(ctx, env)
			if err != nil {
				return err
			}
			name := fmt.Sprintf("pod-%d-%d", i, j)
			at, err := startPod(ctx, env, name, sort.class, sort.steps...)
			if err != nil {
				return err
			}
			if err := deletePod(ctx, env, name); err != nil {
				return err
			}
			after, err := driverSteps(ctx, env)
			if err != nil {
				return err
			}
			s.logf("pod %d %s: %.3f s", i, sort.name, at["Running"])
			running[j].Name = sort.name
			if i == 0 {
				continue
			}
			running[j].Values = append(running[j].Values, at["Running"])
			for _, step := range sort.steps {
				seen.add(sort.name+": "+step, at[step])
			}
			for _, step := range slices.Sorted(maps.Keys(after)) {
				if seconds := after[step] - before[step]; seconds > 0 {
					spent.add(sort.name+": "+step, seconds)
				}
			}
		}
	}
	table := report.NewTable("create to Running", "s", running...)
	r.Tables = append(r.Tables, table,
		report.NewTable("steps, since creation, as a watch sees them", "s", seen.inOrder...),
		report.NewTable("how long each step of the driver takes, by its own metrics", "s", spent.inOrder...))
	none, example := table.Rows[0].Median, table.Rows[1].Median
	for _, row := range table.Rows[2:] {
		r.Goals = append(r.Goals,
			report.AtMost("seconds more than without a claim, median, "+row.Name, 0.15, row.Median-none),
			report.AtMost("seconds more than "+table.Rows[1].Name+", median, "+row.Name, 0.1, row.Median-example))
	}
	return nil
}

// series are made as their values come.
type series struct{ inOrder []report.Series }

func (s *series) add(name string, value float64) {
	i := slices.IndexFunc(s.inOrder, func(one report.Series) bool { return one.Name == name })
	if i < 0 {
		i = len(s.inOrder)
		s.inOrder = append(s.inOrder, report.Series{Name: name})
	}
	s.inOrder[i].Values = append(s.inOrder[i].Values, value)
}

// createClass creates a class of the driver's devices, with parameters unless they are nil.
func createClass(ctx context.Context, env *framework.Env, name string, parameters []byte) error {
	class := &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourceapi.DeviceClassSpec{
		Selectors: []resourceapi.DeviceSelector{{CEL: &resourceapi.CELDeviceSelector{Expression: fmt.Sprintf("device.driver == %q", spaceapi.DefaultDriverName)}}},
	}}
	if parameters != nil {
		class.Spec.Config = []resourceapi.DeviceClassConfiguration{{DeviceConfiguration: resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
			Driver: spaceapi.DefaultDriverName, Parameters: runtime.RawExtension{Raw: parameters},
		}}}}
	}
	if _, err := env.Client.ResourceV1().DeviceClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create DeviceClass %s: %w", name, err)
	}
	return nil
}

// startPod creates a pod, with a claim of the class unless that is empty, waits until all
// wanted steps of its start were seen, and returns after how many seconds each step was.
func startPod(ctx context.Context, env *framework.Env, name, class string, want ...string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, framework.Patience)
	defer cancel()
	pod := framework.NewPod(name)
	podAPI, claimAPI := env.Client.CoreV1().Pods(metav1.NamespaceDefault), env.Client.ResourceV1().ResourceClaims(metav1.NamespaceDefault)
	if class != "" {
		pod = framework.NewPod(name, name)
		claim := framework.NewClaim(name)
		claim.Spec.Devices.Requests[0].Exactly.DeviceClassName = class
		if _, err := claimAPI.Create(ctx, claim, metav1.CreateOptions{}); err != nil {
			return nil, fmt.Errorf("create a claim: %w", err)
		}
	}
	one := metav1.ListOptions{FieldSelector: "metadata.name=" + name}
	pods, err := follow(ctx, podAPI.List, podAPI.Watch, one)
	if err != nil {
		return nil, fmt.Errorf("watch pod %s: %w", name, err)
	}
	defer pods.Stop()
	claims, err := follow(ctx, claimAPI.List, claimAPI.Watch, one)
	if err != nil {
		return nil, fmt.Errorf("watch claim %s: %w", name, err)
	}
	defer claims.Stop()
	begin := time.Now()
	seen := map[string]float64{}
	see := func(step string, is bool) {
		if _, known := seen[step]; is && !known {
			seen[step] = time.Since(begin).Seconds()
		}
	}
	missing := func(step string) bool {
		_, known := seen[step]
		return !known
	}
	if _, err := podAPI.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("create pod %s: %w", name, err)
	}
	for slices.ContainsFunc(want, missing) {
		var event watch.Event
		var open bool
		select {
		case event, open = <-pods.ResultChan():
		case event, open = <-claims.ResultChan():
		}
		if !open {
			return nil, fmt.Errorf("pod %s: a watch ended after %v", name, seen)
		}
		switch o := event.Object.(type) {
		case *resourceapi.ResourceClaim:
			see("allocated", o.Status.Allocation != nil)
			see("Ready", framework.SpacesReadyNow(o))
		case *corev1.Pod:
			see("bound", o.Spec.NodeName != "")
			see("Running", o.Status.Phase == corev1.PodRunning)
		}
	}
	return seen, nil
}

// deletePod deletes a pod and waits until it does not exist.
func deletePod(ctx context.Context, env *framework.Env, name string) error {
	if err := env.Client.CoreV1().Pods(metav1.NamespaceDefault).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete pod %s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, framework.Patience)
	defer cancel()
	return framework.UntilGone[*corev1.Pod](ctx, framework.Pod(env.Client, metav1.NamespaceDefault, name))
}
