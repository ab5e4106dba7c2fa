// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pools

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/utils/ptr"
)

var (
	supported   = Unsupported{}
	unsupported = Unsupported{ShareableDevices: true, BindingConditions: true}
)

// parse parses and validates pools.
func parse(t *testing.T, text string) []Pool {
	t.Helper()
	pools, err := Parse([]byte("pools:\n" + text))
	if err != nil {
		t.Fatal(err)
	}
	return pools
}

func onlyDevice(t *testing.T, p resourceslice.Pool) resourceapi.Device {
	t.Helper()
	if len(p.Slices) != 1 || len(p.Slices[0].Devices) != 1 {
		t.Fatalf("got %+v, want one slice with one device", p)
	}
	return p.Slices[0].Devices[0]
}

func TestDevices_withoutLimitHaveNoCapacity(t *testing.T) {
	got := Set{Pools: []Pool{{Name: DefaultName}}, DedicatedDevices: 5}.ClusterResources(supported).Pools["spaces"]
	device := onlyDevice(t, got)
	if !ptr.Deref(device.AllowMultipleAllocations, false) {
		t.Error("the device can be allocated only once")
	}
	if device.Capacity != nil {
		t.Errorf("the device has a capacity, which limits it: %v", device.Capacity)
	}
	if msgs := validation.IsDNS1123Label(device.Name); len(msgs) > 0 {
		t.Errorf("device name %q: %s", device.Name, msgs)
	}
	if got := device.Attributes["pool"].StringValue; ptr.Deref(got, "") != "spaces" {
		t.Errorf("got attribute pool %v", got)
	}
}

func TestDevices_limitIsACapacity(t *testing.T) {
	set := Set{Pools: parse(t, "- {name: limited, limit: 3}\n- {name: local, perNode: {limit: 2}}")}
	pools := set.ClusterResources(supported).Pools
	maps.Copy(pools, set.NodeResources("n", nil, supported).Pools)
	for name, limit := range map[string]int64{"limited": 3, "local/n": 2} {
		device := onlyDevice(t, pools[name])
		if !ptr.Deref(device.AllowMultipleAllocations, false) {
			t.Errorf("%s: the device can be allocated only once", name)
		}
		capacity := device.Capacity["spaces"]
		if capacity.Value.Value() != limit {
			t.Errorf("%s: got a capacity of %s spaces, want %d", name, capacity.Value.String(), limit)
		}
		one := resource.MustParse("1")
		want := &resourceapi.CapacityRequestPolicy{Default: &one, ValidValues: []resource.Quantity{one}}
		if !equality.Semantic.DeepEqual(capacity.RequestPolicy, want) {
			t.Errorf("%s: got policy %v, want %v", name, capacity.RequestPolicy, want)
		}
	}
}

func TestDevices_budgetIsACapacity(t *testing.T) {
	set := Set{Pools: parse(t, `
- name: shared
  limit: 7
  budget:
    total: {cpu: "32", memory: 64Gi, limits_cpu: "64"}
    default: {cpu: "2", memory: 1Gi, limits_cpu: 500m}
    min: {cpu: "1", limits_cpu: 100m}
    max: {cpu: "8"}
    step: {cpu: "1"}
`)}
	capacity := onlyDevice(t, set.ClusterResources(supported).Pools["shared"]).Capacity
	if got := slices.Sorted(maps.Keys(capacity)); !slices.Equal(got, []resourceapi.QualifiedName{"cpu", "limits_cpu", "memory", "spaces"}) {
		t.Fatalf("got capacities %v", got)
	}
	q := func(s string) *resource.Quantity { return ptr.To(resource.MustParse(s)) }
	for name, want := range map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{
		"cpu": {Value: *q("32"), RequestPolicy: &resourceapi.CapacityRequestPolicy{Default: q("2"),
			ValidRange: &resourceapi.CapacityRequestPolicyRange{Min: q("1"), Max: q("8"), Step: q("1")}}},
		"limits_cpu": {Value: *q("64"), RequestPolicy: &resourceapi.CapacityRequestPolicy{Default: q("500m"),
			ValidRange: &resourceapi.CapacityRequestPolicyRange{Min: q("100m")}}},
		"memory": {Value: *q("64Gi"), RequestPolicy: &resourceapi.CapacityRequestPolicy{Default: q("1Gi"),
			ValidRange: &resourceapi.CapacityRequestPolicyRange{Min: q("0")}}},
	} {
		if !equality.Semantic.DeepEqual(capacity[name], want) {
			t.Errorf("%s: got %+v, want %+v", name, capacity[name], want)
		}
	}
}

