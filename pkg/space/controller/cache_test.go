// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceconfig "github.com/space-dra/space-dra-driver/pkg/space/config"
)

// strip returns an object as the cache has it.
func strip[T client.Object](c *cluster, obj T) T {
	c.t.Helper()
	c.putInCache(obj)
	out := obj.DeepCopyObject().(T)
	if err := c.caches.Get(c.t.Context(), client.ObjectKeyFromObject(obj), out); err != nil {
		c.t.Fatal(err)
	}
	return out
}

func TestStripClaim_keepsTheAllocation(t *testing.T) {
	for name, note := range map[string]string{"complete": "", "truncated": strings.Repeat("n", maxCached)} {
		t.Run(name, func(t *testing.T) {
			claim := claimFor("a", "b")
			claim.Annotations = map[string]string{resourceapi.PodResourceClaimAnnotation: "space", "example.com/note": note}
			claim.Status.Allocation.AllocationTimestamp = ptr.To(metav1.NewTime(time.Unix(1_770_000_000, 0)))
			devices := &claim.Status.Allocation.Devices
			devices.Results = append(devices.Results, resourceapi.DeviceRequestAllocationResult{Request: "gpu", Driver: "gpu.example.com", Pool: "node", Device: "gpu-0"})
			devices.Config = append(devices.Config, parametersOf(driver, `{"kind":"SpaceClassConfig","apiVersion":"`+spaceapi.APIVersion+`","maxLifetime":"1h"}`))
			c := newCluster(t, claim)
			c.now.SetTime(claim.Status.Allocation.AllocationTimestamp.Time)
			if err := c.provisionClaim(c.currentClaim()); err != nil {
				t.Fatal(err)
			}
			full := c.currentClaim()
			got := strip(c, full)

			a, b := allocation.FromClaim(full, driver), allocation.FromClaim(got, driver)
			if a.ID != b.ID || a.ClaimUID != b.ClaimUID || len(b.Results) != 2 || a.Results[1].NamespaceName("") != b.Results[1].NamespaceName("") || b.Results[1].Pool != "spaces" {
				t.Errorf("got the allocation %+v, want %+v", b, a)
			}
			if !isReady(got, driver, b) || !equality.Semantic.DeepEqual(got.Status.ReservedFor, full.Status.ReservedFor) {
				t.Errorf("got %+v, want %+v", got, full)
			}
			if c.claimChanged().Update(event.UpdateEvent{ObjectOld: full, ObjectNew: got}) {
				t.Error("claimChanged selects the same claim")
			}
			c.requests()
			result, err := c.reconcile()
			if err != nil || result.RequeueAfter != 54*time.Minute {
				t.Errorf("requeued after %s, error %v, want nine tenths of maxLifetime", result.RequeueAfter, err)
			}
			if read := slices.Contains(c.requests(), "get resourceclaims"); read != (note != "") {
				t.Errorf("read from the API server: %t", read)
			}

			full.DeletionTimestamp = ptr.To(metav1.NewTime(time.Unix(1_770_000_100, 0)))
			if got := strip(c, full); allocation.FromClaim(got, driver) == nil || !got.DeletionTimestamp.Equal(full.DeletionTimestamp) {
				t.Error("a claim that is being deleted and in use has no allocation")
			}
			full.Finalizers = nil
			if got := strip(c, full); allocation.FromClaim(got, driver) != nil {
				t.Error("a claim without its finalizer has an allocation")
			}
		})
	}
}

func TestStripClaim_keepsOnlyTheIdentityForAnotherDriver(t *testing.T) {
	claim := claimFor("a")
	claim.ResourceVersion = "7"
	claim.Status.Allocation.Devices.Results[0].Driver = "other.example.com"
	want := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: "7"}}
	if got := strip(newCluster(t), claim); !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestStripObject_keepsComparedFields(t *testing.T) {
	c := newClusterWith(t, func(config *Config) { config.Defaults.Network = spaceapi.NetworkIsolated })
	raw := `{"apiVersion":"` + spaceapi.APIVersion + `","kind":"SpaceClassConfig","resourceQuota":{"hard":{"pods":"5"}},"limitRange":{"limits":[{"type":"Pod","max":{"cpu":"1"}}]},"retention":{"period":"1h"}}`
	claim := claimFor("a")
	claim.Status.ReservedFor = nil
	claim.Status.Allocation.Devices.Config = append(claim.Status.Allocation.Devices.Config, parametersOf(driver, raw))
	desired := c.desired(claim)
	if desired.rejected != nil {
		t.Fatal(desired.rejected)
	}
	objects := c.spaceWith(func(s *spaceconfig.SpaceConfig) { *s = desired.spaces[0].config })
	objects.Namespace.UID, objects.Namespace.CreationTimestamp = "namespace-uid", metav1.NewTime(time.Unix(1000, 0))
	for _, obj := range []client.Object{objects.Namespace, objects.ServiceAccount, objects.RoleBindings[0], objects.ResourceQuota, objects.LimitRange, objects.NetworkPolicy} {
		c.putInCache(obj)
	}
	desired = c.desired(claim)
	existing := desired.spaces[0].namespace
	if existing == nil || c.recordedConfig(existing).Retention.Duration != time.Hour || !existing.CreationTimestamp.Equal(&objects.Namespace.CreationTimestamp) {
		t.Fatalf("got %+v, want %+v", existing, objects.Namespace)
	}
	desired.inUse = true
	if err := errors.Join(c.ensureNamespaces(t.Context(), desired), c.ensureObjects(t.Context(), desired)); err != nil {
		t.Error(err)
	}
	if requests := c.requests(); len(requests) != 0 {
		t.Errorf("got requests %v", requests)
	}
}

