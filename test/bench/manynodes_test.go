// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/pools"
	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	// podsOnNode is the number of running pods on each simulated node. None has a space.
	podsOnNode = 3

	plainPod    = "a pod without a claim"
	clusterPool = "a pod with a space of a pool for the cluster"
	nodePools   = "a pod with a space of a pool for each node"
	untilBound  = ", until it is bound (s)"
	untilReady  = ", from the allocation until the space is Ready (s)"
)

// BenchmarkManyNodes measures how long pods take to be scheduled, with a growing number of nodes,
// which kwok simulates. The pods are created one at a time, and stay.
func BenchmarkManyNodes(b *testing.B) {
	r := startReport(b, "manynodes")
	// The flags are for the long leases, and for the fast creation of nodes.
	m := &manyNodes{b: b, env: controlPlane(b, "--node-monitor-grace-period=15m", "--kube-api-qps=200", "--kube-api-burst=300")}
	createClass(b, m.env, spaceapi.DefaultDriverName, "")
	stages := framework.Binary("kwok-stages")
	// kwok renews a lease four times in its duration, as kubelets do. The duration is longer than that of
	// kubelets, 40 s, because one machine renews all leases.
	start(b, framework.Binary("kwok"), "--kubeconfig="+m.env.Cluster.Kubeconfig(), "--manage-all-nodes=true", "--node-lease-duration-seconds=400",
		"--config="+filepath.Join(stages, "node/fast/node-initialize.yaml"), "--config="+filepath.Join(stages, "pod/fast/pod-ready.yaml"))
	for _, n := range *flags.nodes {
		m.addNodes(n)
		m.schedule(r, clusterPool, "pools: [{name: spaces}]\n")
		m.schedule(r, nodePools, "pools: [{name: spaces, perNode: {limit: 100}}]\n")
	}
	least, most := nodesName((*flags.nodes)[0]), nodesName(m.nodes)
	for _, kind := range []string{clusterPool, nodePools} {
		title := kind + untilBound
		r.atMost(title+", ratio of "+most+" to "+least, flat, r.median(title, most)/r.median(title, least))
		r.atMost("seconds more than without a claim at "+most+", "+kind, 0.15, r.median(title, most)-r.median(plainPod+untilBound, most))
	}
}

func nodesName(n int) string { return fmt.Sprintf("%d nodes", n) }

// manyNodes measures a cluster of simulated nodes.
type manyNodes struct {
	b   *testing.B
	env *framework.Env
	// nodes is the number of nodes, and probes that of the pods that were measured.
	nodes, probes int
}

// addNodes creates nodes with pods on them until there are n.
func (m *manyNodes) addNodes(n int) {
	m.b.Helper()
	nodes, pods := m.env.Client.CoreV1().Nodes(), m.env.Client.CoreV1().Pods(metav1.NamespaceDefault)
	each(m.b, n-m.nodes, func(ctx context.Context, i int) error {
		name := fmt.Sprintf("simulated-%04d", m.nodes+i)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
		if _, err := nodes.Create(ctx, node, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create a node: %w", err)
		}
		for i := range podsOnNode {
			pod := framework.NewPod(fmt.Sprintf("%s-%d", name, i))
			pod.Spec.NodeName = name
			if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
				return fmt.Errorf("create a pod on node %s: %w", name, err)
			}
		}
		return nil
	})
	m.nodes = n
	var ready, running int
	if err := wait.PollUntilContextTimeout(m.b.Context(), time.Second, patience, true, func(ctx context.Context) (bool, error) {
		list, err := nodes.List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		ready = len(slices.DeleteFunc(list.Items, func(n corev1.Node) bool { return !framework.NodeReady().Holds(&n) }))
		simulated, err := pods.List(ctx, metav1.ListOptions{FieldSelector: "status.phase=" + string(corev1.PodRunning)})
		if err != nil {
			return false, err
		}
		running = len(simulated.Items)
		return ready == n && running >= n*podsOnNode, nil
	}); err != nil {
		m.b.Fatalf("wait for %d nodes, of which %d are ready and run %d pods: %v", n, ready, running, err)
	}
	m.b.Logf("%d nodes with %d pods each", n, podsOnNode)
}

// schedule runs a controller with pools, and measures pods with and without a space in turns.
// The first ones warm up.
func (m *manyNodes) schedule(r *report, kind, description string) {
	m.b.Helper()
	file := filepath.Join(m.b.TempDir(), "pools.yaml")
	if err := os.WriteFile(file, []byte(description), 0o600); err != nil {
		m.b.Fatal(err)
	}
	slices := m.env.Client.ResourceV1().ResourceSlices()
	if err := slices.DeleteCollection(m.b.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		m.b.Fatalf("delete the ResourceSlices: %v", err)
	}
	controller := framework.StartController(m.b, m.env, "--pools-file="+file)
	defer controller.Stop(m.b, syscall.SIGTERM)
	want := max(1, m.publishOnNodes(description))
	if err := wait.PollUntilContextTimeout(m.b.Context(), 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		list, err := slices.List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == want, err
	}); err != nil {
		m.b.Fatalf("wait for %d ResourceSlices: %v", want, err)
	}
	for i := range *flags.pods + 1 {
		m.probes++
		name := fmt.Sprintf("probe-%d", m.probes)
		plain := startPod(m.b, m.env, name+"-plain", "", "bound")
		space := startPod(m.b, m.env, name, spaceapi.DefaultDriverName, "bound")
		if i > 0 {
			r.add(plainPod+untilBound, nodesName(m.nodes), plain["bound"])
			r.add(kind+untilBound, nodesName(m.nodes), space["bound"])
			r.add(kind+untilReady, nodesName(m.nodes), space["Ready"]-space["allocated"])
		}
	}
	m.b.Logf("%d nodes, %s: measured", m.nodes, kind)
}

// publishOnNodes publishes the pools of all nodes as the kubelet plugins do, which simulated
// nodes do not have. It returns the number of ResourceSlices.
func (m *manyNodes) publishOnNodes(description string) (published int) {
	m.b.Helper()
	described, err := pools.Parse([]byte(description))
	if err != nil {
		m.b.Fatal(err)
	}
	nodes, err := m.env.Client.CoreV1().Nodes().List(m.b.Context(), metav1.ListOptions{})
	if err != nil {
		m.b.Fatalf("list the nodes: %v", err)
	}
	var all []*resourceapi.ResourceSlice
	for _, node := range nodes.Items {
		for name, pool := range (pools.Set{Pools: described}).NodeResources(node.Name, node.Labels, pools.Unsupported{}).Pools {
			for _, part := range pool.Slices {
				all = append(all, &resourceapi.ResourceSlice{
					ObjectMeta: metav1.ObjectMeta{GenerateName: node.Name + "-"},
					Spec: resourceapi.ResourceSliceSpec{
						Driver: spaceapi.DefaultDriverName, NodeName: &node.Name, Devices: part.Devices,
						Pool: resourceapi.ResourcePool{Name: name, Generation: 1, ResourceSliceCount: int64(len(pool.Slices))},
					},
				})
			}
		}
	}
	each(m.b, len(all), func(ctx context.Context, i int) error {
		if _, err := m.env.Client.ResourceV1().ResourceSlices().Create(ctx, all[i], metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("publish a pool of node %s: %w", *all[i].Spec.NodeName, err)
		}
		return nil
	})
	return len(all)
}
