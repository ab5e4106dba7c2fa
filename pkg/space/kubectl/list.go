// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/kubectl/pkg/cmd/get"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
)

// list is the command kubectl space list.
type list struct {
	*options
	flags         *get.PrintFlags
	allNamespaces bool
	watch         bool
}

func newList(o *options) *cobra.Command {
	l := &list{options: o, flags: get.NewGetPrintFlags()}
	l.flags.HumanReadableFlags = &get.HumanPrintFlags{SortBy: ptr.To("")}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls", "get"},
		Short:   "List spaces, and claims that wait for one",
		Example: "  # Spaces of claims in the current namespace\n  kubectl space list\n\n" +
			"  # Those of all namespaces, with what is used most of a quota last\n  kubectl space list -A --sort-by='.quota[*].percent'\n\n" +
			"  # Show every change\n  kubectl space list -w\n\n" +
			"  # The names of their namespaces\n  kubectl space list -o jsonpath='{.items[*].space}'",
		Args: cobra.NoArgs,
		RunE: o.withReader(func(ctx context.Context, r *reader, _ []string) error { return l.run(ctx, r) }),
	}
	l.flags.AddFlags(cmd)
	cmd.Flags().BoolVarP(&l.allNamespaces, "all-namespaces", "A", false, "List the spaces of claims in all namespaces.")
	cmd.Flags().BoolVarP(&l.watch, "watch", "w", false, "After listing the spaces, show each one that changes.")
	return cmd
}

func (l *list) run(ctx context.Context, r *reader) error {
	printer, err := l.printer()
	if err != nil {
		return err
	}
	if l.allNamespaces {
		r.namespace = ""
	}
	shown := map[string]spaceSummary{}
	for first := true; ; first = false {
		s, err := r.read(ctx, r.namespace)
		if err == nil {
			err = r.readQuotas(ctx, s)
		}
		if err == nil {
			err = r.readEvents(ctx, s, claimEvents, r.namespace)
		}
		if err != nil {
			return err
		}
		spaces := s.spaces(r.namespace)
		if first && l.printsTable() {
			if len(spaces) == 0 && !l.watch {
				fmt.Fprintln(l.streams.ErrOut, "No resources found")
			}
			if note := s.note(); note != "" {
				fmt.Fprintln(l.streams.ErrOut, note)
			}
		}
		if err := l.print(printer, s, changed(shown, spaces)); err != nil {
			return err
		}
		if !l.watch {
			return nil
		}
		if err := r.await(ctx, s); err != nil {
			return err
		}
	}
}

// printer returns the printer for --output and --sort-by.
func (l *list) printer() (printers.ResourcePrinter, error) {
	printer, err := l.flags.ToPrinter()
	if path := *l.flags.HumanReadableFlags.SortBy; path != "" {
		printer = &get.SortingPrinter{SortField: path, Delegate: printer}
	}
	return printer, err
}

// printsTable reports whether the output is a table for people.
func (l *list) printsTable() bool {
	return *l.flags.OutputFormat == "" && *l.flags.TemplateFlags.TemplateArgument == "" || *l.flags.OutputFormat == "wide"
}

// print prints the spaces as a table, the names of their claims, or objects: in one list, or
// one after the other with --watch.
func (l *list) print(printer printers.ResourcePrinter, s *snapshot, spaces []spaceSummary) error {
	byName := *l.flags.OutputFormat == "name"
	if byName {
		spaces = slices.CompactFunc(spaces, func(a, b spaceSummary) bool { return a.Namespace == b.Namespace && a.Name == b.Name })
	}
	objects := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List"}}
	for i := range spaces {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&spaces[i])
		if err != nil {
			return fmt.Errorf("encode the space of ResourceClaim %s: %w", spaces[i].Name, err)
		}
		object := unstructured.Unstructured{Object: content}
		if byName {
			object.SetGroupVersionKind(resourceapi.SchemeGroupVersion.WithKind("ResourceClaim"))
		}
		objects.Items = append(objects.Items, object)
	}
	switch {
	case l.printsTable():
		table := s.table(spaces, l.allNamespaces, *l.flags.OutputFormat == "wide")
		for i := range table.Rows {
			table.Rows[i].Object.Object = &objects.Items[i] // what --sort-by refers to
		}
		return printer.PrintObj(table, l.streams.Out)
	case l.watch:
		return objects.EachListItem(func(object runtime.Object) error { return printer.PrintObj(object, l.streams.Out) })
	default:
		return printer.PrintObj(objects, l.streams.Out)
	}
}

// watchDelay is the time for which changes are collected before everything is read again.
const watchDelay = 500 * time.Millisecond

