// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

// end revokes a space's credentials and deletes its namespace. It can be called
// again at any point, and says whether anything was left to do.
//
// The order matters: Kubernetes deletes a namespace's pods first and waits for
// them, so that with a long grace period the RoleBinding would live on for as
// long (k8s.io/kubernetes, pkg/controller/namespace/deletion). Authorization
// follows a deleted RoleBinding faster than authentication follows a deleted
// ServiceAccount, because successful token reviews are cached for ten seconds.
func (c *Controller) end(ctx context.Context, ns *corev1.Namespace) (didSomething bool, err error) {
	start := c.Clock.Now()
	deleted := func(err error) error {
		didSomething = didSomething || err == nil
		return ignoreNotFound(err)
	}
	if err := deleted(c.Client.RbacV1().RoleBindings(ns.Name).Delete(ctx, spaceapi.RoleBindingName, metav1.DeleteOptions{})); err != nil {
		return didSomething, fmt.Errorf("revoke the rights in namespace %s: %w", ns.Name, err)
	}
	if err := deleted(c.Client.CoreV1().ServiceAccounts(ns.Name).Delete(ctx, spaceapi.ServiceAccountName, metav1.DeleteOptions{})); err != nil {
		return didSomething, fmt.Errorf("revoke the tokens of namespace %s: %w", ns.Name, err)
	}
	revoked := c.Clock.Since(start)
	if ns.DeletionTimestamp == nil {
		// The UID makes sure that what is deleted is what was looked at.
		options := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(ns.UID))}
		if err := deleted(c.Client.CoreV1().Namespaces().Delete(ctx, ns.Name, options)); err != nil {
			return didSomething, fmt.Errorf("delete namespace %s: %w", ns.Name, err)
		}
	}
	if didSomething {
		klog.FromContext(ctx).Info("Space ended", logkeys.ClaimUID, ns.Labels[c.keys.ClaimUID], logkeys.Namespace, ns.Name,
			logkeys.Allocation, ns.Labels[c.keys.AllocationID], "revokedAfter", revoked.Round(time.Millisecond), logkeys.Duration, c.Clock.Since(start).Round(time.Millisecond))
	}
	return didSomething, nil
}

// ended says whether nothing is left to do for a namespace but to wait for
// Kubernetes to remove it.
func (c *Controller) ended(ns *corev1.Namespace) bool {
	if ns.DeletionTimestamp == nil {
		return false
	}
	_, accountErr := c.accounts.ServiceAccounts(ns.Name).Get(spaceapi.ServiceAccountName)
	_, bindingErr := c.bindings.RoleBindings(ns.Name).Get(spaceapi.RoleBindingName)
	return apierrors.IsNotFound(accountErr) && apierrors.IsNotFound(bindingErr)
}

// ignoreNotFound turns "already gone" into success.
func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