// largestClaim returns a claim of about the largest size that API server and etcd allow, with
// parameters for a driver.
func largestClaim(paramsFor string) *resourceapi.ResourceClaim {
	claim := claimFor("a")
	claim.Annotations = map[string]string{
		"example.com/note":                     strings.Repeat("n", 100<<10),
		resourceapi.PodResourceClaimAnnotation: strings.Repeat("p", 100<<10),
	}
	for n := range 6000 {
		claim.Finalizers = append(claim.Finalizers, fmt.Sprintf("example.com/%0100d", n))
	}
	for range 32 {
		claim.Status.Allocation.Devices.Config = append(claim.Status.Allocation.Devices.Config,
			parametersOf(paramsFor, `{"apiVersion":"`+spaceapi.APIVersion+`","kind":"SpaceClassConfig","annotations":{"a":"`+strings.Repeat("x", 9<<10)+`"}}`))
	}
	claim.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "x", FieldsV1: metav1.NewFieldsV1(strings.Repeat("f", 100<<10))}}
	return claim
}

func TestCacheOptions_boundMemory(t *testing.T) {
	finalizers := make([]string, 10_000)
	for i := range finalizers {
		finalizers[i] = fmt.Sprintf("example.com/%0100d", i)
	}
	large := strings.Repeat("x", 1<<20)
	meta := metav1.ObjectMeta{Name: "space", Finalizers: finalizers, Annotations: map[string]string{"example.com/x": large}}
	for what, test := range map[string]struct {
		of client.Object
		// limit is the maximum size in memory, in bytes.
		limit int64
	}{
		"a claim with parameters for this driver": {largestClaim(driver), 4 << 10},
		"a claim with parameters for another":     {largestClaim("other.example.com"), 4 << 10},
		"a ServiceAccount":                        {&corev1.ServiceAccount{ObjectMeta: meta}, 2 << 10},
		"a RoleBinding":                           {&rbacv1.RoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{{Name: large}}}, 2 << 10},
		"a NetworkPolicy": {&networkingv1.NetworkPolicy{ObjectMeta: meta, Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"a": large}},
		}}, 2 << 10},
		"a LimitRange":    {&corev1.LimitRange{ObjectMeta: meta, Spec: corev1.LimitRangeSpec{Limits: make([]corev1.LimitRangeItem, 10_000)}}, 2 << 10},
		"a ResourceQuota": {&corev1.ResourceQuota{ObjectMeta: meta, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourceName(large): {}}}}, 2 << 10},
		"a Namespace":     {&corev1.Namespace{ObjectMeta: meta}, 3 << 10},
	} {
		t.Run(what, func(t *testing.T) {
			c := newCluster(t)
			const n = 30
			decode := decoder(t, test.of)
			before := heap()
			for i := range n {
				obj := decode()
				stripped, err := c.transformOf(obj)(obj)
				if err != nil {
					t.Fatal(err)
				}
				kept := stripped.(client.Object)
				kept.SetName(fmt.Sprint(i))
				c.caches.put(kept)
			}
			if each := (heap() - before) / n; each > test.limit {
				t.Errorf("each takes %d bytes, want at most %d", each, test.limit)
			}
			runtime.KeepAlive(c)
		})
	}
}

// decoder returns a function that decodes an object as client-go does, with its own strings.
func decoder(t testing.TB, obj client.Object) func() client.Object {
	t.Helper()
	raw, err := obj.(interface{ Marshal() ([]byte, error) }).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return func() client.Object {
		out := reflect.New(reflect.TypeOf(obj).Elem()).Interface().(client.Object)
		if err := out.(interface{ Unmarshal([]byte) error }).Unmarshal(raw); err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
