// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newDescribe(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "describe (CLAIM | namespace/SPACE) ...",
		Short: "Show all that is known about the spaces of claims",
		Example: "  kubectl space describe my-claim\n\n" +
			"  # Whose is this namespace?\n  kubectl space describe namespace/ephemeral-ns-5h57rgwvpj\n\n" +
			"  # All of a namespace\n  kubectl space describe $(kubectl space list -o name)",
		Args:              some("ResourceClaim"),
		ValidArgsFunction: o.any(o.describeNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, namespace, err := o.reader()
			if err != nil {
				return err
			}
			for i, arg := range args {
				t, err := parse(arg, aClaim, aNamespace)
				if err != nil {
					return err
				}
				of, name := namespace, t.name
				if t.kind == aNamespace {
					if of, name, err = r.claimOfSpace(cmd.Context(), t.name); err != nil {
						return err
					}
				}
				snapshot, err := r.one(cmd.Context(), of, name)
				if err != nil {
					return err
				}
				if i > 0 {
					fmt.Fprint(o.streams.Out, "\n\n")
				}
				if err := snapshot.Describe(o.streams.Out, of, name); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
