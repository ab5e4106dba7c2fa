// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
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

// completeOf completes the values of a flag which depend on the command's argument.
func (o *options) completeOf(cmd *cobra.Command, flag string, of func(ctx context.Context, name string) []string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		_, name, qualified := strings.Cut(args[0], "/")
		if !qualified {
			name = args[0]
		}
		return startingWith(of(cmd.Context(), name), begun), cobra.ShellCompDirectiveNoFileComp
	}); err != nil {
		panic(err)
	}
}

// completeGlobals completes what kubectl completes of the flags for all commands.
func (o *options) completeGlobals(cmd *cobra.Command) {
	o.complete(cmd, "namespace", o.namespaceNames)
	inConfig := func(of func(c *clientcmdapi.Config) []string) names {
		return func(context.Context) []string {
			config, err := o.flags.ToRawKubeConfigLoader().RawConfig()
			if err != nil {
				return nil
			}
			return of(&config)
		}
	}
	o.complete(cmd, "context", inConfig(func(c *clientcmdapi.Config) []string { return slices.Sorted(maps.Keys(c.Contexts)) }))
	o.complete(cmd, "cluster", inConfig(func(c *clientcmdapi.Config) []string { return slices.Sorted(maps.Keys(c.Clusters)) }))
	o.complete(cmd, "user", inConfig(func(c *clientcmdapi.Config) []string { return slices.Sorted(maps.Keys(c.AuthInfos)) }))
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

// any completes all arguments of a command, each of which is given once.
func (o *options) any(of func(ctx context.Context, begun string) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		left := only(of(cmd.Context(), begun), func(name string) bool { return !slices.Contains(args, name) })
		return startingWith(left, begun), cobra.ShellCompDirectiveNoFileComp
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

// whyNames are claims and pods; what begins as pod/ is a pod's name, as kubectl has it.
func (o *options) whyNames(ctx context.Context, begun string) []string {
	kind, _, qualified := strings.Cut(begun, "/")
	switch {
	case !qualified:
		both := append(o.claimNames(ctx), o.podNames(ctx)...)
		slices.Sort(both)
		return slices.Compact(both)
	case kinds[kind] == aPod:
		return prefixed(kind+"/", o.podNames(ctx))
	case kinds[kind] == aNamespace:
		return prefixed(kind+"/", o.spaceNames(ctx))
	default:
		return prefixed(kind+"/", o.claimNames(ctx))
	}
}

func (o *options) describeNames(ctx context.Context, begun string) []string {
	kind, _, qualified := strings.Cut(begun, "/")
	switch {
	case !qualified:
		return o.claimNames(ctx)
	case kinds[kind] == aNamespace:
		return prefixed(kind+"/", o.spaceNames(ctx))
	default:
		return prefixed(kind+"/", o.claimNames(ctx))
	}
}

func prefixed(prefix string, names []string) []string {
	out := make([]string, 0, len(names))
	for _, name := range names {
		out = append(out, prefix+name)
	}
	return out
}

func (o *options) spaceNames(ctx context.Context) []string {
	client, err := o.client()
	if err != nil {
		return nil
	}
	list, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: spaceapi.KeysFor(o.driver).ClaimUID})
	if err != nil {
		return nil
	}
	var out []string
	for _, ns := range list.Items {
		out = append(out, ns.Name)
	}
	return out
}

func (o *options) containerNames(ctx context.Context, name string) []string {
	r, namespace, err := o.reader()
	if err != nil {
		return nil
	}
	pod, err := r.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	var out []string
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		out = append(out, container.Name)
	}
	return out
}

func (o *options) requestNames(ctx context.Context, name string) []string {
	r, namespace, err := o.reader()
	if err != nil {
		return nil
	}
	claim, err := r.client.ResourceV1().ResourceClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	if a := identity.Of(claim, o.driver); a != nil {
		return a.Requests()
	}
	return nil
}
