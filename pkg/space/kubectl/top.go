// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/cmd/get"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

func newTop(o *options) *cobra.Command {
	flags := get.NewGetPrintFlags()
	flags.HumanReadableFlags = &get.HumanPrintFlags{}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show how much of the pools is used and free",
		Long: "Show how much of the pools is used and free.\n" +
			"It needs permission to list resourceslices, and counts only claims that you can list.",
		Example: "  # Show the pools of the driver\n  kubectl space top\n\n" +
			"  # Print what is free of each resource of a pool\n  kubectl space top -o jsonpath='{.items[?(@.metadata.name==\"spaces\")].resources[*].free}'",
		Args: cobra.NoArgs,
		RunE: o.withReader(func(ctx context.Context, r *reader, _ []string) error {
			printer, err := flags.ToPrinter()
			if err != nil {
				return err
			}
			published, err := r.listSlices(ctx) // without these there is nothing to show
			if err != nil {
				return err
			}
			s, err := r.readAll(ctx, r.namespace)
			if err != nil {
				return err
			}
			s.slices = published
			if s.lacks(listAllClaims) {
				fmt.Fprintln(o.streams.ErrOut, "USED includes only claims that you can list. "+s.note())
			}
			summaries := s.poolSummaries()
			if !printsTable(flags) {
				objects, err := listOf(summaries)
				if err != nil {
					return err
				}
				return printer.PrintObj(objects, o.streams.Out)
			}
			if len(summaries) == 0 {
				fmt.Fprintln(o.streams.ErrOut, "No resources found")
			}
			return printer.PrintObj(poolTable(summaries), o.streams.Out)
		}),
	}
	flags.AddFlags(cmd)
	return cmd
}

// poolSummary describes one pool. Programs read it: new versions only add fields.
type poolSummary struct {
	metav1.TypeMeta `json:",inline"`
	// ObjectMeta has the name of the pool: for a pool per node, <pool>/<node>.
	metav1.ObjectMeta `json:"metadata"`
	// NodeName is the node of a pool per node.
	NodeName string `json:"nodeName,omitempty"`
	// Resources has the number of spaces first.
	Resources []resourceUsage `json:"resources"`
	// Deprovisioned is the number of deprovisioned spaces whose namespaces still exist. It is nil if
	// it is not known.
	Deprovisioned *int64 `json:"deprovisioned,omitempty"`
}

// resourceUsage is the usage of one resource of a pool. Without a limit, Free and Total are empty.
type resourceUsage struct {
	Resource string `json:"resource"`
	Used     string `json:"used"`
	Free     string `json:"free,omitempty"`
	Total    string `json:"total,omitempty"`
}

func (s *snapshot) poolSummaries() []poolSummary {
	deprovisioned := map[string]int64{}
	for _, space := range s.deprovisionedSpaces("", "") {
		deprovisioned[space.Pool]++
	}
	var out []poolSummary
	for _, pool := range s.pools() {
		summary := poolSummary{TypeMeta: metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: "Pool"}, ObjectMeta: metav1.ObjectMeta{Name: pool.name}, NodeName: pool.node}
		if !s.lacks(listNamespaces) {
			summary.Deprovisioned = ptr.To(deprovisioned[pool.name])
		}
		for _, name := range pool.resources() {
			used := pool.used[name]
			usage := resourceUsage{Resource: name, Used: used.String()}
			if limit, limited := pool.total[name]; limited {
				usage.Total = limit.String()
				limit.Sub(used)
				usage.Free = limit.String()
			}
			summary.Resources = append(summary.Resources, usage)
		}
		out = append(out, summary)
	}
	return out
}

// poolTable returns a row for each resource of each pool.
func poolTable(pools []poolSummary) *metav1.Table {
	const unlimited = "<unlimited>"
	table := newTable("Pool", "Nodes", "Resource", "Used", "Free", "Total", "Deprovisioned")
	for _, pool := range pools {
		deprovisioned := unknown
		if pool.Deprovisioned != nil {
			deprovisioned = strconv.FormatInt(*pool.Deprovisioned, 10)
		}
		for _, usage := range pool.Resources {
			table.Rows = append(table.Rows, row(pool.Name, cmp.Or(pool.NodeName, "<any>"), usage.Resource, usage.Used, cmp.Or(usage.Free, unlimited), cmp.Or(usage.Total, unlimited), deprovisioned))
			deprovisioned = "" // Namespaces do not record how much of a budget their spaces used.
		}
	}
	return table
}

