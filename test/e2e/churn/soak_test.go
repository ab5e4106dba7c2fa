// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package churn

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// soak is a run in which the cluster changes in other ways, too.
func (r *run) soak(ctx context.Context) error {
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
	if err := r.startMoving(ctx); err != nil {
		return err
	}
	if err := r.churnAndCheck(ctx); err != nil {
		return err
	}
	return r.untilAsBefore(ctx, before)
}

// untilAsBefore waits until the cluster has the objects that it had before, and the nodes no
// sockets but those of the plugins that run.
func (r *run) untilAsBefore(ctx context.Context, before map[string]bool) error {
	r.values = nil
	if err := r.upgrade(ctx); err != nil {
		return err
	}
	if err := env.AwaitRollout(ctx); err != nil {
		return err
	}
	left, err := untilNone(ctx, func(ctx context.Context) ([]string, error) { return leaks(ctx, before) })
	if err != nil {
		return fmt.Errorf("waited for the cluster to be as before: %w; there is: %v", err, left)
	}
	return nil
}

func leaks(ctx context.Context, before map[string]bool) ([]string, error) {
	var left []string
	now, err := objects(ctx)
	if err != nil {
		return nil, err
	}
	for object := range now {
		if !before[object] {
			left = append(left, object)
		}
	}
	for _, node := range env.Cluster.Nodes() {
		dir := env.Cluster.KubeletDir()
		sockets, err := framework.OnNode(ctx, node, "find", dir+"/plugins", dir+"/plugins_registry", "-type", "s")
		if err != nil {
			return nil, err
		}
		if strings.Count(sockets, "\n") != 2 {
			left = append(left, fmt.Sprintf("sockets on %s: %s", node.Name(), sockets))
		}
	}
	return left, nil
}

// objects returns the objects of the cluster of which spaces and the driver may leave some.
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
