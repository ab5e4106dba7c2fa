// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controller is a small controller. Each of its tests runs it in a space of its own.
package controller

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Checksum is an annotation. If a ConfigMap has it, the controller sets its value to a checksum of the data.
const Checksum = "example.com/checksum"

// Reconciler writes checksums.
type Reconciler struct{ client.Client }

// SetupWithManager adds the controller to a manager.
func (r *Reconciler) SetupWithManager(m ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(m).For(&corev1.ConfigMap{}).Complete(r)
}

// Reconcile implements reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var configMap corev1.ConfigMap
	if err := r.Get(ctx, request.NamespacedName, &configMap); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	data, err := json.Marshal(configMap.Data)
	if err != nil {
		return ctrl.Result{}, err
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(data))
	if current, wanted := configMap.Annotations[Checksum]; !wanted || current == sum {
		return ctrl.Result{}, nil
	}
	patch := client.MergeFrom(configMap.DeepCopy())
	configMap.Annotations[Checksum] = sum
	return ctrl.Result{}, r.Patch(ctx, &configMap, patch)
}
