// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/pools"
	"github.com/space-dra/space-dra-driver/test/bench/report"
	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	// podsOnNode is how many pods stand on each simulated node, none of which has a space.
	podsOnNode = 3
	// poolName is the name of the only pool, or of its part for each node.
	poolName = "spaces"

	wholePool   = "a pool for the cluster"
	perNodePool = "a pool for each node"
	plainPod    = "a pod without a claim"
)

// ManyNodes measures the controller, and pods that are scheduled by them, with ever
// more nodes, which kwok simulates.
func ManyNodes(ctx context.Context, s Settings) (*report.Report, error) {
	r := &report.Report{Name: "manynodes", Title: "The controller and the scheduler, with many nodes", Machine: report.ThisMachine()}
	return r, s.onControlPlane(ctx, patientWithNodes(), func(env *framework.Env) error {
		return withSimulation(env, func() (err error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			m := &manyNodes{Settings: s, env: env, nodeCosts: newNodeCosts()}
			if m.dir, err = os.MkdirTemp("", "space-bench-"); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, m.stop(), os.RemoveAll(m.dir)) }()
			if m.sight, err = newSight(ctx, env.Client); err != nil {
				return err
			}
			if err := m.prepare(ctx); err != nil {
				return err
			}
			if err := m.measure(ctx); err != nil {
				return err
			}
			m.report(r)
			return nil
		})
	})
}

// manyNodes measures a controller.
type manyNodes struct {
	Settings
	env        *framework.Env
	sight      *sight
	controller *program
	// dir has the file that describes the pools.
	dir string
	// standing is how many nodes there are, and probed how many pods were started.
	standing, probed int
	nodeCosts
}

// sort is an installation that is measured.
type sort struct {
	name, description string
	perNode           bool
}

// sorts are all installations.
func sorts() []sort {
	return []sort{
		{name: wholePool, description: fmt.Sprintf("pools: [{name: %s}]\n", poolName)},
		{name: perNodePool, description: fmt.Sprintf("pools: [{name: %s, perNode: {limit: 100}}]\n", poolName), perNode: true},
	}
}

// prepare makes what is there whatever the number of nodes.
func (m *manyNodes) prepare(ctx context.Context) error {
	class := &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: spaceapi.DefaultDriverName}}
	class.Spec.Selectors = []resourceapi.DeviceSelector{{CEL: &resourceapi.CELDeviceSelector{Expression: fmt.Sprintf("device.driver == %q", spaceapi.DefaultDriverName)}}}
	if _, err := m.env.Client.ResourceV1().DeviceClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make the DeviceClass: %w", err)
	}
	// Without it, no pods are admitted.
	there := framework.That("there", func(*corev1.ServiceAccount) bool { return true })
	_, err := framework.Until(ctx, framework.ServiceAccount(m.env.Client, metav1.NamespaceDefault, "default"), there)
	return err
}

func (m *manyNodes) measure(ctx context.Context) error {
	for _, n := range m.Nodes {
		begin, before := time.Now(), m.standing
		if err := m.addNodes(ctx, m.standing, n); err != nil {
			return err
		}
		m.standing = n
		m.logf("%d nodes with %d pods each, %.1f nodes/s", n, podsOnNode, float64(n-before)/time.Since(begin).Seconds())
		for _, s := range sorts() {
			if err := m.lookAt(ctx, s); err != nil {
				return fmt.Errorf("%s, %d nodes: %w", s.name, n, err)
			}
		}
	}
	return nil
}

// lookAt measures an installation at the number of nodes that there are.
func (m *manyNodes) lookAt(ctx context.Context, s sort) error {
	if err := m.clear(ctx); err != nil {
		return err
	}
	if s.perNode {
		nodes := m.sight.nodes.List()
		if err := each(ctx, len(nodes), m.Parallel, func(ctx context.Context, i int) error {
			return m.publishOn(ctx, s, nodes[i].(*corev1.Node))
		}); err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context, sort) error{m.publish, m.restart, m.rest, m.comeAndGo, m.schedule} {
		if err := step(ctx, s); err != nil {
			return err
		}
	}
	m.logf("%d nodes, %s: measured", m.standing, s.name)
	return nil
}

