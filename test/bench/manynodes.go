// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/pools"
	"github.com/space-dra/space-dra-driver/test/bench/report"
	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	// podsOnNode is the number of running pods on each simulated node. None has a space.
	podsOnNode = 3
	// leaseSeconds is the duration of a simulated node's lease. A kubelet's is 40 s. kwok
	// renews a lease four times as often, as kubelets do, and all of that is on this machine.
	leaseSeconds = 400

	clusterPool = "a pool for the cluster"
	nodePools   = "a pool for each node"
	plainPod    = "a pod without a claim"
)

// stages is the configuration of kwok: what becomes of nodes and pods.
//
//go:embed kwok.yaml
var stages []byte

// ManyNodes measures how long pods take to be scheduled, with ever more nodes, which
// kwok simulates.
func ManyNodes(ctx context.Context, s Settings) (*report.Report, error) {
	r := &report.Report{Name: "manynodes", Title: "Pods and spaces, with many nodes", Machine: report.ThisMachine()}
	// For the long leases, and to notice nodes as fast as they are created.
	flags := []string{"--node-monitor-grace-period=15m", "--kube-api-qps=200", "--kube-api-burst=300"}
	return r, s.onControlPlane(ctx, flags, func(env *framework.Env) (err error) {
		m := &manyNodes{
			Settings: s, env: env,
			bound: report.Growth{Title: "a pod until it is bound to a node", Unit: "s", Of: "nodes"},
			ready: report.Growth{Title: "a claim from its allocation until it is Ready", Unit: "s", Of: "nodes"},
		}
		if m.dir, err = os.MkdirTemp("", "space-bench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(m.dir)) }()
		if err := m.measure(ctx); err != nil {
			return err
		}
		m.report(r)
		return nil
	})
}

// manyNodes measures a cluster of simulated nodes.
type manyNodes struct {
	Settings
	env *framework.Env
	dir string
	// nodes is the number of nodes, and probes that of the pods that were measured.
	nodes, probes int
	bound, ready  report.Growth
}

func (m *manyNodes) measure(ctx context.Context) (err error) {
	if err := createClass(ctx, m.env, spaceapi.DefaultDriverName, nil); err != nil {
		return err
	}
	config := filepath.Join(m.dir, "kwok.yaml")
	if err := os.WriteFile(config, stages, 0o600); err != nil {
		return err
	}
	kwok, err := launch(framework.Binary("kwok"), "--kubeconfig="+m.env.Cluster.Kubeconfig(), "--config="+config,
		"--manage-all-nodes=true", fmt.Sprintf("--node-lease-duration-seconds=%d", leaseSeconds))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kwok.end()) }()
	for _, n := range m.Nodes {
		if err := m.addNodes(ctx, n); err != nil {
			return fmt.Errorf("simulate %d nodes: %w\nkwok's log: %s", n, err, tail(kwok.log.String()))
		}
		if err := m.withPools(ctx, clusterPool, "pools: [{name: spaces}]\n"); err != nil {
			return fmt.Errorf("%s, %d nodes: %w", clusterPool, n, err)
		}
		if err := m.withPools(ctx, nodePools, "pools: [{name: spaces, perNode: {limit: 100}}]\n"); err != nil {
			return fmt.Errorf("%s, %d nodes: %w", nodePools, n, err)
		}
	}
	return nil
}

// addNodes creates nodes with pods on them until there are n.
func (m *manyNodes) addNodes(ctx context.Context, n int) error {
	begin, from := time.Now(), m.nodes
	nodes, pods := m.env.Client.CoreV1().Nodes(), m.env.Client.CoreV1().Pods(metav1.NamespaceDefault)
	if err := each(ctx, n-from, m.Parallel, func(ctx context.Context, i int) error {
		name := fmt.Sprintf("simulated-%04d", from+i)
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
	}); err != nil {
		return err
	}
	m.nodes = n
	var ready, running int
	if err := wait.PollUntilContextTimeout(ctx, time.Second, patience, true, func(ctx context.Context) (bool, error) {
		nodes, err := nodes.List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		ready = 0
		for i := range nodes.Items {
			if framework.NodeReady().Holds(&nodes.Items[i]) {
				ready++
			}
		}
		pods, err := pods.List(ctx, metav1.ListOptions{FieldSelector: "status.phase=" + string(corev1.PodRunning)})
		if err != nil {
			return false, err
		}
		running = len(pods.Items)
		return ready == n && running >= n*podsOnNode, nil
	}); err != nil {
		return fmt.Errorf("wait for the nodes, of which %d are ready and run %d pods: %w", ready, running, err)
	}
	m.logf("%d nodes with %d pods each, %.1f nodes/s", n, podsOnNode, float64(n-from)/time.Since(begin).Seconds())
	return nil
}

