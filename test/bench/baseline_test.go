// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	baselineName = "baseline"
	// baselineDriver is the driver of the claims that the baseline handles. The controller ignores them.
	baselineDriver = "baseline.space.resource.example.com"
	// baselineAccount is the name of ServiceAccounts whose objects the controller ignores.
	baselineAccount = "plain"
)

// baseline writes the objects that the controller wrote for a space, without computing them.
type baseline struct {
	client    client.Client
	sample    string
	namespace *corev1.Namespace
	contents  []runtime.Object
	device    resourceapi.AllocatedDeviceStatus
}

// baselineOf reads the objects of a claim's space.
func baselineOf(b *testing.B, env *framework.Env, claim *resourceapi.ResourceClaim) *baseline {
	b.Helper()
	log.SetLogger(klog.Background())
	config, err := env.Cluster.RESTConfig()
	if err != nil {
		b.Fatal(err)
	}
	l := &baseline{device: claim.Status.Devices[0], namespace: &corev1.Namespace{}, sample: framework.SpaceStatus(b, claim, 0).Namespace}
	if l.client, err = client.New(config, client.Options{}); err != nil {
		b.Fatal(err)
	}
	if err := l.client.Get(b.Context(), client.ObjectKey{Name: l.sample}, l.namespace); err != nil {
		b.Fatalf("read a space: %v", err)
	}
	l.namespace.Labels, l.namespace.Annotations = renamed(l.namespace.Labels), renamed(l.namespace.Annotations)
	for _, list := range []client.ObjectList{&corev1.ServiceAccountList{}, &corev1.ConfigMapList{}, &rbacv1.RoleBindingList{}, &networkingv1.NetworkPolicyList{}} {
		if err := l.client.List(b.Context(), list, client.InNamespace(l.sample)); err != nil {
			b.Fatalf("list the contents of a space: %v", err)
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			b.Fatal(err)
		}
		l.contents = append(l.contents, items...)
	}
	return l
}

// renamed returns labels or annotations with the keys of another driver.
func renamed(in map[string]string) map[string]string {
	out := map[string]string{}
	for key, value := range in {
		out[strings.ReplaceAll(key, spaceapi.DefaultDriverName, baselineDriver)] = value
	}
	return out
}

// provision writes a namespace and then, in parallel as the controller does, its contents.
func (l *baseline) provision(ctx context.Context, name string) error {
	ns := l.namespace.DeepCopy()
	ns.Name = name
	if err := l.create(ctx, ns); err != nil {
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	var group errgroup.Group
	for _, object := range l.contents {
		group.Go(func() error {
			object := object.DeepCopyObject().(client.Object)
			object.SetNamespace(name)
			if object.GetName() == spaceapi.ServiceAccountName {
				object.SetName(baselineAccount)
			}
			if binding, ok := object.(*rbacv1.RoleBinding); ok {
				for i := range binding.Subjects {
					binding.Subjects[i].Name, binding.Subjects[i].Namespace = baselineAccount, name
				}
			}
			// In both cases, kube-controller-manager creates some of them, too.
			if err := l.create(ctx, object); err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("create the contents of namespace %s: %w", name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// create creates a copy of an object, without what the API server sets.
func (l *baseline) create(ctx context.Context, object client.Object) error {
	object.SetUID("")
	object.SetResourceVersion("")
	object.SetCreationTimestamp(metav1.Time{})
	object.SetManagedFields(nil)
	object.SetGeneration(0)
	return l.client.Create(ctx, object)
}

// serve does for a claim what the controller does.
func (l *baseline) serve(ctx context.Context, claim *resourceapi.ResourceClaim) error {
	name := "baseline-" + claim.Name
	if err := l.provision(ctx, name); err != nil {
		return err
	}
	device := *l.device.DeepCopy()
	device.Driver = baselineDriver
	shareID := string(*claim.Status.Allocation.Devices.Results[0].ShareID)
	device.ShareID = &shareID
	device.Data.Raw = bytes.ReplaceAll(device.Data.Raw, []byte(l.sample), []byte(name))
	claim = claim.DeepCopy()
	claim.Status.Devices = []resourceapi.AllocatedDeviceStatus{device}
	if err := l.client.Status().Update(ctx, claim); err != nil {
		return fmt.Errorf("write the status of claim %s: %w", claim.Name, err)
	}
	return nil
}
