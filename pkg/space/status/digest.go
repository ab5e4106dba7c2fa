// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
)

// ErrDigest says that the claim has digests, and that more is needed: the claim as
// the API server has it.
var ErrDigest = errors.New("only a digest of what the claim says is kept")

// Digest stands for what a claim says of a space that is ready, for who only wants to
// know whether it is what would be said. It exists in memory only.
type Digest struct {
	// AllocationID names the allocation that the space was made for.
	AllocationID string
	sum          [sha256.Size]byte
}

// Encode turns the digest into bytes.
func (d *Digest) Encode() []byte { return append(d.sum[:], d.AllocationID...) }

// DecodeDigest is the reverse of Encode.
func DecodeDigest(raw []byte) *Digest {
	d := &Digest{}
	d.AllocationID = string(raw[copy(d.sum[:], raw):])
	return d
}

// GetObjectKind implements runtime.Object.
func (d *Digest) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object.
func (d *Digest) DeepCopyObject() runtime.Object {
	out := *d
	return &out
}

// Digests are those of what the claim says of its spaces, one for each share, or nil
// if not all of them are ready.
func Digests(claim *resourceapi.ResourceClaim, driver string, a *identity.Allocation) []*Digest {
	digests := make([]*Digest, len(a.Shares))
	for i, share := range a.Shares {
		device := find(claim, driver, share)
		if _, data, err := Read(claim, driver, a, share); err != nil || data == nil {
			return nil
		}
		ready := meta.FindStatusCondition(device.Conditions, spaceapi.ConditionReady)
		failed := meta.FindStatusCondition(device.Conditions, spaceapi.ConditionFailed)
		digests[i] = &Digest{AllocationID: a.ID, sum: sum(ready, failed, device.Data.Raw)}
	}
	return digests
}

// Ready returns what is said about the share, and whether it is ready. It is Read for
// who does not need the space, and also knows digests.
func Ready(claim *resourceapi.ResourceClaim, driver string, a *identity.Allocation, share identity.Share) (*metav1.Condition, bool, error) {
	if digest := digestIn(find(claim, driver, share)); digest != nil {
		if digest.AllocationID != a.ID {
			return nil, false, nil
		}
		return &metav1.Condition{Type: spaceapi.ConditionReady, Status: metav1.ConditionTrue}, true, nil
	}
	ready, data, err := Read(claim, driver, a, share)
	return ready, data != nil, err
}

// of says whether the digest is of what the entry says.
func (d *Digest) of(e Entry) (bool, error) {
	if e.Data == nil || e.Failed {
		return false, nil
	}
	raw, err := e.encode()
	if err != nil {
		return false, err
	}
	ready, failed := e.Ready, failedCondition(e, metav1.Time{})
	ready.Type = spaceapi.ConditionReady
	return d.sum == sum(&ready, nil, raw) || d.sum == sum(&ready, &failed, raw), nil
}

// sum does not depend on when a condition began.
func sum(ready, failed *metav1.Condition, data []byte) (out [sha256.Size]byte) {
	h := sha256.New()
	for _, condition := range []*metav1.Condition{ready, failed} {
		if condition == nil {
			condition = &metav1.Condition{}
		}
		fmt.Fprintf(h, "%q %q %d %q %q\n", condition.Type, condition.Status, condition.ObservedGeneration, condition.Reason, condition.Message)
	}
	h.Write(data)
	h.Sum(out[:0])
	return out
}

func digestIn(device *resourceapi.AllocatedDeviceStatus) *Digest {
	if device == nil || device.Data == nil {
		return nil
	}
	digest, _ := device.Data.Object.(*Digest)
	return digest
}

func hasDigests(claim *resourceapi.ResourceClaim, driver string) bool {
	return slices.ContainsFunc(claim.Status.Devices, func(d resourceapi.AllocatedDeviceStatus) bool {
		return d.Driver == driver && digestIn(&d) != nil
	})
}
