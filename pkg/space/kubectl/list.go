// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/kubectl/pkg/cmd/get"
	"k8s.io/utils/ptr"
)

// list is the command kubectl space list.
type list struct {
	*options
	flags         *get.PrintFlags
	allNamespaces bool
	watch         bool

	printer printers.ResourcePrinter
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
		RunE: o.run(func(ctx context.Context, r *reader, _ []string) error { return l.run(ctx, r) }),
	}
	l.flags.AddFlags(cmd)
	cmd.Flags().BoolVarP(&l.allNamespaces, "all-namespaces", "A", false, "List the spaces of claims in all namespaces.")
	cmd.Flags().BoolVarP(&l.watch, "watch", "w", false, "After listing the spaces, show each one that changes.")
	return cmd
}

func (l *list) run(ctx context.Context, r *reader) error {
	var err error
	if l.printer, err = l.flags.ToPrinter(); err != nil {
		return err
	}
	if l.allNamespaces {
		r.namespace = ""
	}
	shown := map[string]spaceSummary{}
	for first := true; first || l.watch; first = false {
		s, spaces, err := l.read(ctx, r)
		if err != nil {
			return err
		}
		if first && l.human() {
			if len(spaces) == 0 && !l.watch {
				fmt.Fprintln(l.streams.ErrOut, "No resources found")
			}
			if note := s.note(); note != "" {
				fmt.Fprintln(l.streams.ErrOut, note)
			}
		}
		if err := l.print(s, changed(shown, spaces)); err != nil {
			return err
		}
		if !l.watch {
			continue
		}
		if err := r.await(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// human reports whether people read what is printed, and not programs.
func (l *list) human() bool {
	return *l.flags.OutputFormat == "" && *l.flags.TemplateFlags.TemplateArgument == "" || *l.flags.OutputFormat == "wide"
}

func (l *list) read(ctx context.Context, r *reader) (*snapshot, []spaceSummary, error) {
	s, err := r.read(ctx, r.namespace)
	if err == nil {
		err = r.readQuotas(ctx, s)
	}
	if err != nil {
		return nil, nil, err
	}
	spaces, err := sorted(s.spaces(r.namespace), *l.flags.HumanReadableFlags.SortBy)
	return s, spaces, err
}

// sorted sorts as kubectl get does, by a JSONPath.
func sorted(spaces []spaceSummary, path string) ([]spaceSummary, error) {
	if path == "" || len(spaces) == 0 {
		return spaces, nil
	}
	encoded, err := objectsOf(spaces)
	if err != nil {
		return nil, err
	}
	objects, err := meta.ExtractList(encoded)
	if err != nil {
		return nil, err
	}
	sorter, err := get.SortObjects(nil, objects, path)
	if err != nil {
		return nil, fmt.Errorf("sort by %q: %w", path, err)
	}
	out := make([]spaceSummary, len(spaces))
	for i := range out {
		out[i] = spaces[sorter.OriginalPosition(i)]
	}
	return out, nil
}

func newObjects() *unstructured.UnstructuredList {
	return &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List"}}
}

// objectsOf are the spaces as programs get them.
func objectsOf(spaces []spaceSummary) (*unstructured.UnstructuredList, error) {
	out := newObjects()
	for i := range spaces {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&spaces[i])
		if err != nil {
			return nil, fmt.Errorf("encode the space of ResourceClaim %s: %w", spaces[i].Metadata.Name, err)
		}
		out.Items = append(out.Items, unstructured.Unstructured{Object: content})
	}
	return out, nil
}

// namedBy are the claims of spaces, each once.
func namedBy(spaces []spaceSummary) *unstructured.UnstructuredList {
	out := newObjects()
	seen := map[types.NamespacedName]bool{}
	for _, space := range spaces {
		if name := (types.NamespacedName{Namespace: space.Metadata.Namespace, Name: space.Metadata.Name}); !seen[name] {
			seen[name] = true
			object := unstructured.Unstructured{}
			object.SetGroupVersionKind(resourceapi.SchemeGroupVersion.WithKind("ResourceClaim"))
			object.SetName(name.Name)
			out.Items = append(out.Items, object)
		}
	}
	return out
}

// print prints the spaces as a table, by the names that kubectl takes, or as objects: in one
// list, or one after the other if they are watched.
func (l *list) print(s *snapshot, spaces []spaceSummary) error {
	if l.human() {
		return l.printer.PrintObj(s.table(spaces, l.allNamespaces, *l.flags.OutputFormat == "wide"), l.streams.Out)
	}
	objects, err := objectsOf(spaces)
	if *l.flags.OutputFormat == "name" {
		objects = namedBy(spaces)
	}
	if err != nil {
		return err
	}
	if !l.watch {
		return l.printer.PrintObj(objects, l.streams.Out)
	}
	return objects.EachListItem(func(object runtime.Object) error { return l.printer.PrintObj(object, l.streams.Out) })
}

// table is the spaces as kubectl shows objects. The wide format names all pods.
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
		if nodes == none && len(space.Pods) > 0 && space.AllocationID != "" && s.mayNot(listPods) {
			nodes = unknown
		}
		cells := []any{
			space.Metadata.Namespace, space.Metadata.Name, orNone(space.Space), space.State, pods, nodes, orNone(space.Pool), s.mostUsed(space),
			age(s.now, space.Metadata.CreationTimestamp.Time),
			orNone(space.Request), orNone(space.Class), orNone(space.AllocationID), orNone(space.Message),
		}
		table.Rows = append(table.Rows, metav1.TableRow{Cells: cells[first:]})
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

const (
	none    = "<none>"
	unknown = "<unknown>"
)

// mostUsed is the resource of a quota that is used most.
func (s *snapshot) mostUsed(space spaceSummary) string {
	switch {
	case len(space.Quota) == 0 && space.State == stateReady && s.mayNot(listQuotas):
		return unknown
	case len(space.Quota) == 0:
		return none
	}
	q := space.Quota[0]
	return fmt.Sprintf("%s %s/%s", q.Resource, cmp.Or(q.Used, "?"), q.Hard)
}

// age is how long ago a time is, as kubectl shows it.
func age(now, since time.Time) string { return duration.HumanDuration(now.Sub(since)) }

// truncate joins the first of many, as kubectl shortens lists.
func truncate(items []string) string {
	const most = 3
	if len(items) <= most {
		return joined(items)
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(items[:most], ","), len(items)-most)
}

func joined(items []string) string { return orNone(strings.Join(items, ",")) }

func orNone(text string) string { return cmp.Or(text, none) }
