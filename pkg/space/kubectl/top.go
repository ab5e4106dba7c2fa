// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/kubectl/model"
)

func newTop(o *options) *cobra.Command {
	var noHeaders, nodes bool
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show how much of the pools is used and free",
		Long:  "Show how much of the pools is used and free, or how many spaces are used on which nodes.",
		Example: "  kubectl space top\n\n" +
			"  # Which nodes spaces are used on\n  kubectl space top --nodes",
		Args: nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := o.pools(cmd.Context())
			if err != nil {
				return err
			}
			if s.Missing.Has(model.ListAllClaims) {
				fmt.Fprintln(o.streams.ErrOut, "What is used is of the claims that you may read only. "+s.Note())
			}
			table := s.PoolTable()
			if nodes {
				table = s.NodeTable()
			}
			if len(table.Rows) == 0 {
				fmt.Fprintln(o.streams.ErrOut, "No resources found")
				return nil
			}
			return printTable(o.streams.Out, table, false, noHeaders)
		},
	}
	cmd.Flags().BoolVar(&nodes, "nodes", false, "Show how many spaces are used on each node.")
	cmd.Flags().BoolVar(&noHeaders, "no-headers", false, "Leave out the columns' names.")
	return cmd
}

// pools reads the pools and all claims, or those of the user's namespace.
func (o *options) pools(ctx context.Context) (*model.Snapshot, error) {
	r, namespace, err := o.reader()
	if err != nil {
		return nil, err
	}
	// Without these there is nothing to show.
	published, err := r.client.ResourceV1().ResourceSlices().List(ctx, metav1.ListOptions{FieldSelector: "spec.driver=" + r.driver})
	if err != nil {
		return nil, fmt.Errorf("list ResourceSlices: %w", err)
	}
	s, err := r.allClaims(ctx, namespace)
	if err != nil {
		return nil, err
	}
	s.Slices = published.Items
	return s, r.spaces(ctx, s, nil)
}
