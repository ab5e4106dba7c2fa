// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
)

// stored makes of an object what an API server has of it: with what is filled in
// there, and as bytes.
func stored(t testing.TB, obj metav1.Object) []byte {
	t.Helper()
	if obj.GetUID() == "" {
		obj.SetUID(uuid.NewUUID())
	}
	obj.SetResourceVersion("1234567")
	obj.SetCreationTimestamp(metav1.NewTime(time.Unix(1_770_000_000, 0)))
	obj.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "space-controller", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1",
		FieldsV1: metav1.NewFieldsV1(strings.Repeat(`{"f:metadata":{"f:labels":{}}}`, 15))}})
	raw, err := obj.(interface{ Marshal() ([]byte, error) }).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// templated returns a claim as Kubernetes makes it of a template, allocated.
func templated(i int, driver string) *resourceapi.ResourceClaim {
	claim := &resourceapi.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "team", Name: fmt.Sprintf("worker-%05d-space-x7x7x", i), GenerateName: fmt.Sprintf("worker-%05d-space-", i),
			Finalizers:  []string{resourceapi.Finalizer},
			Annotations: map[string]string{resourceapi.PodResourceClaimAnnotation: "space"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: fmt.Sprintf("worker-%05d", i), UID: uuid.NewUUID(),
				Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true)}},
		},
		Spec: resourceapi.ResourceClaimSpec{Devices: resourceapi.DeviceClaim{Requests: []resourceapi.DeviceRequest{{
			Name: "space", Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: driver, AllocationMode: resourceapi.DeviceAllocationModeExactCount, Count: 1},
		}}}},
		Status: resourceapi.ResourceClaimStatus{
			Allocation: &resourceapi.AllocationResult{
				AllocationTimestamp: ptr.To(metav1.NewTime(time.Unix(1_770_000_000, 0))),
				Devices: resourceapi.DeviceAllocationResult{Results: []resourceapi.DeviceRequestAllocationResult{{
					Request: "space", Driver: driver, Pool: "spaces", Device: "space", ShareID: ptr.To(uuid.NewUUID()),
				}}},
			},
			ReservedFor: []resourceapi.ResourceClaimConsumerReference{{Resource: "pods", Name: fmt.Sprintf("worker-%05d", i), UID: uuid.NewUUID()}},
		},
	}
	claim.UID = uuid.NewUUID()
	return claim
}

// standing returns what a claim with a space is to the API server, by the informer
// that caches it.
func (c *cluster) standing(i int) map[cache.SharedIndexInformer][]byte {
	c.t.Helper()
	claim := templated(i, driver)
	a := allocationOf(c.t, claim)
	space := c.Settings.For(a, a.Shares[0], c.Settings.Name(a.Shares[0], parameters.Effective{}), parameters.Effective{
		ResourceQuota: corev1.ResourceList{"pods": resource.MustParse("5"), "limits.memory": resource.MustParse("8Gi")},
		LimitRange:    []corev1.LimitRangeItem{{Type: corev1.LimitTypePod, Max: corev1.ResourceList{"cpu": resource.MustParse("1")}}},
	})
	entry := c.readyEntry(a, a.Shares[0], space.Namespace.Name, provisioned{serviceAccountUID: uuid.NewUUID()})
	if _, err := status.Apply(claim, driver, []status.Entry{entry}, metav1.Now()); err != nil {
		c.t.Fatal(err)
	}
	space.Namespace.Labels[corev1.LabelMetadataName] = space.Namespace.Name
	space.Namespace.Annotations[c.keys.Nodes] = "node-1=" + string(claim.Status.ReservedFor[0].UID)
	space.Namespace.Annotations[c.keys.Pods] = claim.Status.ReservedFor[0].Name
	space.ResourceQuota.Status.Hard = space.ResourceQuota.Spec.Hard
	return map[cache.SharedIndexInformer][]byte{
		c.claimInformer:     stored(c.t, claim),
		c.namespaceInformer: stored(c.t, space.Namespace),
		c.accountInformer:   stored(c.t, space.ServiceAccount),
		c.bindingInformer:   stored(c.t, space.RoleBinding),
		c.quotaInformer:     stored(c.t, space.ResourceQuota),
		c.limitsInformer:    stored(c.t, space.LimitRange),
		c.policyInformer:    stored(c.t, space.NetworkPolicy),
	}
}

