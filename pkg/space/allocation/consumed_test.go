// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package allocation_test

import (
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
)

func TestAShareSaysWhatItConsumes(t *testing.T) {
	consuming, plain := result("a"), result("b")
	consuming.ConsumedCapacity = map[resourceapi.QualifiedName]resource.Quantity{"cpu": resource.MustParse("2"), "spaces": resource.MustParse("1")}
	shares := allocation.FromClaim(claimWith(consuming, plain), driver).Results
	if got := shares[0].ConsumedCapacity; !equality.Semantic.DeepEqual(got, consuming.ConsumedCapacity) {
		t.Errorf("got %v, want %v", got, consuming.ConsumedCapacity)
	}
	if got := shares[1].ConsumedCapacity; got != nil {
		t.Errorf("a share of a pool without a limit consumes %v", got)
	}
}