// await waits until claims in the reader's namespace, or namespaces of spaces, change after a
// snapshot. It also returns when the API server closes a watch. Without permission to watch
// namespaces, it waits for claims only.
func (r *reader) await(ctx context.Context, s *snapshot) error {
	claims, err := r.client.ResourceV1().ResourceClaims(r.namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: s.claimsVersion})
	if err != nil {
		return err
	}
	defer claims.Stop()
	options := r.ofSpaces()
	options.ResourceVersion = s.namespacesVersion
	var ofNamespaces <-chan watch.Event
	namespaces, err := r.client.CoreV1().Namespaces().Watch(ctx, options)
	switch {
	case err == nil:
		defer namespaces.Stop()
		ofNamespaces = namespaces.ResultChan()
	case !apierrors.IsForbidden(err):
		return err
	}
	select {
	case <-ctx.Done():
	case <-claims.ResultChan():
	case <-ofNamespaces:
	}
	select {
	case <-ctx.Done():
	case <-r.clock.After(watchDelay):
	}
	return ctx.Err()
}

// changed returns the spaces that differ from those shown, and those that no longer exist.
// It updates shown.
func changed(shown map[string]spaceSummary, spaces []spaceSummary) []spaceSummary {
	var out []spaceSummary
	current, claims := map[string]bool{}, map[types.UID]bool{}
	for _, space := range spaces {
		// The suffix of a namespace's name is known from the allocation on. A pending claim has none.
		name := cmp.Or(space.Result.NamespaceName(""), space.Space)
		key := string(space.UID) + "/" + name[max(0, len(name)-allocation.SuffixLength):]
		current[key], claims[space.UID] = true, true
		if last, known := shown[key]; !known || !reflect.DeepEqual(last, space) {
			shown[key] = space
			out = append(out, space)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(shown)) {
		space := shown[key]
		if current[key] {
			continue
		}
		delete(shown, key)
		// The claim was pending, and has a space now.
		if space.AllocationID == "" && claims[space.UID] {
			continue
		}
		space.State = stateGone
		out = append(out, space)
	}
	return out
}

// table returns a row for each space. The wide format names all pods.
func (s *snapshot) table(spaces []spaceSummary, allNamespaces, wide bool) *metav1.Table {
	table := newTable("Namespace", "Claim", "Space", "State", "Pods", "Nodes", "Pool", "Quota", "Age", "Request", "Class", "Allocation", "Message")
	for i := range table.ColumnDefinitions[9:] {
		table.ColumnDefinitions[9+i].Priority = 1
	}
	first := 1
	if allNamespaces {
		first = 0
	}
	table.ColumnDefinitions = table.ColumnDefinitions[first:]
	for _, space := range spaces {
		pods, nodes := truncate(space.Pods), joined(space.Nodes)
		if wide {
			pods = joined(space.Pods)
		}
		if nodes == none && len(space.Pods) > 0 && space.AllocationID != "" && s.lacks(listPods) {
			nodes = unknown
		}
		cells := []string{
			space.Namespace, space.Name, orNone(space.Space), space.State, pods, nodes, orNone(space.Pool), s.mostUsed(space),
			age(s.now, space.CreationTimestamp.Time),
			orNone(space.Request), orNone(space.Class), orNone(space.AllocationID), orNone(space.Message),
		}
		table.Rows = append(table.Rows, row(cells[first:]...))
	}
	return table
}

func newTable(columns ...string) *metav1.Table {
	table := &metav1.Table{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "Table"}}
	for _, name := range columns {
		table.ColumnDefinitions = append(table.ColumnDefinitions, metav1.TableColumnDefinition{Name: name, Type: "string"})
	}
	return table
}

func row(cells ...string) metav1.TableRow {
	var r metav1.TableRow
	for _, cell := range cells {
		r.Cells = append(r.Cells, escape(cell))
	}
	return r
}

const (
	none    = "<none>"
	unknown = "<unknown>"
)

// mostUsed returns the most-used resource of a quota.
func (s *snapshot) mostUsed(space spaceSummary) string {
	switch {
	case len(space.Quota) == 0 && space.State == stateReady && s.lacks(listQuotas):
		return unknown
	case len(space.Quota) == 0:
		return none
	}
	q := space.Quota[0]
	return fmt.Sprintf("%s %s/%s", q.Resource, cmp.Or(q.Used, "?"), q.Hard)
}

// age returns the time from since until now, in kubectl's format.
func age(now, since time.Time) string { return duration.HumanDuration(now.Sub(since)) }

// truncate joins the first three of a list, and counts the rest.
func truncate(items []string) string {
	const most = 3
	if len(items) <= most {
		return joined(items)
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(items[:most], ","), len(items)-most)
}

func joined(items []string) string { return orNone(strings.Join(items, ",")) }

func orNone(text string) string { return cmp.Or(text, none) }
