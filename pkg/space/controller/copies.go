// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceclient "github.com/space-dra/space-dra-driver/pkg/space/client"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

// ensureCopy copies a Secret or ConfigMap into a space. If the space is in use, it updates or
// recreates the copy. If that fails, the space stays ready, because an outdated copy may still work,
// and the controller retries after the resync period.
//
// The controller has no permission to read copies: that would include all Secrets of the cluster.
func (r *Reconciler) ensureCopy(ctx context.Context, desired *desiredClaim, want resources.Copy) error {
	if !desired.inUse {
		copied, err := r.readCopy(ctx, want)
		if err == nil {
			err = client.IgnoreAlreadyExists(r.client.Create(withoutBodies(ctx), copied))
		}
		return copyError(want, err)
	}
	if !slices.Contains(r.config.Defaults.CopyFromNamespaces, want.From) {
		return nil // The controller no longer has permission to read the original.
	}
	restored, err := r.updateCopy(ctx, want)
	if err != nil && ctx.Err() == nil {
		err = copyError(want, err)
		klog.FromContext(ctx).Error(err, "Failed to update a copy", logkeys.Namespace, want.Namespace)
		r.events.Event(desired.claim, corev1.EventTypeWarning, spaceapi.ReasonCopyFailed, err.Error())
	}
	if restored != nil {
		r.reportRestored(ctx, desired, restored)
	}
	return nil
}

// updateCopy writes the contents of the original to the copy. It does not change the metadata of the
// copy. It returns the copy if it did not exist.
func (r *Reconciler) updateCopy(ctx context.Context, want resources.Copy) (restored client.Object, err error) {
	copied, err := r.readCopy(ctx, want)
	if err != nil {
		return nil, err
	}
	patch, err := contentPatch(copied)
	if err != nil {
		return nil, err
	}
	existing := copied.DeepCopyObject().(client.Object)
	err = r.client.Patch(withoutBodies(ctx), existing, client.RawPatch(types.JSONPatchType, patch))
	if !spaceclient.IsNotFound(err) {
		return nil, err
	}
	if err := r.client.Create(withoutBodies(ctx), copied); err != nil {
		return nil, client.IgnoreAlreadyExists(err)
	}
	return copied, nil
}

// readCopy reads the original, and returns the desired copy.
func (r *Reconciler) readCopy(ctx context.Context, want resources.Copy) (client.Object, error) {
	key := client.ObjectKey{Namespace: want.From, Name: want.Name}
	if want.Secret {
		original := &corev1.Secret{}
		err := r.client.APIReader.Get(withoutBodies(ctx), key, original)
		return want.SecretOf(original), err
	}
	original := &corev1.ConfigMap{}
	err := r.client.APIReader.Get(ctx, key, original)
	return want.ConfigMapOf(original), err
}

// contentPatch returns a JSON patch that replaces the contents of a Secret or ConfigMap only.
func contentPatch(obj client.Object) ([]byte, error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	switch obj := obj.(type) {
	case *corev1.Secret:
		return json.Marshal([]operation{{"add", "/data", obj.Data}})
	case *corev1.ConfigMap:
		return json.Marshal([]operation{{"add", "/data", obj.Data}, {"add", "/binaryData", obj.BinaryData}})
	default:
		return nil, fmt.Errorf("%T has no contents to copy", obj)
	}
}

// withoutBodies returns a context without a logger, for requests with Secrets: client-go logs bodies
// at high verbosity.
func withoutBodies(ctx context.Context) context.Context {
	return klog.NewContext(ctx, logr.Discard())
}

func copyError(want resources.Copy, err error) error {
	if err == nil {
		return nil
	}
	kind := "ConfigMap"
	if want.Secret {
		kind = "Secret"
	}
	return fmt.Errorf("copy %s %s/%s to namespace %s: %w", kind, want.From, want.Name, want.Namespace, err)
}
