// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"slices"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
)

// In the caches, most objects are as bytes: a fifth of what they take as Go objects,
// and nothing for the garbage collector to look at. Whoever reads one gets an object
// of his own.

// unpacker is an object in a cache that is as bytes.
type unpacker interface {
	metav1.ObjectMetaAccessor
	unpack() any
}

// unpacked is the object that a cache has.
func unpacked(obj any) any {
	if packed, ok := obj.(unpacker); ok {
		return packed.unpack()
	}
	return obj
}

// kind is a kind of Kubernetes' own.
type kind[T any] interface {
	*T
	metav1.Object
	metav1.ObjectMetaAccessor
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// packed is an object as bytes.
type packed[T any, P kind[T]] struct {
	// meta is the object's metadata, and rest what is besides, which is the same in
	// many objects and in memory once.
	meta string
	rest unique.Handle[string]
}

// pack packs an object with this metadata.
func pack[T any, P kind[T]](obj P, meta metav1.ObjectMeta) *packed[T, P] {
	rest := *obj
	*metaOf(P(&rest)) = metav1.ObjectMeta{}
	return &packed[T, P]{meta: encode(&meta), rest: unique.Make(encode(P(&rest)))}
}

// GetObjectMeta implements metav1.ObjectMetaAccessor, by which informers find the key.
func (p *packed[T, P]) GetObjectMeta() metav1.Object {
	out := &metav1.ObjectMeta{}
	decode(out, p.meta)
	return out
}

func (p *packed[T, P]) unpack() any {
	out := P(new(T))
	decode(out, p.rest.Value())
	decode(metaOf(out), p.meta)
	return out
}

// bare is of the metadata what is needed of any object: what it is, and what it takes to
// change or delete it.
func bare(of *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: of.Namespace, Name: of.Name, UID: of.UID, ResourceVersion: of.ResourceVersion,
		DeletionTimestamp: of.DeletionTimestamp, Finalizers: of.Finalizers,
	}
}

func metaOf(obj metav1.ObjectMetaAccessor) *metav1.ObjectMeta {
	return obj.GetObjectMeta().(*metav1.ObjectMeta)
}

// packedBinding is a RoleBinding as bytes. In the subjects, here stands for the
// namespace that it is in: with that, it is the same in many spaces.
type packedBinding struct {
	packed[rbacv1.RoleBinding, *rbacv1.RoleBinding]
}

// here is no namespace's name.
const here = "."

func packBinding(binding *rbacv1.RoleBinding) unpacker {
	// Kubernetes takes any text for the namespace of a subject.
	if slices.ContainsFunc(binding.Subjects, func(s rbacv1.Subject) bool { return s.Namespace == here }) {
		return pack(&rbacv1.RoleBinding{RoleRef: binding.RoleRef, Subjects: binding.Subjects}, bare(&binding.ObjectMeta))
	}
	kept := &rbacv1.RoleBinding{RoleRef: binding.RoleRef, Subjects: slices.Clone(binding.Subjects)}
	move(kept.Subjects, binding.Namespace, here)
	return &packedBinding{*pack(kept, bare(&binding.ObjectMeta))}
}

func (p *packedBinding) unpack() any {
	binding := p.packed.unpack().(*rbacv1.RoleBinding)
	move(binding.Subjects, here, binding.Namespace)
	return binding
}

func move(subjects []rbacv1.Subject, from, to string) {
	for i := range subjects {
		if subjects[i].Namespace == from {
			subjects[i].Namespace = to
		}
	}
}

// packedNamespace is the namespace of a space as bytes. The keys of its record are
// without the driver's name.
type packedNamespace struct {
	packed[corev1.Namespace, *corev1.Namespace]
	driver unique.Handle[string]
}

func packNamespace(ns *corev1.Namespace, driver string) *packedNamespace {
	meta := bare(&ns.ObjectMeta)
	meta.Finalizers = nil
	meta.CreationTimestamp = ns.CreationTimestamp
	keys := spaceapi.KeysFor(driver)
	keep := func(of map[string]string, keys ...string) map[string]string {
		out := map[string]string{}
		for _, key := range keys {
			if value, exists := of[key]; exists {
				out[strings.TrimPrefix(key, driver)] = value
			}
		}
		return out
	}
	meta.Labels = keep(ns.Labels, keys.ClaimUID, keys.AllocationID, keys.NestedSpaces)
	meta.Annotations = keep(ns.Annotations, keys.ClaimNamespace, keys.ClaimName, keys.ClusterWideRoles, keys.Retain, keys.RetainedUntil, keys.Nodes, keys.Pods)
	return &packedNamespace{*pack(&corev1.Namespace{Status: ns.Status}, meta), unique.Make(driver)}
}

