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

	namespace string
	printer   printers.ResourcePrinter
	// begun says that there are lines already, so that a table has its headers.
	begun bool
}

func newList(o *options) *cobra.Command {
	l := &list{options: o, printing: genericclioptions.NewPrintFlags("")}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls", "get"},
		Short:   "List spaces, and claims that wait for one",
		Example: "  # Spaces of claims in the current namespace\n  kubectl space list\n\n" +
			"  # Those of all namespaces, with what is used most of a quota last\n  kubectl space list -A --sort-by quota\n\n" +
			"  # See them come and go\n  kubectl space list -w\n\n" +
			"  # The names of their namespaces\n  kubectl space list -o jsonpath='{.items[*].space}'",
		Args: nothing,
		RunE: func(cmd *cobra.Command, _ []string) error { return l.run(cmd.Context()) },
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
	if l.toPrograms() && l.output != "name" {
		// Before anything is read: what is wrong with it is no matter of the cluster.
		printer, err := l.printing.ToPrinter()
		if err != nil {
			return err
		}
		l.printer = printer
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
	l.namespace = namespace
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
		return printNames(l.streams.Out, snapshot, spaces)
	case l.toPrograms():
		return l.printObjects(spaces)
	case len(spaces) == 0:
		if !l.watch {
			fmt.Fprintln(l.streams.ErrOut, notFoundIn(l.namespace))
		}
		return nil
	}
	wide := l.output == "wide"
	return printTable(l.streams.Out, snapshot.Table(spaces, l.allNamespaces, wide), wide, noHeaders)
}

// notFoundIn says in kubectl's words that there is nothing.
func notFoundIn(namespace string) string {
	if namespace == "" {
		return "No resources found"
	}
	return "No resources found in " + namespace + " namespace."
}

// printNames prints each claim once, as kubectl takes it. Where the claim has gone,
// what is left has a name too.
func printNames(out io.Writer, snapshot *model.Snapshot, spaces []model.Space) error {
	seen := map[string]bool{}
	for _, space := range spaces {
		name := "resourceclaim.resource.k8s.io/" + space.Metadata.Name
		if claim := snapshot.Claim(space.Metadata.Namespace, space.Metadata.Name); claim == nil || string(claim.UID) != space.Metadata.UID {
			name = "namespace/" + space.Space
		}
		key := space.Metadata.Namespace + "/" + name
		if seen[key] || space.Space == "" && name == "namespace/" {
			continue
		}
		seen[key] = true
		if _, err := fmt.Fprintln(out, name); err != nil {
			return err
		}
	}
	return nil
}

// printObjects prints a list, or one object after the other where they are followed.
func (l *list) printObjects(spaces []model.Space) error {
	list, err := objects(spaces)
	if err != nil {
		return err
	}
	if !l.watch {
		return l.printer.PrintObj(list, l.streams.Out)
	}
	for i := range list.Items {
		if err := l.printer.PrintObj(&list.Items[i], l.streams.Out); err != nil {
			return err
		}
	}
	return nil
}

// objects are the spaces as a list for kubectl's printers.
func objects(spaces []model.Space) (*unstructured.UnstructuredList, error) {
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