// publishOn publishes a node's part of the pools, as the kubelet plugin of the node does:
// simulated nodes have none.
func (m *manyNodes) publishOn(ctx context.Context, s sort, node *corev1.Node) error {
	described, err := pools.Parse([]byte(s.description))
	if err != nil {
		return err
	}
	for name, p := range (pools.Set{Pools: described}).OnNode(node.Name, node.Labels, pools.Unsupported{}).Pools {
		for _, part := range p.Slices {
			slice := &resourceapi.ResourceSlice{
				ObjectMeta: metav1.ObjectMeta{
					GenerateName:    "0-" + spaceapi.DefaultDriverName + "-" + node.Name + "-",
					OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: ptr.To(true)}},
				},
				Spec: resourceapi.ResourceSliceSpec{
					Driver: spaceapi.DefaultDriverName, NodeName: &node.Name, Devices: part.Devices,
					Pool: resourceapi.ResourcePool{Name: name, Generation: 1, ResourceSliceCount: int64(len(p.Slices))},
				},
			}
			if _, err := m.env.Client.ResourceV1().ResourceSlices().Create(ctx, slice, metav1.CreateOptions{}); err != nil {
				return fmt.Errorf("publish the pools of node %s: %w", node.Name, err)
			}
		}
	}
	return nil
}

// clear ends the controller and removes what was published.
func (m *manyNodes) clear(ctx context.Context) error {
	if err := m.stop(); err != nil {
		return err
	}
	if err := m.env.Client.ResourceV1().ResourceSlices().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return fmt.Errorf("remove ResourceSlices: %w", err)
	}
	return m.sight.await(ctx, func() string {
		if n := len(m.sight.slices.List()); n > 0 {
			return fmt.Sprintf("%d ResourceSlices are left", n)
		}
		return ""
	})
}

func (m *manyNodes) start(ctx context.Context, s sort) (err error) {
	file := filepath.Join(m.dir, "pools.yaml")
	if err := os.WriteFile(file, []byte(s.description), 0o600); err != nil {
		return err
	}
	m.controller, err = startProgram(ctx, framework.Binary("space-controller"), "--kubeconfig="+m.env.Cluster.Kubeconfig(), "--leader-elect-resource-namespace="+framework.DriverNamespace, "--pools-file="+file)
	return err
}

func (m *manyNodes) stop() error {
	if m.controller == nil {
		return nil
	}
	ending := m.controller
	m.controller = nil
	return ending.end()
}

// names are the names of the nodes in sight.
func (m *manyNodes) names() []string { return slices.Sorted(slices.Values(m.sight.nodes.ListKeys())) }

// awaitPublished waits until all pools are published as they should be.
func (m *manyNodes) awaitPublished(ctx context.Context, s sort, nodes []string) error {
	want := map[string]string{poolName: ""}
	if s.perNode {
		want = map[string]string{}
		for _, node := range nodes {
			want[poolName+"/"+node] = node
		}
	}
	return m.sight.await(ctx, func() string { return unpublished(m.sight.slices.List(), want) })
}

// unpublished says what is wrong with the slices of pools that are each for a node, or
// for all where its name is empty, or nothing.
func unpublished(objects []any, pools map[string]string) string {
	if len(objects) != len(pools) {
		return fmt.Sprintf("there are %d ResourceSlices in place of %d", len(objects), len(pools))
	}
	seen := map[string]bool{}
	for _, object := range objects {
		slice := object.(*resourceapi.ResourceSlice)
		node, wanted := pools[slice.Spec.Pool.Name]
		switch {
		case !wanted || seen[slice.Spec.Pool.Name]:
			return fmt.Sprintf("ResourceSlice %s is of pool %s, which is not there or has another one", slice.Name, slice.Spec.Pool.Name)
		case slice.Spec.Pool.ResourceSliceCount != 1 || len(slice.Spec.Devices) != 1:
			return fmt.Sprintf("ResourceSlice %s is one of %d and has %d devices, and not one of one", slice.Name, slice.Spec.Pool.ResourceSliceCount, len(slice.Spec.Devices))
		case !isFor(&slice.Spec, node):
			return fmt.Sprintf("ResourceSlice %s is not for %q", slice.Name, node)
		}
		seen[slice.Spec.Pool.Name] = true
	}
	return ""
}

// isFor reports whether a slice is for the pods of a node, or of all if it has no name.
func isFor(spec *resourceapi.ResourceSliceSpec, node string) bool {
	return ptr.Deref(spec.NodeName, "") == node && ptr.Deref(spec.AllNodes, false) == (node == "") && spec.NodeSelector == nil
}
