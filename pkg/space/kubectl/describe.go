// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"github.com/spf13/cobra"
)

func newDescribe(o *options) *cobra.Command {
	return &cobra.Command{
		Use:               "describe CLAIM",
		Short:             "Show all that is known about the spaces of a claim",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.once(o.claimNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := claimName(args[0])
			if err != nil {
				return err
			}
			r, namespace, err := o.reader()
			if err != nil {
				return err
			}
			snapshot, claim, err := r.one(cmd.Context(), namespace, name)
			if err != nil {
				return err
			}
			return snapshot.Describe(o.streams.Out, claim)
		},
	}
}
