// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubectl is kubectl space, a kubectl plugin for users, cluster administrators
// and on-call engineers. It reads the cluster into a snapshot, with the user's own permissions,
// and computes from that what it prints. Package holder keeps the spaces that it creates.
package kubectl

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // users whose kubeconfig has an auth-provider
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	kubectloptions "k8s.io/kubectl/pkg/cmd/options"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/util/completion"
	"k8s.io/kubectl/pkg/util/templates"
	"k8s.io/utils/clock"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// completer is the name of the program when kubectl runs it for completion.
const completer = "kubectl_complete-space"

// options are common to all subcommands.
type options struct {
	factory cmdutil.Factory
	streams genericiooptions.IOStreams
	driver  string
	// program is the name or path of this program, and global are the flags of all commands.
	program string
	global  *pflag.FlagSet
}

// Main runs the program with its arguments, the first of which is its own name, and
// returns the exit code.
func Main(version string, args []string, streams genericiooptions.IOStreams) int {
	cmd := newCommand(args[0], version, streams)
	rest := args[1:]
	if filepath.Base(args[0]) == completer {
		rest = slices.Concat([]string{cobra.ShellCompRequestCmd}, rest)
	}
	cmd.SetArgs(rest)
	ran, err := cmd.ExecuteContextC(context.Background())
	if err == nil {
		return 0
	}
	var exit exitError
	if errors.As(err, &exit) {
		return int(exit)
	}
	if !errors.Is(err, cmdutil.ErrExit) {
		fmt.Fprintln(streams.ErrOut, message(err))
	}
	if ran.Name() == "why" && !errors.Is(err, errNoSpace) {
		return 2
	}
	return 1
}

// message returns the message that kubectl prints for an error.
func message(err error) string {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if message, ok := cmdutil.StandardErrorMessage(e); ok {
			return message
		}
	}
	return "error: " + err.Error()
}

