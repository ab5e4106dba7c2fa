// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// Pool is a published pool and what is used of it.
type Pool struct {
	// Name is as in ResourceSlices; the configured one is Configured.
	Name       string `json:"name"`
	Configured string `json:"configured"`
	// Nodes are those that only can have its spaces, if it names them.
	Nodes []string `json:"nodes,omitempty"`
	// Amounts begin with the number of spaces.
	Amounts []Amount `json:"amounts"`
}

// Amount is how much there is of one thing in a pool.
type Amount struct {
	Resource string            `json:"resource"`
	Used     resource.Quantity `json:"used"`
	// Total is nil if there is no limit.
	Total *resource.Quantity `json:"total,omitempty"`
}

// Free is what is left, or nil without a limit.
func (a Amount) Free() *resource.Quantity {
	if a.Total == nil {
		return nil
	}
	free := a.Total.DeepCopy()
	free.Sub(a.Used)
	if free.Sign() < 0 {
		free = resource.Quantity{}
	}
	return &free
}

// Pools are the driver's pools by name. What is used is of the claims that were read.
func (s *Snapshot) Pools() []Pool {
	newest := map[string]int64{}
	for _, slice := range s.Slices {
		if slice.Spec.Driver == s.Driver {
			newest[slice.Spec.Pool.Name] = max(newest[slice.Spec.Pool.Name], slice.Spec.Pool.Generation)
		}
	}
	pools := map[string]*Pool{}
	totals := map[string]map[string]*resource.Quantity{}
	for _, slice := range s.Slices {
		name := slice.Spec.Pool.Name
		if slice.Spec.Driver != s.Driver || slice.Spec.Pool.Generation != newest[name] {
			continue
		}
		if pools[name] == nil {
			pools[name] = &Pool{Name: name, Configured: name}
			totals[name] = map[string]*resource.Quantity{}
		}
		if node := ptr.Deref(slice.Spec.NodeName, ""); node != "" {
			pools[name].Nodes = []string{node}
		}
		for _, device := range slice.Spec.Devices {
			if a := device.Attributes[spaceapi.PoolAttribute]; a.StringValue != nil {
				pools[name].Configured = *a.StringValue
			}
			addTotals(totals[name], device)
		}
	}
	for name, total := range totals {
		used := s.usedOf(name)
		for what, most := range total {
			pools[name].Amounts = append(pools[name].Amounts, Amount{Resource: what, Used: used[what], Total: most})
		}
		slices.SortFunc(pools[name].Amounts, func(a, b Amount) int {
			return cmp.Or(-compareBool(a.Resource == spaceapi.SlotCapacity, b.Resource == spaceapi.SlotCapacity), cmp.Compare(a.Resource, b.Resource))
		})
	}
	var out []Pool
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		out = append(out, *pools[name])
	}
	return out
}

func compareBool(a, b bool) int { return cmp.Compare(btoi(a), btoi(b)) }

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// addTotals adds what one device has. One that can't be shared is one space.
func addTotals(total map[string]*resource.Quantity, device resourceapi.Device) {
	add := func(name string, q resource.Quantity) {
		if total[name] == nil {
			total[name] = &resource.Quantity{Format: q.Format}
		}
		total[name].Add(q)
	}
	if !ptr.Deref(device.AllowMultipleAllocations, false) {
		add(spaceapi.SlotCapacity, *resource.NewQuantity(1, resource.DecimalSI))
		return
	}
	if _, limited := device.Capacity[spaceapi.SlotCapacity]; !limited {
		total[spaceapi.SlotCapacity] = nil
	}
	for name, capacity := range device.Capacity {
		add(string(name), capacity.Value)
	}
}

// usedOf is what claims have of a pool.
func (s *Snapshot) usedOf(pool string) map[string]resource.Quantity {
	used := map[string]resource.Quantity{}
	for i := range s.Claims {
		if s.Claims[i].Status.Allocation == nil {
			continue
		}
		for _, result := range s.Claims[i].Status.Allocation.Devices.Results {
			if result.Driver != s.Driver || result.Pool != pool || ptr.Deref(result.AdminAccess, false) {
				continue
			}
			consumed := map[string]resource.Quantity{spaceapi.SlotCapacity: *resource.NewQuantity(1, resource.DecimalSI)}
			for name, q := range result.ConsumedCapacity {
				consumed[string(name)] = q
			}
			for name, q := range consumed {
				sum := used[name]
				sum.Add(q)
				used[name] = sum
			}
		}
	}
	return used
}

// fits says which amount of a pool has no room for a claim, or nothing. Without a word
// of the claim, a budget's part is its default, which is the pool's to know.
func (s *Snapshot) fits(pool Pool, claim *resourceapi.ResourceClaim) *Amount {
	for i, amount := range pool.Amounts {
		free := amount.Free()
		if free == nil {
			continue
		}
		if want := s.wanted(pool.Name, amount.Resource, claim); free.Cmp(want) < 0 {
			return &pool.Amounts[i]
		}
	}
	return nil
}

// wanted is how much of one thing the requests of a claim would have of a pool.
func (s *Snapshot) wanted(pool, what string, claim *resourceapi.ResourceClaim) resource.Quantity {
	one := s.defaultOf(pool, what)
	var sum resource.Quantity
	for _, request := range claim.Spec.Devices.Requests {
		if !slices.ContainsFunc(classesOf(request), s.gives) {
			continue // another driver's
		}
		part := one
		if request.Exactly != nil && request.Exactly.Capacity != nil && what != spaceapi.SlotCapacity {
			if q, asked := request.Exactly.Capacity.Requests[resourceapi.QualifiedName(what)]; asked {
				part = q
			}
		}
		sum.Add(part)
	}
	return sum
}

// defaultOf is what a request has of a pool that says nothing of it.
func (s *Snapshot) defaultOf(pool, what string) resource.Quantity {
	if what == spaceapi.SlotCapacity {
		return *resource.NewQuantity(1, resource.DecimalSI)
	}
	for _, slice := range s.Slices {
		if slice.Spec.Driver != s.Driver || slice.Spec.Pool.Name != pool {
			continue
		}
		for _, device := range slice.Spec.Devices {
			if policy := device.Capacity[resourceapi.QualifiedName(what)].RequestPolicy; policy != nil && policy.Default != nil {
				return *policy.Default
			}
		}
	}
	return resource.Quantity{}
}

// poolsFor are the pools that a claim can have spaces of, as far as its selectors name
// pools. If they name none, all are.
func (s *Snapshot) poolsFor(claim *resourceapi.ResourceClaim) []Pool {
	var expressions strings.Builder
	add := func(selectors []resourceapi.DeviceSelector) {
		for _, selector := range selectors {
			if selector.CEL != nil {
				expressions.WriteString(selector.CEL.Expression + "\n")
			}
		}
	}
	names := ClassesOf(claim)
	for _, class := range s.Classes {
		if slices.Contains(names, class.Name) {
			add(class.Spec.Selectors)
		}
	}
	for _, request := range claim.Spec.Devices.Requests {
		if request.Exactly != nil {
			add(request.Exactly.Selectors)
		}
	}
	all, text := s.Pools(), expressions.String()
	named := slices.DeleteFunc(slices.Clone(all), func(p Pool) bool {
		return !strings.Contains(text, `"`+p.Configured+`"`) && !strings.Contains(text, `'`+p.Configured+`'`)
	})
	if len(named) > 0 {
		return named
	}
	return all
}
