// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package churn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// soak runs the churn while the cluster also changes in other ways.
func (r *run) soak(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { wait.UntilWithContext(ctx, r.restartScheduler, 2*time.Second) })
	if err := r.prepareChanges(ctx); err != nil {
		return err
	}
	before, err := objects(ctx)
	if err != nil {
		return err
	}
	claims := framework.NewTemplate(template)
	claims.Spec.Spec.Devices.Requests[0].Exactly.DeviceClassName = soakClass
	if _, err := env.Client.ResourceV1().ResourceClaimTemplates(r.namespace).Create(ctx, claims, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the template: %w", err)
	}
	if err := r.startStatefulSet(ctx); err != nil {
		return err
	}
	if err := r.churnAndCheck(ctx); err != nil {
		return err
	}
	return r.awaitInitialObjects(ctx, before)
}

// restartScheduler starts the scheduler again, as the kubelet does where it is a pod. The scheduler exits
// when it finds that another pod replaced one of the same name on another node while it was not
// connected to the API server (k8s.io/kubernetes, pkg/scheduler/backend/cache/cache.go).
func (r *run) restartScheduler(ctx context.Context) {
	const scheduler = "kube-scheduler"
	host := env.Cluster.ControlPlane()
	processes, err := host.Processes()
	if err == nil && slices.Contains(processes, cluster.ProcessState{Name: scheduler, Running: true}) {
		return
	}
	r.faultTransitions.Add(1)
	if err = errors.Join(err, host.Start(ctx, scheduler)); err != nil {
		r.t.Logf("%s has exited: %v", scheduler, err)
		return
	}
	r.faultTransitions.Add(1)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.faults[scheduler+" exited"]++
}

// awaitInitialObjects waits until the cluster has no more objects than before, and nodes have no more
// sockets than those of the running kubelet plugin.
func (r *run) awaitInitialObjects(ctx context.Context, before map[string]bool) error {
	r.values = nil
	if err := r.upgrade(ctx); err != nil {
		return err
	}
	if err := env.AwaitRollout(ctx); err != nil {
		return err
	}
	remaining, err := r.awaitNone(ctx, func(ctx context.Context) ([]string, error) { return leaks(ctx, before) })
	if err != nil {
		return fmt.Errorf("wait until the cluster has the same objects as before: %w; remaining: %v", err, remaining)
	}
	return nil
}

// leaks returns the objects that did not exist before, and unexpected sockets on nodes.
func leaks(ctx context.Context, before map[string]bool) ([]string, error) {
	var out []string
	now, err := objects(ctx)
	if err != nil {
		return nil, err
	}
	for object := range now {
		if !before[object] {
			out = append(out, object)
		}
	}
	for _, node := range env.Cluster.Nodes() {
		dir := env.Cluster.KubeletDir()
		sockets, err := framework.OnNode(ctx, node, "find", dir+"/plugins", dir+"/plugins_registry", "-type", "s")
		if err != nil {
			return nil, err
		}
		if strings.Count(sockets, "\n") != 2 {
			out = append(out, fmt.Sprintf("sockets on %s: %s", node.Name(), sockets))
		}
	}
	return out, nil
}

// objects returns the objects of all kinds that the driver creates.
func objects(ctx context.Context) (map[string]bool, error) {
	kinds := "namespaces,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,leases,deviceclasses,validatingadmissionpolicies"
	if env.AtLeast("1.36") {
		kinds += ",mutatingadmissionpolicies"
	}
	out, err := env.TryKubectl(ctx, "get", kinds, "-A", "-o", `jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}{"\n"}{end}`)
	found := map[string]bool{}
	for line := range strings.Lines(out) {
		found[strings.TrimSpace(line)] = true
	}
	return found, errorOf(out, err)
}