// read puts what an API server has into a cache, as an informer does.
func (c *cluster) read(informer cache.SharedIndexInformer, raw []byte) any {
	c.t.Helper()
	obj := c.empty(informer)
	if err := obj.(interface{ Unmarshal([]byte) error }).Unmarshal(raw); err != nil {
		c.t.Fatal(err)
	}
	cached, err := c.transformOf(informer)(obj)
	if err != nil {
		c.t.Fatal(err)
	}
	// Informers may do so twice.
	if cached, err = c.transformOf(informer)(cached); err != nil {
		c.t.Fatal(err)
	}
	if err := informer.GetIndexer().Add(cached); err != nil {
		c.t.Fatal(err)
	}
	return cached
}

func (c *cluster) transformOf(informer cache.SharedIndexInformer) cache.TransformFunc {
	switch informer {
	case c.claimInformer:
		return trimClaim(driver)
	case c.namespaceInformer:
		return trimNamespace(driver)
	}
	return trimContents
}

// kinds are the caches of what a space consists of.
func (c *cluster) kinds() []cache.SharedIndexInformer {
	return []cache.SharedIndexInformer{c.claimInformer, c.namespaceInformer, c.accountInformer, c.bindingInformer, c.quotaInformer, c.limitsInformer, c.policyInformer}
}

// empty returns an object of the kind that an informer caches.
func (c *cluster) empty(informer cache.SharedIndexInformer) metav1.Object {
	return map[cache.SharedIndexInformer]metav1.Object{
		c.claimInformer:     &resourceapi.ResourceClaim{},
		c.namespaceInformer: &corev1.Namespace{},
		c.accountInformer:   &corev1.ServiceAccount{},
		c.bindingInformer:   &rbacv1.RoleBinding{},
		c.quotaInformer:     &corev1.ResourceQuota{},
		c.limitsInformer:    &corev1.LimitRange{},
		c.policyInformer:    &networkingv1.NetworkPolicy{},
	}[informer]
}

// BenchmarkWhatTheCachesTake reports how much memory the caches take for a space,
// kind by kind, and for a claim of another driver.
func BenchmarkWhatTheCachesTake(b *testing.B) {
	for b.Loop() {
		c := newControllerWith(b, func(config *Config) {
			config.Settings.Network = spaceapi.NetworkIsolated
		})
		const n = 2000
		byKind := map[cache.SharedIndexInformer][][]byte{}
		for i := range n {
			for informer, raw := range c.standing(i) {
				byKind[informer] = append(byKind[informer], raw)
			}
		}
		total := 0.0
		take := func(what string, informer cache.SharedIndexInformer, raws [][]byte) float64 {
			before := heap()
			for _, raw := range raws {
				c.read(informer, raw)
			}
			each := float64(heap()-before) / float64(len(raws))
			b.ReportMetric(each, "B/"+what)
			return each
		}
		for _, informer := range c.kinds() {
			total += take(strings.TrimPrefix(fmt.Sprintf("%T", c.empty(informer)), "*v1."), informer, byKind[informer])
		}
		b.ReportMetric(total, "B/space")
		var others [][]byte
		for i := range n {
			others = append(others, stored(b, templated(n+i, "other.example.com")))
		}
		take("other", c.claimInformer, others)
		runtime.KeepAlive(c)
		b.ReportMetric(0, "ns/op")
	}
}

func heap() int64 {
	// Twice, because what is in memory once is let go by the first one.
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
