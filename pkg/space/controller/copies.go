// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/blueprint"
)

// ensureCopy copies a Secret or ConfigMap, as it is now, into a space. The copy
// is not looked after: it is the tenants' from then on.
func (c *Controller) ensureCopy(ctx context.Context, object blueprint.Copy) error {
	if object.Secret {
		// client-go logs the bodies of requests and answers at high verbosity. Not these.
		ctx = klog.NewContext(ctx, logr.Discard())
		original, err := c.Client.CoreV1().Secrets(object.From).Get(ctx, object.Name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("read Secret %s/%s, which spaces get a copy of: %w", object.From, object.Name, err)
		}
		_, err = c.Client.CoreV1().Secrets(object.Namespace).Create(ctx, object.SecretOf(original), metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("copy Secret %s/%s to namespace %s: %w", object.From, object.Name, object.Namespace, err)
		}
		return nil
	}
	original, err := c.Client.CoreV1().ConfigMaps(object.From).Get(ctx, object.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read ConfigMap %s/%s, which spaces get a copy of: %w", object.From, object.Name, err)
	}
	_, err = c.Client.CoreV1().ConfigMaps(object.Namespace).Create(ctx, object.ConfigMapOf(original), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("copy ConfigMap %s/%s to namespace %s: %w", object.From, object.Name, object.Namespace, err)
	}
	return nil
}
