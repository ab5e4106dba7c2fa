// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/spf13/cobra"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/kubectl/pkg/cmd/get"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
)

// list is the command kubectl space list.
type list struct {
	*options
	flags         *get.PrintFlags
	selector      string
	allNamespaces bool
	watch         bool
}

func newList(o *options) *cobra.Command {
	l := &list{options: o, flags: get.NewGetPrintFlags()}
	l.flags.HumanReadableFlags = &get.HumanPrintFlags{SortBy: ptr.To("")}
	cmd := &cobra.Command{
		Use:     "list [CLAIM ...]",
		Aliases: []string{"ls", "get"},
		Short:   "List spaces, and claims that wait for one",
		Long: "List spaces, claims that wait for one, and namespaces of deprovisioned spaces that still exist.\n" +
			"They are sorted by the namespace and the name of the claim, or by --sort-by.",
		Example: "  # List the spaces of claims in the current namespace\n  kubectl space list\n\n" +
			"  # List the spaces of two claims\n  kubectl space list my-claim other-claim\n\n" +
			"  # List the spaces of claims with a label\n  kubectl space list -l team=ci\n\n" +
			"  # List the spaces of all namespaces, the oldest first\n  kubectl space list -A --sort-by=.metadata.creationTimestamp\n\n" +
			"  # Show every change\n  kubectl space list -w\n\n" +
			"  # Print the names of the namespaces\n  kubectl space list -o jsonpath='{.items[*].space}'",
		ValidArgsFunction: o.completeNames(claimKind),
		RunE:              o.withReader(l.run),
	}
	l.flags.AddFlags(cmd)
	cmdutil.AddLabelSelectorFlagVar(cmd, &l.selector)
	cmd.Flags().BoolVarP(&l.allNamespaces, "all-namespaces", "A", false, "List the spaces of claims in all namespaces.")
	cmd.Flags().BoolVarP(&l.watch, "watch", "w", false, "After listing the spaces, show each one that changes.")
	return cmd
}

func (l *list) run(ctx context.Context, r *reader, args []string) error {
	printer, err := l.printer()
	if err != nil {
		return err
	}
	selector, err := labels.Parse(l.selector)
	switch {
	case err != nil:
		return err
	case len(args) > 0 && l.selector != "":
		return errors.New("name cannot be provided when a selector is specified")
	case len(args) > 0 && l.allNamespaces:
		return errors.New("a resource cannot be retrieved by name across all namespaces")
	case l.allNamespaces:
		r.namespace = ""
	}
	names := make([]string, len(args))
	for i, arg := range args {
		if _, names[i], err = parseArg(arg, claimKind); err != nil {
			return err
		}
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
		spaces := slices.DeleteFunc(s.spaces(r.namespace), func(space spaceSummary) bool {
			return len(names) > 0 && !slices.Contains(names, space.Name) || !selector.Matches(labels.Set(space.Labels))
		})
		if first && printsTable(l.flags) {
			if len(spaces) == 0 && len(names) == 0 && !l.watch {
				fmt.Fprintln(l.streams.ErrOut, "No resources found")
			}
			if note := s.note(); note != "" {
				fmt.Fprintln(l.streams.ErrOut, note)
			}
		}
		if err := l.print(printer, s, changed(shown, spaces)); err != nil {
			return err
		}
		if first {
			missing := l.each(names, func(name string) error { return s.mustHaveSpace(r.namespace, name, spaces) })
			if missing != nil || !l.watch {
				return missing
			}
		}
		if err := r.await(ctx, s); err != nil {
			return err
		}
	}
}

// mustHaveSpace returns an error if a claim is not among the spaces.
func (s *snapshot) mustHaveSpace(namespace, name string, spaces []spaceSummary) error {
	switch {
	case slices.ContainsFunc(spaces, func(space spaceSummary) bool { return space.Name == name }):
		return nil
	case s.claim(namespace, name) != nil:
		return fmt.Errorf("ResourceClaim %s requests no space", name)
	default:
		return apierrors.NewNotFound(resourceapi.Resource("resourceclaims"), name)
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

// print prints the spaces as a table, the names of their claims, or objects: in one list, or
// one after the other with --watch.
func (l *list) print(printer printers.ResourcePrinter, s *snapshot, spaces []spaceSummary) error {
	byName := *l.flags.OutputFormat == "name"
	if byName {
		spaces = slices.CompactFunc(spaces, func(a, b spaceSummary) bool { return a.Namespace == b.Namespace && a.Name == b.Name })
	}
	objects, err := listOf(spaces)
	if err != nil {
		return err
	}
	for i := range objects.Items {
		if byName { // what other commands accept
			objects.Items[i].SetGroupVersionKind(resourceapi.SchemeGroupVersion.WithKind("ResourceClaim"))
		}
	}
	switch {
	case printsTable(l.flags):
		table := s.table(spaces, l.allNamespaces, *l.flags.OutputFormat == "wide")
		for i := range table.Rows {
			table.Rows[i].Object.Object = &objects.Items[i] // what --sort-by refers to
		}
		var text bytes.Buffer
		err := printer.PrintObj(table, &text)
		fmt.Fprint(l.streams.Out, l.colored(text.String()))
		return err
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
	options := r.spaceListOptions()
	options.ResourceVersion = s.namespacesVersion
	var namespaceChanges <-chan watch.Event
	namespaces, err := r.client.CoreV1().Namespaces().Watch(ctx, options)
	switch {
	case err == nil:
		defer namespaces.Stop()
		namespaceChanges = namespaces.ResultChan()
	case !apierrors.IsForbidden(err):
		return err
	}
	select {
	case <-ctx.Done():
	case <-claims.ResultChan():
	case <-namespaceChanges:
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
		space.State = stateDeleted
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
