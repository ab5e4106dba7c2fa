// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PoolTable is what of the pools is used and free.
func (s *Snapshot) PoolTable() *metav1.Table {
	table := newTable("Pool", "Nodes", "Resource", "Used", "Free", "Total")
	for _, pool := range s.Pools() {
		nodes := "<any>"
		if len(pool.Nodes) > 0 {
			nodes = strings.Join(pool.Nodes, ",")
		}
		for _, a := range pool.Amounts {
			free, total := "<unlimited>", "<unlimited>"
			if a.Total != nil {
				free, total = a.Free().String(), a.Total.String()
			}
			table.Rows = append(table.Rows, metav1.TableRow{Cells: []any{pool.Name, nodes, a.Resource, a.Used.String(), free, total}})
		}
	}
	return table
}

// NodeTable is how many spaces and pods with one there are on each node, by pool. A
// space that is used on two nodes counts on both.
func (s *Snapshot) NodeTable() *metav1.Table {
	type key struct{ node, pool string }
	used := map[key]int64{}
	for _, space := range s.Spaces("") {
		for _, node := range space.Nodes {
			used[key{node, space.Pool}]++
		}
	}
	table := newTable("Node", "Pool", "Spaces")
	for _, k := range slices.SortedFunc(maps.Keys(used), func(a, b key) int { return strings.Compare(a.node+" "+a.pool, b.node+" "+b.pool) }) {
		table.Rows = append(table.Rows, metav1.TableRow{Cells: []any{k.node, k.pool, used[k]}})
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
