// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// bareDriver is the driver whose claims the bare loop serves. The controller ignores them.
const bareDriver = "bare.space.resource.example.com"

// bareName replaces the name of the driver's ServiceAccount, so that the controller does not
// look at the bare loop's objects.
const bareName = "plain"

// bare writes the objects that the controller wrote for a space, without deciding anything.
type bare struct {
	client    client.Client
	sample    string
	namespace *corev1.Namespace
	contents  []runtime.Object
	device    resourceapi.AllocatedDeviceStatus
}

// copyOf reads the objects of a claim's space from the API server.
func copyOf(ctx context.Context, env *framework.Env, claim *resourceapi.ResourceClaim) (*bare, error) {
	config, err := env.Cluster.RESTConfig()
	if err != nil {
		return nil, err
	}
	b := &bare{device: claim.Status.Devices[0], namespace: &corev1.Namespace{}}
	if b.client, err = client.New(config, client.Options{}); err != nil {
		return nil, fmt.Errorf("make a client for the bare loop: %w", err)
	}
	data, err := dataOf(claim)
	if err != nil {
		return nil, err
	}
	b.sample = data.Namespace
	if err := b.client.Get(ctx, client.ObjectKey{Name: b.sample}, b.namespace); err != nil {
		return nil, fmt.Errorf("read a space: %w", err)
	}
	b.namespace.Labels, b.namespace.Annotations = renamed(b.namespace.Labels), renamed(b.namespace.Annotations)
	b.namespace.Status = corev1.NamespaceStatus{}
	for _, list := range []client.ObjectList{&corev1.ServiceAccountList{}, &corev1.ConfigMapList{}, &rbacv1.RoleBindingList{}, &networkingv1.NetworkPolicyList{}} {
		if err := b.client.List(ctx, list, client.InNamespace(b.sample)); err != nil {
			return nil, fmt.Errorf("list the contents of a space: %w", err)
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			return nil, err
		}
		b.contents = append(b.contents, items...)
	}
	return b, nil
}

// renamed returns labels or annotations with the keys of another driver.
func renamed(in map[string]string) map[string]string {
	out := map[string]string{}
	for key, value := range in {
		out[strings.ReplaceAll(key, spaceapi.DefaultDriverName, bareDriver)] = value
	}
	return out
}

// make writes a namespace and then, in parallel as the controller does, its contents.
func (b *bare) make(ctx context.Context, name string) error {
	ns := b.namespace.DeepCopy()
	ns.Name = name
	if err := b.create(ctx, ns); err != nil {
		return err
	}
	var group errgroup.Group
	for _, object := range b.contents {
		group.Go(func() error {
			object := object.DeepCopyObject().(client.Object)
			object.SetNamespace(name)
			if object.GetName() == spaceapi.ServiceAccountName {
				object.SetName(bareName)
			}
			if binding, ok := object.(*rbacv1.RoleBinding); ok {
				for i := range binding.Subjects {
					binding.Subjects[i].Name, binding.Subjects[i].Namespace = bareName, name
				}
			}
			// kube-controller-manager creates some of them, too, for both sides.
			if err := b.create(ctx, object); !apierrors.IsAlreadyExists(err) {
				return err
			}
			return nil
		})
	}
	return group.Wait()
}

// create creates a copy of an object, without what the API server sets.
func (b *bare) create(ctx context.Context, object client.Object) error {
	object.SetUID("")
	object.SetResourceVersion("")
	object.SetCreationTimestamp(metav1.Time{})
	object.SetManagedFields(nil)
	object.SetGeneration(0)
	return b.client.Create(ctx, object)
}

// serve does for a claim what the controller does.
func (b *bare) serve(ctx context.Context, claim *resourceapi.ResourceClaim) error {
	name := "bare-" + strings.ReplaceAll(claim.Name, ".", "-")
	if err := b.make(ctx, name); err != nil {
		return fmt.Errorf("make namespace %s: %w", name, err)
	}
	device := *b.device.DeepCopy()
	device.Driver = bareDriver
	if shared := claim.Status.Allocation.Devices.Results[0].ShareID; shared != nil {
		id := string(*shared)
		device.ShareID = &id
	}
	device.Data.Raw = bytes.ReplaceAll(device.Data.Raw, []byte(b.sample), []byte(name))
	claim = claim.DeepCopy()
	claim.Status.Devices = []resourceapi.AllocatedDeviceStatus{device}
	if err := b.client.Status().Update(ctx, claim); err != nil {
		return fmt.Errorf("write the status of ResourceClaim %s: %w", claim.Name, err)
	}
	return nil
}

// dataOf returns the driver's data of the claim's only space.
func dataOf(claim *resourceapi.ResourceClaim) (*spaceapi.SpaceStatus, error) {
	if !framework.SpacesReadyNow(claim) {
		return nil, fmt.Errorf("claim %s has no space", claim.Name)
	}
	var data spaceapi.SpaceStatus
	if err := json.Unmarshal(claim.Status.Devices[0].Data.Raw, &data); err != nil {
		return nil, fmt.Errorf("read the space of claim %s: %w", claim.Name, err)
	}
	return &data, nil
}