// newCommand returns the command with its subcommands.
func newCommand(program, version string, streams genericiooptions.IOStreams) *cobra.Command {
	flags := genericclioptions.NewConfigFlags(true).WithWarningPrinter(streams).WithWrapConfigFn(func(c *rest.Config) *rest.Config {
		c.UserAgent = "kubectl-space/" + version
		c.QPS, c.Burst = 50, 300 // as kubectl's for discovery
		return c
	})
	o := &options{factory: cmdutil.NewFactory(flags), streams: streams}
	cmd := &cobra.Command{
		Use:         "kubectl-space",
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl space"},
		Short:       "Show and use spaces, the ephemeral namespaces of pods",
		Long: "Show and use spaces, the ephemeral namespaces of pods.\n" +
			"It works with your permissions, and reports which permissions are missing.",
		Version:       version,
		SilenceErrors: true,
		// kubectl has the scripts for shells, and runs the completer.
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	cmd.SetIn(streams.In)
	cmd.SetOut(streams.Out)
	cmd.SetErr(streams.ErrOut)
	o.program, o.global = program, cmd.PersistentFlags()
	flags.AddFlags(o.global)
	logging := flag.NewFlagSet("", flag.ContinueOnError)
	klog.InitFlags(logging)
	o.global.AddGoFlag(logging.Lookup("v"))
	o.global.StringVar(&o.driver, "driver-name", spaceapi.DefaultDriverName, "Name of the DRA driver.")
	cmd.AddCommand(newList(o), newDescribe(o), newWhy(o), newKubeconfig(o), newCredential(o), newEnv(o), newTop(o),
		newRun(o, version), newShell(o, version), newCreate(o, version), newExec(o), newExtend(o), newWait(o), newDelete(o),
		newCollect(o), newCheck(o), newVersion(o, version), newOptions(streams))
	for _, sub := range cmd.Commands() {
		sub.DisableFlagsInUseLine = true
	}
	templates.ActsAsRootCommand(cmd, nil) // The help is like that of kubectl.
	setUsageName(cmd)
	completion.SetFactoryForCompletion(o.factory)
	for flag, complete := range map[string]cobra.CompletionFunc{
		"namespace": func(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			return completion.CompGetResource(o.factory, namespaceKind, toComplete), cobra.ShellCompDirectiveNoFileComp
		},
		"context": completion.ContextCompletionFunc, "cluster": completion.ClusterCompletionFunc,
		"user": completion.UserCompletionFunc,
	} {
		cmdutil.CheckErr(cmd.RegisterFlagCompletionFunc(flag, complete))
	}
	return cmd
}

// setUsageName makes the usage of a command name it as users type it. kubectl's template has the
// name of the program in one place.
func setUsageName(cmd *cobra.Command) {
	usage := cmd.UsageFunc()
	cmd.SetUsageFunc(func(c *cobra.Command) error {
		out := c.OutOrStderr()
		var text bytes.Buffer
		c.SetOut(&text)
		err := usage(c)
		c.SetOut(out)
		fmt.Fprint(out, strings.ReplaceAll(text.String(), cmd.Name(), cmd.DisplayName()))
		return err
	})
}

// newOptions returns kubectl's command options.
func newOptions(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := kubectloptions.NewCmdOptions(streams.Out)
	cmd.Example = "  # Print the flags that all commands have\n  kubectl space options"
	cmd.Args = cobra.NoArgs
	return cmd
}

// report prints an error of a command that reads the cluster, and returns one that is not printed
// again. The error can contain what tenants wrote.
func (o *options) report(err error) error {
	if exit := exitError(0); errors.As(err, &exit) {
		return exit
	}
	if errors.Is(err, cmdutil.ErrExit) {
		return err
	}
	fmt.Fprintln(o.streams.ErrOut, escape(message(err)))
	return cmdutil.ErrExit
}

// each calls a function for every argument, and reports the errors.
func (o *options) each(args []string, do func(arg string) error) error {
	var failed error
	for _, arg := range args {
		if err := do(arg); err != nil {
			failed = o.report(err)
		}
	}
	return failed
}

// withReader returns the RunE of a command that reads the cluster.
func (o *options) withReader(run func(ctx context.Context, r *reader, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		namespace, _, err := o.factory.ToRawKubeConfigLoader().Namespace()
		if err != nil {
			return err
		}
		client, err := o.factory.KubernetesClientSet()
		if err != nil {
			return err
		}
		r := &reader{client: client, driver: o.driver, namespace: namespace, clock: clock.RealClock{}}
		if err := run(cmd.Context(), r, args); err != nil {
			return o.report(err)
		}
		return nil
	}
}

// The kinds of objects in arguments, as kubectl prints them.
const (
	claimKind     = "resourceclaim"
	podKind       = "pod"
	namespaceKind = "namespace"
)

// kindAliases has the kinds by the words that can precede the slash in an argument.
var kindAliases = map[string]string{
	"resourceclaim": claimKind, "resourceclaims": claimKind, "resourceclaim.resource.k8s.io": claimKind, "resourceclaims.resource.k8s.io": claimKind,
	"pod": podKind, "pods": podKind, "po": podKind,
	"namespace": namespaceKind, "namespaces": namespaceKind, "ns": namespaceKind,
}

// parseArg splits an argument of the form [KIND/]NAME. The kind is empty, or one of the allowed
// kinds.
func parseArg(arg string, allowed ...string) (kind, name string, err error) {
	alias, name, qualified := strings.Cut(arg, "/")
	if !qualified {
		return "", arg, nil
	}
	if kind = kindAliases[strings.ToLower(alias)]; name == "" || !slices.Contains(allowed, kind) {
		return "", "", fmt.Errorf("%q is not the name of a %s, as in %s/NAME", arg, strings.Join(allowed, " or "), allowed[0])
	}
	return kind, name, nil
}

// completeNames completes arguments to names of claims, or after KIND/ to names of that kind.
func (o *options) completeNames(kinds ...string) cobra.CompletionFunc {
	qualified := completion.SpecifiedResourceTypeAndNameCompletionFunc(o.factory, kinds)
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if strings.Contains(toComplete, "/") {
			return qualified(cmd, args, toComplete)
		}
		return cmdutil.Difference(completion.CompGetResource(o.factory, claimKind, toComplete), args), cobra.ShellCompDirectiveNoFileComp
	}
}
