// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"context"
	"errors"
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
	"k8s.io/client-go/kubernetes"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// bareDriver is whose claims the bare loop serves. The driver leaves them alone.
const bareDriver = "bare.space.resource.example.com"

// bareName is what is called `space` in spaces, so that the driver does not look
// at the bare loop's objects.
const bareName = "plain"

// bare writes what the controller wrote for a space, object by object, without
// thinking.
type bare struct {
	client    kubernetes.Interface
	sample    string
	namespace *corev1.Namespace
	contents  []runtime.Object
	device    resourceapi.AllocatedDeviceStatus
}

// copyOf reads from the API server what a space consists of.
func copyOf(ctx context.Context, client kubernetes.Interface, claim *resourceapi.ResourceClaim) (*bare, error) {
	b := &bare{client: client, device: claim.Status.Devices[0]}
	data, err := dataOf(claim)
	if err != nil {
		return nil, err
	}
	b.sample = data.Namespace
	if b.namespace, err = client.CoreV1().Namespaces().Get(ctx, b.sample, metav1.GetOptions{}); err != nil {
		return nil, fmt.Errorf("look at a space: %w", err)
	}
	rename := func(in map[string]string) map[string]string {
		out := map[string]string{}
		for key, value := range in {
			out[strings.ReplaceAll(key, spaceapi.DefaultDriverName, bareDriver)] = value
		}
		return out
	}
	b.namespace.Labels, b.namespace.Annotations = rename(b.namespace.Labels), rename(b.namespace.Annotations)
	b.namespace.Status = corev1.NamespaceStatus{}
	core := client.CoreV1()
	for _, list := range []func() (runtime.Object, error){
		func() (runtime.Object, error) { return core.ServiceAccounts(b.sample).List(ctx, metav1.ListOptions{}) },
		func() (runtime.Object, error) { return core.ConfigMaps(b.sample).List(ctx, metav1.ListOptions{}) },
		func() (runtime.Object, error) {
			return client.RbacV1().RoleBindings(b.sample).List(ctx, metav1.ListOptions{})
		},
		func() (runtime.Object, error) {
			return client.NetworkingV1().NetworkPolicies(b.sample).List(ctx, metav1.ListOptions{})
		},
		func() (runtime.Object, error) { return core.ResourceQuotas(b.sample).List(ctx, metav1.ListOptions{}) },
		func() (runtime.Object, error) { return core.LimitRanges(b.sample).List(ctx, metav1.ListOptions{}) },
	} {
		objects, err := list()
		if err != nil {
			return nil, fmt.Errorf("list what is in a space: %w", err)
		}
		items, err := meta.ExtractList(objects)
		if err != nil {
			return nil, err
		}
		b.contents = append(b.contents, items...)
	}
	return b, nil
}

// make writes a namespace with its contents, those side by side as the controller does.
func (b *bare) make(ctx context.Context, name string) error {
	ns := b.namespace.DeepCopy()
	anew(ns)
	ns.Name = name
	if _, err := b.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		return err
	}
	var group errgroup.Group
	for _, object := range b.contents {
		group.Go(func() error { return b.write(ctx, object.DeepCopyObject(), name) })
	}
	return group.Wait()
}

func (b *bare) write(ctx context.Context, object runtime.Object, namespace string) (err error) {
	m, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	anew(m)
	m.SetNamespace(namespace)
	if m.GetName() == spaceapi.ServiceAccountName {
		m.SetName(bareName)
	}
	options := metav1.CreateOptions{}
	switch o := object.(type) {
	case *corev1.ServiceAccount:
		_, err = b.client.CoreV1().ServiceAccounts(namespace).Create(ctx, o, options)
	case *corev1.ConfigMap:
		_, err = b.client.CoreV1().ConfigMaps(namespace).Create(ctx, o, options)
	case *rbacv1.RoleBinding:
		for i := range o.Subjects {
			o.Subjects[i].Name, o.Subjects[i].Namespace = bareName, namespace
		}
		_, err = b.client.RbacV1().RoleBindings(namespace).Create(ctx, o, options)
	case *networkingv1.NetworkPolicy:
		_, err = b.client.NetworkingV1().NetworkPolicies(namespace).Create(ctx, o, options)
	case *corev1.LimitRange:
		_, err = b.client.CoreV1().LimitRanges(namespace).Create(ctx, o, options)
	case *corev1.ResourceQuota:
		err = b.writeQuota(ctx, o)
	default:
		err = fmt.Errorf("a space has a %T, which the bare loop can't make", object)
	}
	// kube-controller-manager makes some of them, too, for both sides.
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// writeQuota writes a quota with its status, as it was, in a second call.
func (b *bare) writeQuota(ctx context.Context, quota *corev1.ResourceQuota) error {
	api := b.client.CoreV1().ResourceQuotas(quota.Namespace)
	status := quota.Status
	quota, err := api.Create(ctx, quota, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	quota.Status = status
	if _, err := api.UpdateStatus(ctx, quota, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return err
	}
	return nil
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
	if _, err := b.client.ResourceV1().ResourceClaims(claim.Namespace).UpdateStatus(ctx, claim, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("write the status of ResourceClaim %s: %w", claim.Name, err)
	}
	return nil
}

// anew clears what the API server sets.
func anew(m metav1.Object) {
	m.SetUID("")
	m.SetResourceVersion("")
	m.SetCreationTimestamp(metav1.Time{})
	m.SetManagedFields(nil)
	m.SetGeneration(0)
}

// dataOf reads what the driver says about the claim's only space.
func dataOf(claim *resourceapi.ResourceClaim) (*spaceapi.SpaceStatus, error) {
	if len(claim.Status.Devices) == 0 || claim.Status.Devices[0].Data == nil {
		return nil, errors.New("claim " + claim.Name + " has no space")
	}
	return decode(claim.Status.Devices[0].Data.Raw)
}