func (p *packedNamespace) unpack() any {
	ns := p.packed.unpack().(*corev1.Namespace)
	for _, record := range []*map[string]string{&ns.Labels, &ns.Annotations} {
		whole := make(map[string]string, len(*record))
		for key, value := range *record {
			whole[p.driver.Value()+key] = value
		}
		*record = whole
	}
	return ns
}

// settledClaim is a claim as bytes whose spaces are all ready: what is said of them is
// there as digests. It must never be written to the API server; status.Apply does not.
type settledClaim struct {
	own string
	// shared is what is the same in many claims, in memory once.
	shared unique.Handle[string]
}

// settle packs a claim of which all spaces are ready, or else returns nil.
func settle(claim *resourceapi.ResourceClaim, driver string) *settledClaim {
	a := identity.Of(claim, driver)
	if a == nil {
		return nil
	}
	digests := status.Digests(claim, driver, a)
	if digests == nil {
		return nil
	}
	allocation := claim.Status.Allocation
	own := &resourceapi.ResourceClaim{ObjectMeta: bare(&claim.ObjectMeta)}
	own.Finalizers = nil
	own.Status.ReservedFor = claim.Status.ReservedFor
	own.Status.Allocation = &resourceapi.AllocationResult{AllocationTimestamp: allocation.AllocationTimestamp}

	shared := &resourceapi.ResourceClaim{}
	shared.Finalizers = claim.Finalizers
	for _, key := range []string{resourceapi.PodResourceClaimAnnotation, resourceapi.ExtendedResourceClaimAnnotation} {
		if value, exists := claim.Annotations[key]; exists {
			metav1.SetMetaDataAnnotation(&shared.ObjectMeta, key, value)
		}
	}
	shared.Spec.Devices.Requests = claim.Spec.Devices.Requests
	shared.Status.Allocation = &resourceapi.AllocationResult{}
	devices := &shared.Status.Allocation.Devices
	for _, result := range allocation.Devices.Results {
		if result.Driver == driver {
			own.Status.Devices = append(own.Status.Devices, resourceapi.AllocatedDeviceStatus{
				ShareID: (*string)(result.ShareID),
				Data:    &runtime.RawExtension{Raw: digests[len(devices.Results)].Encode()},
			})
			result.ShareID = nil
			devices.Results = append(devices.Results, result)
		}
	}
	for _, config := range allocation.Devices.Config {
		if config.Opaque != nil && config.Opaque.Driver == driver {
			devices.Config = append(devices.Config, config)
		}
	}
	return &settledClaim{own: encode(own), shared: unique.Make(encode(shared))}
}

// GetObjectMeta implements metav1.ObjectMetaAccessor.
func (s *settledClaim) GetObjectMeta() metav1.Object {
	out := &metav1.PartialObjectMetadata{}
	decode(out, s.own)
	return &out.ObjectMeta
}

func (s *settledClaim) unpack() any {
	claim, shared := &resourceapi.ResourceClaim{}, &resourceapi.ResourceClaim{}
	decode(claim, s.own)
	decode(shared, s.shared.Value())
	claim.Finalizers, claim.Annotations, claim.Spec = shared.Finalizers, shared.Annotations, shared.Spec
	claim.Status.Allocation.Devices = shared.Status.Allocation.Devices
	for i, result := range claim.Status.Allocation.Devices.Results {
		device := &claim.Status.Devices[i]
		claim.Status.Allocation.Devices.Results[i].ShareID = (*types.UID)(device.ShareID)
		device.Driver, device.Pool, device.Device = result.Driver, result.Pool, result.Device
		device.Data = &runtime.RawExtension{Object: status.DecodeDigest(device.Data.Raw)}
	}
	return claim
}

// encode turns into bytes what the API server could be sent, which can't fail.
func encode(obj interface{ Marshal() ([]byte, error) }) string {
	raw, err := obj.Marshal()
	if err != nil {
		panic(fmt.Errorf("encode an object for the cache: %w", err))
	}
	return string(raw)
}

// decode is the reverse of encode, and can't fail either.
func decode(into interface{ Unmarshal([]byte) error }, raw string) {
	if err := into.Unmarshal([]byte(raw)); err != nil {
		panic(fmt.Errorf("decode an object in the cache: %w", err))
	}
}
