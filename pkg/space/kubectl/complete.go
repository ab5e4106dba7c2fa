// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// names are names of objects that can be completed. What can't be read completes to
// nothing.
type names func(ctx context.Context) []string

// complete completes the values of a flag.
func (o *options) complete(cmd *cobra.Command, flag string, of names) {
	// It fails for a flag that is not there or has a completion, which the tests would see.
	if err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return startingWith(of(cmd.Context()), begun), cobra.ShellCompDirectiveNoFileComp
	}); err != nil {
		panic(err)
	}
}

// completeWith completes the values of a flag from a list.
func (o *options) completeWith(cmd *cobra.Command, flag string, values []string) {
	o.complete(cmd, flag, func(context.Context) []string { return values })
}

// once completes the first argument of a command.
func (o *options) once(of names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return startingWith(of(cmd.Context()), begun), cobra.ShellCompDirectiveNoFileComp
	}
}

func startingWith(all []string, begun string) []string {
	return only(all, func(name string) bool { return strings.HasPrefix(name, begun) })
}

func (o *options) claimNames(ctx context.Context) []string {
	r, namespace, err := o.reader()
	if err != nil {
		return nil
	}
	snapshot, err := r.claims(ctx, namespace)
	if err != nil {
		return nil
	}
	var out []string
	for i := range snapshot.Claims {
		if snapshot.Asks(&snapshot.Claims[i]) {
			out = append(out, snapshot.Claims[i].Name)
		}
	}
	return out
}

func (o *options) namespaceNames(ctx context.Context) []string {
	client, err := o.client()
	if err != nil {
		return nil
	}
	list, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	var out []string
	for _, ns := range list.Items {
		out = append(out, ns.Name)
	}
	return out
}

func (o *options) podNames(ctx context.Context) []string {
	r, namespace, err := o.reader()
	if err != nil {
		return nil
	}
	list, err := r.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	var out []string
	for i := range list.Items {
		if len(list.Items[i].Spec.ResourceClaims) > 0 {
			out = append(out, list.Items[i].Name)
		}
	}
	return out
}
