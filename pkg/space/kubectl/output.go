// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubectl/pkg/cmd/get"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"sigs.k8s.io/yaml"
)

// printsTable reports whether the output is a table for people.
func printsTable(flags *get.PrintFlags) bool {
	return *flags.OutputFormat == "" && *flags.TemplateFlags.TemplateArgument == "" || *flags.OutputFormat == "wide"
}

// listOf converts items to a List, which the printers for --output accept.
func listOf[T any](items []T) (*unstructured.UnstructuredList, error) {
	list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List"}}
	for i := range items {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&items[i])
		if err != nil {
			return nil, fmt.Errorf("encode item %d of the list: %w", i, err)
		}
		list.Items = append(list.Items, unstructured.Unstructured{Object: content})
	}
	return list, nil
}

// addOutputFlag adds --output to a command whose default output is not a table.
func addOutputFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVarP(format, "output", "o", "", "Output format. One of: (json, yaml).")
	cmdutil.CheckErr(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json", "yaml"}, cobra.ShellCompDirectiveNoFileComp)))
}

// printAs prints an object in a format of addOutputFlag, or as text for people.
func printAs(out io.Writer, format string, object fmt.Stringer) error {
	var text []byte
	var err error
	switch format {
	case "":
		text = []byte(object.String())
	case "json":
		text, err = json.MarshalIndent(object, "", "    ")
	case "yaml":
		text, err = yaml.Marshal(object)
	default:
		err = errors.New("--output must be 'yaml' or 'json'")
	}
	if err == nil && len(text) > 0 {
		_, err = fmt.Fprintln(out, strings.TrimSuffix(string(text), "\n"))
	}
	return err
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
