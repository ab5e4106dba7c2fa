// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/space-dra/space-dra-driver/pkg/space/kubectl/model"
)

// list is what kubectl space list does.
type list struct {
	*options
	printing      *genericclioptions.PrintFlags
	output        string
	sortBy        string
	allNamespaces bool
	watch         bool
	noHeaders     bool
}

func newList(o *options) *cobra.Command {
	l := &list{options: o, printing: genericclioptions.NewPrintFlags("")}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls", "get"},
		Short:   "List spaces, and claims that wait for one",
		Example: "  kubectl space list -A --sort-by quota\n  kubectl space list -o jsonpath='{.items[*].space}'",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return l.run(cmd.Context()) },
	}
	l.printing.AddFlags(cmd)
	cmd.Flags().Lookup("output").Usage = "Output format: wide, name, json, yaml, or a template as for kubectl get."
	cmd.Flags().BoolVarP(&l.allNamespaces, "all-namespaces", "A", false, "Show the spaces of claims in all namespaces.")
	cmd.Flags().BoolVarP(&l.watch, "watch", "w", false, "After listing them, show each space that changes.")
	cmd.Flags().BoolVar(&l.noHeaders, "no-headers", false, "Leave out the columns' names.")
	cmd.Flags().StringVar(&l.sortBy, "sort-by", "", "Sort by age, claim, namespace, space, state, pods, nodes, pool, quota, or by a field as a JSONPath.")
	o.completeWith(cmd, "output", append([]string{"wide"}, l.printing.AllowedFormats()...))
	o.completeWith(cmd, "sort-by", model.SortKeys())
	return cmd
}

func (l *list) run(ctx context.Context) error {
	l.output = *l.printing.OutputFormat
	if l.watch && l.output != "" && l.output != "wide" && l.output != "name" {
		return fmt.Errorf("--watch goes with -o wide and -o name only, not with -o %s", l.output)
	}
	r, namespace, err := l.reader()
	if err != nil {
		return err
	}
	if l.allNamespaces {
		namespace = ""
	}
	if l.watch {
		return l.follow(ctx, r, namespace)
	}
	snapshot, spaces, err := l.read(ctx, r, namespace)
	if err != nil {
		return err
	}
	if err := l.show(snapshot, spaces, l.noHeaders); err != nil {
		return err
	}
	if note := snapshot.Note(); note != "" && !l.toPrograms() {
		fmt.Fprintln(l.streams.ErrOut, note)
	}
	return nil
}

func (l *list) read(ctx context.Context, r *reader, namespace string) (*model.Snapshot, []model.Space, error) {
	snapshot, err := r.claims(ctx, namespace)
	if err != nil {
		return nil, nil, err
	}
	if err := r.spaces(ctx, snapshot, snapshot.Claims); err != nil {
		return nil, nil, err
	}
	spaces := snapshot.Spaces(namespace)
	return snapshot, spaces, model.Sort(spaces, l.sortBy)
}

// toPrograms says whether what is printed is for programs to read.
func (l *list) toPrograms() bool { return l.output != "" && l.output != "wide" }

func (l *list) show(snapshot *model.Snapshot, spaces []model.Space, noHeaders bool) error {
	switch {
	case l.output == "name":
		return printNames(l.streams.Out, spaces)
	case l.toPrograms():
		printer, err := l.printing.ToPrinter()
		if err != nil {
			return err
		}
		object, err := objects(spaces)
		if err != nil {
			return err
		}
		return printer.PrintObj(object, l.streams.Out)
	case len(spaces) == 0:
		if !l.watch {
			fmt.Fprintln(l.streams.ErrOut, "No spaces found.")
		}
		return nil
	}
	return printTable(l.streams.Out, snapshot.Table(spaces, l.allNamespaces), l.output == "wide", noHeaders)
}

// printNames prints each claim once, as kubectl takes it.
func printNames(out io.Writer, spaces []model.Space) error {
	seen := map[string]bool{}
	for _, space := range spaces {
		if seen[space.Metadata.UID] {
			continue
		}
		seen[space.Metadata.UID] = true
		if _, err := fmt.Fprintf(out, "resourceclaim.resource.k8s.io/%s\n", space.Metadata.Name); err != nil {
			return err
		}
	}
	return nil
}

// objects are the spaces as a list for kubectl's printers.
func objects(spaces []model.Space) (runtime.Object, error) {
	list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List"}}
	for i := range spaces {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&spaces[i])
		if err != nil {
			return nil, fmt.Errorf("print the space of claim %s: %w", spaces[i].Metadata.Name, err)
		}
		list.Items = append(list.Items, unstructured.Unstructured{Object: content})
	}
	return list, nil
}

func printTable(out io.Writer, table *metav1.Table, wide, noHeaders bool) error {
	w := printers.GetNewTabWriter(out)
	printer := printers.NewTablePrinter(printers.PrintOptions{Wide: wide, NoHeaders: noHeaders})
	if err := printer.PrintObj(table, w); err != nil {
		return err
	}
	return w.Flush()
}
