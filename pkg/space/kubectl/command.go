// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubectl is kubectl space, a plugin of kubectl for the people around spaces.
// It reads with the rights of whoever runs it. What there is to say about what was
// read is for package model.
package kubectl

import (
	"context"
	"flag"
	"fmt"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // users whose kubeconfig has an auth-provider
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// completer is how kubectl calls a plugin's program that completes its arguments.
const completer = "kubectl_complete-space"

// options are what all subcommands have in common.
type options struct {
	flags   *genericclioptions.ConfigFlags
	streams genericiooptions.IOStreams
	clock   clock.Clock
	driver  string
	version string
}

// Main runs the program with its arguments, the first of which is its own name, and
// returns the exit code.
func Main(version string, args []string, streams genericiooptions.IOStreams) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cmd := New(version, streams, clock.RealClock{})
	rest := args[1:]
	if filepath.Base(args[0]) == completer {
		rest = append([]string{cobra.ShellCompRequestCmd}, rest...)
	}
	cmd.SetArgs(rest)
	if err := cmd.ExecuteContext(ctx); err != nil {
		if ctx.Err() != nil {
			return interrupted
		}
		fmt.Fprintln(streams.ErrOut, message(err))
		return 1
	}
	if ctx.Err() != nil {
		return interrupted
	}
	return 0
}

// New returns the command with its subcommands.
func New(version string, streams genericiooptions.IOStreams, clock clock.Clock) *cobra.Command {
	o := &options{flags: genericclioptions.NewConfigFlags(true).WithWarningPrinter(streams), streams: streams, clock: clock, version: version}
	cmd := &cobra.Command{
		Use:           "kubectl-space",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl space"},
		Short:         "Look at spaces, the ephemeral namespaces of pods",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		// Scripts for shells are kubectl's, which asks the completer.
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return misused(cmd, "%w", err) })
	cmd.SetIn(streams.In)
	cmd.SetOut(streams.Out)
	cmd.SetErr(streams.ErrOut)
	o.flags.AddFlags(cmd.PersistentFlags())
	logging := flag.NewFlagSet("", flag.ContinueOnError)
	klog.InitFlags(logging)
	cmd.PersistentFlags().AddGoFlag(logging.Lookup("v"))
	cmd.PersistentFlags().StringVar(&o.driver, "driver", spaceapi.DefaultDriverName, "Name of the driver, if it is installed under another one.")
	cmd.AddCommand(newList(o), newDescribe(o), newWhy(o), newKubeconfig(o), newEnv(o), newTop(o))
	o.completeGlobals(cmd)
	return cmd
}

// client returns a client with the user's rights.
func (o *options) client() (kubernetes.Interface, error) {
	config, err := o.flags.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	config.UserAgent = "kubectl-space/" + o.version
	// A person waits for it, and it asks once for each space.
	config.QPS, config.Burst = 50, 300
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return client, nil
}

// reader returns what reads the cluster, and the namespace in question.
func (o *options) reader() (*reader, string, error) {
	namespace, _, err := o.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, "", err
	}
	client, err := o.client()
	if err != nil {
		return nil, "", err
	}
	return &reader{client: client, driver: o.driver, clock: o.clock}, namespace, nil
}
