// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/util/completion"
)

// completeFlag completes the values of a flag, given the command's arguments. kubectl's own
// functions read the cluster; what can't be read completes to nothing.
func completeFlag(cmd *cobra.Command, flag string, complete func(args []string, toComplete string) []string) {
	cmdutil.CheckErr(cmd.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return complete(args, toComplete), cobra.ShellCompDirectiveNoFileComp
	}))
}

// completeGlobalFlags completes the same flags as kubectl.
func (o *options) completeGlobalFlags(cmd *cobra.Command) {
	completion.SetFactoryForCompletion(o.factory)
	completeFlag(cmd, "namespace", func(_ []string, toComplete string) []string {
		return completion.CompGetResource(o.factory, namespaceKind, toComplete)
	})
	for flag, list := range map[string]func(string) []string{
		"context": completion.ListContextsInConfig, "cluster": completion.ListClustersInConfig, "user": completion.ListUsersInConfig,
	} {
		completeFlag(cmd, flag, func(_ []string, toComplete string) []string { return list(toComplete) })
	}
}

// completeNames completes arguments to names of the given kinds, or of another kind that an
// argument begins with.
func (o *options) completeNames(kinds ...string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		prefix, wanted := "", kinds
		if alias, name, qualified := strings.Cut(toComplete, "/"); qualified {
			prefix, toComplete, wanted = alias+"/", name, []string{kindAliases[alias]}
		}
		var out []string
		for _, kind := range wanted {
			for _, name := range completion.CompGetResource(o.factory, kind, toComplete) {
				out = append(out, prefix+name)
			}
		}
		slices.Sort(out)
		return cmdutil.Difference(slices.Compact(out), args), cobra.ShellCompDirectiveNoFileComp
	}
}
