// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"slices"
	"testing"

	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"
)

// Otherwise, a namespace that is created in between would belong to no claim.
func TestRead_readsClaimsAfterNamespaces(t *testing.T) {
	client := fake.NewClientset()
	r := &reader{client: client, driver: driver, clock: clock.RealClock{}}
	if _, err := r.read(t.Context(), "team"); err != nil {
		t.Fatal(err)
	}
	var read []string
	for _, action := range client.Actions() {
		read = append(read, action.GetResource().Resource)
	}
	if slices.Index(read, "namespaces") > slices.Index(read, "resourceclaims") || slices.Index(read, "namespaces") < 0 {
		t.Errorf("read %v, want namespaces before resourceclaims", read)
	}
}