// pool is a published pool.
type pool struct {
	// name is that of the ResourceSlices: for a pool per node, <pool>/<node>.
	name string
	// node is the node of a pool per node, or empty.
	node string
	// used and total are by resource. A resource without a total has no limit.
	used, total map[string]resource.Quantity
	// consumers are what uses it: pods, and claims that no pod uses.
	consumers []string
}

// pools returns the driver's pools by name, with what the claims of the snapshot use.
func (s *snapshot) pools() []*pool {
	newest := map[string]int64{}
	for _, slice := range s.slices {
		newest[slice.Spec.Pool.Name] = max(newest[slice.Spec.Pool.Name], slice.Spec.Pool.Generation)
	}
	pools := map[string]*pool{}
	for _, slice := range s.slices {
		name := slice.Spec.Pool.Name
		if slice.Spec.Pool.Generation != newest[name] {
			continue
		}
		if pools[name] == nil {
			pools[name] = &pool{name, ptr.Deref(slice.Spec.NodeName, ""), map[string]resource.Quantity{}, map[string]resource.Quantity{}, nil}
		}
		total := pools[name].total
		for _, device := range slice.Spec.Devices {
			if !ptr.Deref(device.AllowMultipleAllocations, false) {
				add(total, spaceapi.SpacesCapacity, resource.MustParse("1"))
				continue
			}
			for name, capacity := range device.Capacity {
				add(total, string(name), capacity.Value)
			}
		}
	}
	for _, claim := range s.claims {
		for _, result := range ptr.Deref(claim.Status.Allocation, resourceapi.AllocationResult{}).Devices.Results {
			p := pools[result.Pool]
			if p == nil || result.Driver != s.driver || ptr.Deref(result.AdminAccess, false) {
				continue
			}
			p.consumers = append(p.consumers, consumersOf(&claim)...)
			for capacity, part := range result.ConsumedCapacity {
				add(p.used, string(capacity), part)
			}
			if _, counted := result.ConsumedCapacity[spaceapi.SpacesCapacity]; !counted {
				add(p.used, spaceapi.SpacesCapacity, resource.MustParse("1"))
			}
		}
	}
	return slices.SortedFunc(maps.Values(pools), func(a, b *pool) int { return cmp.Compare(a.name, b.name) })
}

// add adds a quantity to the sum of this name.
func add(sums map[string]resource.Quantity, name string, q resource.Quantity) {
	sum := sums[name]
	sum.Add(q)
	sums[name] = sum
}

// resources returns the resources of a pool, the number of spaces first.
func (p *pool) resources() []string {
	limited := slices.DeleteFunc(slices.Sorted(maps.Keys(p.total)), func(name string) bool { return name == spaceapi.SpacesCapacity })
	return slices.Concat([]string{spaceapi.SpacesCapacity}, limited)
}

// usage returns a clause about the usage of a pool.
func (p *pool) usage() string {
	var parts []string
	for _, name := range p.resources() {
		if total, limited := p.total[name]; limited {
			used := p.used[name]
			parts = append(parts, fmt.Sprintf("%s of %s %s of pool %s are in use", used.String(), total.String(), name, p.name))
		}
	}
	return cmp.Or(strings.Join(parts, ", "), fmt.Sprintf("pool %s has no limit", p.name))
}

// poolsFor returns the pools that the selectors of a claim name, or all if they name none.
func (s *snapshot) poolsFor(claim *resourceapi.ResourceClaim) []*pool {
	var selectors []resourceapi.DeviceSelector
	for _, name := range classesOf(claim) {
		if class := s.class(name); class != nil {
			selectors = append(selectors, class.Spec.Selectors...)
		}
	}
	for _, request := range claim.Spec.Devices.Requests {
		if request.Exactly != nil {
			selectors = append(selectors, request.Exactly.Selectors...)
		}
	}
	all := s.pools()
	named := slices.DeleteFunc(slices.Clone(all), func(p *pool) bool {
		configured, _, _ := strings.Cut(p.name, "/")
		return !slices.ContainsFunc(selectors, func(selector resourceapi.DeviceSelector) bool { return mentions(selector, configured) })
	})
	if len(named) > 0 {
		return named
	}
	return all
}