func TestDevices_haveTheAttributesOfThePool(t *testing.T) {
	set := Set{Pools: parse(t, `- {name: p, attributes: {tier: gold, size: 3, fast: true, release: {version: 1.2.3}, text: "3"}}`)}
	for name, cluster := range map[string]Unsupported{"shareable": supported, "dedicated": unsupported} {
		set.DedicatedDevices = 1
		got := onlyDevice(t, set.ClusterResources(cluster).Pools["p"]).Attributes
		want := map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
			"pool": {StringValue: ptr.To("p")}, "tier": {StringValue: ptr.To("gold")}, "text": {StringValue: ptr.To("3")},
			"size": {IntValue: ptr.To[int64](3)}, "fast": {BoolValue: ptr.To(true)}, "release": {VersionValue: ptr.To("1.2.3")},
		}
		if !equality.Semantic.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestDevices_haveBindingConditionsIfConfigured(t *testing.T) {
	pools := parse(t, "- {name: with, bindingConditions: true}\n- {name: without, bindingConditions: false}\n- {name: unset}")
	for _, installation := range []bool{false, true} {
		set := Set{Pools: pools, BindingConditions: installation}
		for name, want := range map[string]bool{"with": true, "without": false, "unset": installation} {
			device := onlyDevice(t, set.ClusterResources(supported).Pools[name])
			if got := len(device.BindingConditions) == 1 && len(device.BindingFailureConditions) == 1; got != want {
				t.Errorf("installation %t, pool %s: got binding conditions: %t", installation, name, got)
			}
			device = onlyDevice(t, set.ClusterResources(Unsupported{BindingConditions: true}).Pools[name])
			if len(device.BindingConditions)+len(device.BindingFailureConditions) > 0 {
				t.Errorf("pool %s has binding conditions in a cluster that does not support them", name)
			}
		}
	}
}

func TestDevices_dedicatedDevicesFitIntoSlices(t *testing.T) {
	for _, test := range []struct {
		devices int
		slices  []int
	}{{1, []int{1}}, {127, []int{127}}, {128, []int{128}}, {129, []int{128, 1}}, {300, []int{128, 128, 44}}} {
		t.Run(fmt.Sprintf("%d devices", test.devices), func(t *testing.T) {
			pool := Set{Pools: []Pool{{Name: DefaultName}}, DedicatedDevices: test.devices}.ClusterResources(unsupported).Pools["spaces"]
			var got []int
			names := map[string]bool{}
			for _, slice := range pool.Slices {
				got = append(got, len(slice.Devices))
				for _, device := range slice.Devices {
					names[device.Name] = true
					if device.AllowMultipleAllocations != nil || device.Capacity != nil {
						t.Errorf("device %s is shareable", device.Name)
					}
					if msgs := validation.IsDNS1123Label(device.Name); len(msgs) > 0 {
						t.Errorf("device name %q: %s", device.Name, msgs)
					}
				}
			}
			if !slices.Equal(got, test.slices) {
				t.Errorf("got slices of %v devices, want %v", got, test.slices)
			}
			if len(names) != test.devices {
				t.Errorf("got %d different names, want %d", len(names), test.devices)
			}
		})
	}
}

func TestDevices_limitAndBudgetBoundDedicatedDevices(t *testing.T) {
	for text, want := range map[string]int{
		"- {name: p}":                       50,
		"- {name: p, limit: 3}":             3,
		"- {name: p, limit: 60}":            60,
		"- {name: p, perNode: {limit: 70}}": 70,
		`- {name: p, budget: {total: {cpu: "8", pods: "100"}, default: {cpu: 1500m, pods: "10"}}}`:   5,
		`- {name: p, limit: 2, budget: {total: {cpu: "8"}, default: {cpu: "1"}}}`:                    2,
		`- {name: p, limit: 20, budget: {total: {cpu: "8"}, default: {cpu: "1"}}}`:                   8,
		`- {name: p, budget: {total: {memory: 1Ti, cpu: "1"}, default: {memory: 1Mi, cpu: "0"}}}`:    50,
		`- {name: p, budget: {total: {memory: 64Gi}, default: {memory: 64Gi}, step: {memory: 1Gi}}}`: 1,
	} {
		t.Run(text, func(t *testing.T) {
			set := Set{Pools: parse(t, text), DedicatedDevices: 50}
			got := 0
			pools := set.ClusterResources(unsupported).Pools
			maps.Copy(pools, set.NodeResources("n", nil, unsupported).Pools)
			for _, p := range pools {
				for _, slice := range p.Slices {
					got += len(slice.Devices)
				}
			}
			if got != want {
				t.Errorf("got %d devices, want %d", got, want)
			}
		})
	}
}