// withPools publishes pools and measures pods.
func (m *manyNodes) withPools(ctx context.Context, name, description string) error {
	file := filepath.Join(m.dir, "pools.yaml")
	if err := os.WriteFile(file, []byte(description), 0o600); err != nil {
		return err
	}
	slices := m.env.Client.ResourceV1().ResourceSlices()
	if err := slices.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return fmt.Errorf("delete the ResourceSlices: %w", err)
	}
	return withController(m.env, func() error {
		want := 1
		if name == nodePools {
			want = m.nodes
			if err := m.publishOnNodes(ctx, description); err != nil {
				return err
			}
		}
		if err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
			list, err := slices.List(ctx, metav1.ListOptions{})
			return err == nil && len(list.Items) == want, err
		}); err != nil {
			return fmt.Errorf("wait for %d ResourceSlices: %w", want, err)
		}
		return m.schedule(ctx, name)
	}, "--pools-file="+file)
}

// publishOnNodes publishes the pools of all nodes, as the kubelet plugins do, which
// simulated nodes do not have.
func (m *manyNodes) publishOnNodes(ctx context.Context, description string) error {
	described, err := pools.Parse([]byte(description))
	if err != nil {
		return err
	}
	nodes, err := m.env.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list the nodes: %w", err)
	}
	return each(ctx, len(nodes.Items), m.Parallel, func(ctx context.Context, i int) error {
		node := nodes.Items[i]
		for name, pool := range (pools.Set{Pools: described}).OnNode(node.Name, node.Labels, pools.Unsupported{}).Pools {
			for _, part := range pool.Slices {
				slice := &resourceapi.ResourceSlice{
					ObjectMeta: metav1.ObjectMeta{GenerateName: node.Name + "-"},
					Spec: resourceapi.ResourceSliceSpec{
						Driver: spaceapi.DefaultDriverName, NodeName: &node.Name, Devices: part.Devices,
						Pool: resourceapi.ResourcePool{Name: name, Generation: 1, ResourceSliceCount: int64(len(pool.Slices))},
					},
				}
				if _, err := m.env.Client.ResourceV1().ResourceSlices().Create(ctx, slice, metav1.CreateOptions{}); err != nil {
					return fmt.Errorf("publish the pools of node %s: %w", node.Name, err)
				}
			}
		}
		return nil
	})
}

// schedule measures pods with and without a space, in turns. The first warm up. They stay.
func (m *manyNodes) schedule(ctx context.Context, pool string) error {
	for i := range m.Pods + 1 {
		m.probes++
		name := fmt.Sprintf("probe-%d", m.probes)
		plain, err := startPod(ctx, m.env, name+"-plain", "", "bound")
		if err != nil {
			return err
		}
		space, err := startPod(ctx, m.env, name, spaceapi.DefaultDriverName, "bound", "Ready")
		if err != nil {
			return err
		}
		if i > 0 {
			m.bound.Add(m.nodes, plainPod, plain["bound"])
			m.bound.Add(m.nodes, pool, space["bound"])
			m.ready.Add(m.nodes, pool, space["Ready"]-space["allocated"])
		}
	}
	m.logf("%d nodes, %s: measured", m.nodes, pool)
	return nil
}

func (m *manyNodes) report(r *report.Report) {
	r.AddGrowth(&m.bound, &m.ready)
	most, least := slices.Max(m.Nodes), slices.Min(m.Nodes)
	_, plain := m.bound.Ends(plainPod)
	for _, pool := range []string{clusterPool, nodePools} {
		first, last := m.bound.Ends(pool)
		r.Goals = append(r.Goals,
			report.AtMost(fmt.Sprintf("%s: a pod until it is bound, at %d nodes against %d", pool, most, least), flat, report.Ratio(last, first)),
			report.AtMost(fmt.Sprintf("%s: seconds until a pod is bound at %d nodes, more than without a claim", pool, most), 0.15, last-plain))
	}
	r.Notes = append(r.Notes,
		fmt.Sprintf("Nodes and their %d pods each are kwok's, whose leases are renewed each %d s.", podsOnNode, leaseSeconds/4),
		fmt.Sprintf("Pods are started one by one, %d with a space in turns with as many without a claim. They stay, on nodes without a plugin.", m.Pods),
		"The slices of nodes are written as their kubelet plugins would.")
}
