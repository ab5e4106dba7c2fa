// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPoolsAndNodesAsTables(t *testing.T) {
	s := of(slice("spaces", 3, 0), slice("open", 0, 0), ready(t, "c", "p"), ready(t, "d", "p"), pod("p", "node-a", "c", "d"))
	text := func(table *metav1.Table) string {
		var out []string
		for _, row := range table.Rows {
			out = append(out, strings.TrimSpace(fmt.Sprintln(row.Cells...)))
		}
		return strings.Join(out, "|")
	}
	if got, want := text(s.PoolTable()), "open <any> spaces 0 <unlimited> <unlimited>|spaces <any> spaces 2 1 3"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := text(s.NodeTable()), "node-a spaces 2"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
