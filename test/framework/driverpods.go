// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// Names of the driver's workloads.
const (
	ControllerName = "space-dra-driver-controller"
	PluginName     = "space-dra-driver-kubeletplugin"
)

// ControllerPods and PluginPods select the driver's pods.
const (
	ControllerPods = "app.kubernetes.io/component=controller"
	PluginPods     = "app.kubernetes.io/component=kubeletplugin"
)

// DriverPods returns the driver's pods that the selector selects, except those that are terminating.
func (e *Env) DriverPods(ctx context.Context, selector string) ([]corev1.Pod, error) {
	list, err := e.Client.CoreV1().Pods(DriverNamespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list the driver's pods: %w", err)
	}
	var pods []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}

// Leader returns the pod of the leader.
func (e *Env) Leader(ctx context.Context) (*corev1.Pod, error) {
	lease, err := e.Client.CoordinationV1().Leases(DriverNamespace).Get(ctx, ControllerName, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("find the leader: %w", err)
	}
	// The identity begins with the host name, which is the name of the pod.
	name, _, _ := strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
	if name == "" {
		return nil, errors.New("find the leader: the lease has no holder")
	}
	pod, err := e.Client.CoreV1().Pods(DriverNamespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("find the leader: %w", err)
	}
	return pod, nil
}

// AwaitLeader waits until a pod that stays is the leader, and returns it.
func (e *Env) AwaitLeader(t testing.TB) (leader *corev1.Pod) {
	t.Helper()
	Eventually(t, "a controller that stays to lead", func(ctx context.Context) (err error) {
		if leader, err = e.Leader(ctx); err == nil && leader.DeletionTimestamp != nil {
			err = fmt.Errorf("pod %s leads, which is terminating", leader.Name)
		}
		return err
	})
	return leader
}

// ForceDelete deletes a Pod without waiting for its containers to terminate.
func (e *Env) ForceDelete(ctx context.Context, namespace, name string) error {
	err := e.Client.CoreV1().Pods(namespace).Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
	if err != nil {
		return fmt.Errorf("delete pod %s/%s by force: %w", namespace, name, err)
	}
	return nil
}

// ClaimUIDLabel is the label of namespaces with the UID of the space's claim.
const ClaimUIDLabel = spaceapi.DefaultDriverName + "/claim-uid"

// Spaces returns the namespaces of all spaces.
func (e *Env) Spaces(ctx context.Context) ([]corev1.Namespace, error) {
	list, err := e.Client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: ClaimUIDLabel})
	if err != nil {
		return nil, fmt.Errorf("list the spaces: %w", err)
	}
	return list.Items, nil
}
