// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

const (
	none    = "<none>"
	unknown = "<unknown>"
)

// Table is the spaces as kubectl shows objects. Columns of a higher priority are for
// -o wide, which also names all pods.
func (s *Snapshot) Table(spaces []Space, allNamespaces, wide bool) *metav1.Table {
	column := func(name string, more bool) metav1.TableColumnDefinition {
		c := metav1.TableColumnDefinition{Name: name, Type: "string"}
		if more {
			c.Priority = 1
		}
		return c
	}
	table := &metav1.Table{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "Table"}}
	if allNamespaces {
		table.ColumnDefinitions = append(table.ColumnDefinitions, column("Namespace", false))
	}
	for _, name := range []string{"Claim", "Space", "State", "Pods", "Nodes", "Pool", "Quota", "Age"} {
		table.ColumnDefinitions = append(table.ColumnDefinitions, column(name, false))
	}
	for _, name := range []string{"Request", "Class", "Allocation", "Message"} {
		table.ColumnDefinitions = append(table.ColumnDefinitions, column(name, true))
	}
	for _, space := range spaces {
		cells := s.cells(space, wide)
		if allNamespaces {
			cells = append([]any{space.Metadata.Namespace}, cells...)
		}
		table.Rows = append(table.Rows, metav1.TableRow{Cells: cells})
	}
	return table
}

func (s *Snapshot) cells(space Space, wide bool) []any {
	pods := few(space.Pods)
	if wide {
		pods = list(space.Pods)
	}
	nodes := list(space.Nodes)
	if nodes == none && len(space.Pods) > 0 && space.AllocationID != "" && s.Missing.Has(ListPods) {
		nodes = unknown
	}
	return []any{
		space.Metadata.Name, orNone(space.Space), space.State, pods, nodes, orNone(space.Pool), s.quotaCell(space),
		Age(s.Now, space.Metadata.CreationTimestamp.Time),
		orNone(space.Request), orNone(space.Class), orNone(space.AllocationID), orNone(space.Message),
	}
}

// quotaCell is what of a quota is used most.
func (s *Snapshot) quotaCell(space Space) string {
	switch {
	case len(space.Quota) == 0 && space.State == StateReady && s.Missing.Has(GetQuotas):
		return unknown
	case len(space.Quota) == 0:
		return none
	}
	q := space.Quota[0]
	if q.Percent < 0 {
		return fmt.Sprintf("%s ?/%s", q.Resource, q.Hard)
	}
	return fmt.Sprintf("%s %s/%s", q.Resource, q.Used, q.Hard)
}

// Age is a time as kubectl shows it.
func Age(now, since time.Time) string {
	if since.IsZero() {
		return unknown
	}
	return duration.HumanDuration(now.Sub(since))
}

// few are the first of many, as kubectl shortens lists.
func few(items []string) string {
	const most = 3
	if len(items) <= most {
		return list(items)
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(items[:most], ","), len(items)-most)
}

func list(items []string) string { return orNone(strings.Join(items, ",")) }

func orNone(text string) string {
	if text == "" {
		return none
	}
	return text
}

// Note says in a sentence which rights would have shown more. Empty: none.
func (s *Snapshot) Note() string {
	if len(s.Missing) == 0 {
		return ""
	}
	var names []string
	for _, right := range s.Missing {
		names = append(names, string(right))
	}
	return "Not all could be read: you may not " + strings.Join(names, ", ") + "."
}
