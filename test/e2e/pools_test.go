// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/space-dra/space-dra-driver/test/framework"
)

const poolsDriver = "pools.space.example.com"

func TestPools_shareBudgetsAndKeepSpacesInUse(t *testing.T) {
	t.Parallel()
	env.InstallAnotherRelease(t, "pools", "driverName="+poolsDriver, "controller.replicas=1",
		"deviceClasses[0].name=few", "deviceClasses[0].pool=few", "pools[0].name=few", "pools[0].limit=1",
		"deviceClasses[1].name=shared", "deviceClasses[1].pool=shared", "pools[1].name=shared", "pools[1].budget.total.cpu=4", "pools[1].budget.total.memory=8Gi",
		"pools[1].budget.default.cpu=1", "pools[1].budget.default.memory=1Gi", "pools[1].budget.min.memory=512Mi", "pools[1].budget.step.cpu=1",
		"deviceClasses[2].name=pair", `deviceClasses[2].selector=device.attributes["`+poolsDriver+`"].?tier.orValue("") == "pair"`,
		"pools[2].name=first", "pools[2].attributes.tier=pair", "pools[3].name=second", "pools[3].attributes.tier=pair")
	t.Run("a budget has a minimum and steps", testBudgetSteps)
	t.Run("a request for two spaces gets them from two pools", testTwoPools)
	t.Run("spaces of a removed pool continue to work", testRemovedPool)
}

// testTwoPools requests two spaces with a count. Each pool has one device, which can be shared, so that
// the request gets its second space from another pool.
func testTwoPools(t *testing.T) {
	ns := env.Namespace(t)
	claim := claimOf("claim", "pair")
	claim.Spec.Devices.Requests[0].Exactly.Count = 2
	env.CreateClaim(t, ns, claim)
	env.CreatePod(t, ns, framework.NewPod("pod", "claim"))
	first, second := env.SpaceOf(t, ns, "pod", "claim_space_0"), env.SpaceOf(t, ns, "pod", "claim_space_1")
	first.CheckUsable(t, ns, "pod")
	second.CheckUsable(t, ns, "pod")
	if first.Namespace == second.Namespace || first.Kubeconfig == second.Kubeconfig {
		t.Errorf("the spaces are %v and %v, want two", first, second)
	}
	env.DeletePod(t, ns, "pod")
	env.AwaitNamespaceDeleted(t, first.Namespace)
	env.AwaitNamespaceDeleted(t, second.Namespace)
}

// testBudgetSteps requests less than a step and less than the minimum.
func testBudgetSteps(t *testing.T) {
	env.Requires(t, "1.36", "consumable capacity")
	ns := env.Namespace(t)
	claim := claimOf("claim", "shared")
	claim.Spec.Devices.Requests[0].Exactly.Capacity = &resourceapi.CapacityRequirements{Requests: map[resourceapi.QualifiedName]resource.Quantity{
		"cpu": resource.MustParse("1200m"), "memory": resource.MustParse("100Mi"),
	}}
	env.Use(t, ns, claim, framework.NewPod("pod", "claim"))
	got := framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.SpacesReady(1)).Status.Allocation.Devices.Results[0].ConsumedCapacity
	if cpu, memory := got["cpu"], got["memory"]; cpu.String() != "2" || memory.String() != "512Mi" {
		t.Errorf("the claim consumes %v, want 2 CPUs and 512Mi of memory", got)
	}
	env.DeletePod(t, ns, "pod")
}

// testRemovedPool removes a pool from the Helm values while a space is in use.
func testRemovedPool(t *testing.T) {
	ns := env.Namespace(t)
	s := env.Use(t, ns, claimOf("claim", "few"), framework.NewPod("pod", "claim"))
	env.Helm(t, append([]string{"upgrade", "--namespace", "pools", "pools", framework.Chart()},
		framework.SetFlags("driverName="+poolsDriver, "controller.replicas=1", "pools[0].name=only", "pools[0].limit=1")...)...)
	framework.Eventually(t, "the only pool to be published", func(ctx context.Context) error {
		pools, err := env.TryKubectl(ctx, "get", "resourceslices", "--field-selector=spec.driver="+poolsDriver, "-o", "jsonpath={.items[*].spec.pool.name}")
		if err == nil && pools != "only" {
			err = fmt.Errorf("the pools are %s", pools)
		}
		return err
	})
	s.CheckUsable(t, ns, "pod")
	env.DeletePod(t, ns, "pod")
	env.AwaitNamespaceDeleted(t, s.Namespace)
}
