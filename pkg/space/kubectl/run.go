// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/tools/clientcmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/util/completion"
	"sigs.k8s.io/yaml"

	"github.com/space-dra/space-dra-driver/pkg/space/holder"
)

const (
	// explainTimeout is how long a command tries to find out why there is no space, and closeTimeout
	// how long it tries to delete a holder, which otherwise ends by itself.
	explainTimeout = 10 * time.Second
	closeTimeout   = 10 * time.Second
	// slowAfter is when a command tells a person what it waits for.
	slowAfter = 5 * time.Second
	// interrupted is the exit code after Ctrl-C, and exitedBySignal the first of those of signals.
	interrupted, exitedBySignal = 130, 128
)

// endingSignals interrupt the creation of a space, and are passed on to the command that runs in it.
var endingSignals = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT}

// exitError ends the program with an exit code, and without a message.
type exitError int

// Error implements error.
func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// newSpace has the flags of commands that create a space.
type newSpace struct {
	class, file, image string
	timeout            time.Duration
}

func (n *newSpace) addFlags(o *options, version string, cmd *cobra.Command) {
	cmd.Flags().StringVar(&n.class, "class", "", "DeviceClass of the space. The default is that of the driver, which has its name.")
	cmd.Flags().StringVarP(&n.file, "filename", "f", "", "File with the parameters of the claim, a SpaceClaimConfig.")
	cmd.Flags().StringVar(&n.image, "image", holder.Image(version), "Image of the driver, whose program holds the space.")
	cmd.Flags().DurationVar(&n.timeout, "timeout", 2*time.Minute, "How long to wait for the space.")
	cmdutil.CheckErr(cmd.RegisterFlagCompletionFunc("class", func(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return completion.CompGetResource(o.factory, "deviceclass", toComplete), cobra.ShellCompDirectiveNoFileComp
	}))
}

// start creates a holder and waits until its space is ready. If that fails, it deletes the holder.
func (n *newSpace) start(ctx context.Context, o *options, r *reader, name string) (*holder.Holder, error) {
	config, err := o.factory.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	options := holder.Options{Namespace: r.namespace, Name: name, Driver: r.driver, Class: cmp.Or(n.class, r.driver), Image: n.image}
	if n.file != "" {
		content, err := os.ReadFile(n.file)
		if err != nil {
			return nil, err
		}
		if options.Parameters, err = yaml.YAMLToJSONStrict(content); err != nil {
			return nil, fmt.Errorf("read %s: %w", n.file, err)
		}
	}
	start, stop := signal.NotifyContext(ctx, endingSignals...)
	defer stop()
	context.AfterFunc(start, stop) // A second signal ends the program. The holder then ends by itself.
	h, err := holder.Start(start, config, options)
	if err != nil {
		return nil, err
	}
	if printers.IsTerminal(o.streams.ErrOut) {
		slow := time.AfterFunc(slowAfter, func() {
			fmt.Fprintf(o.streams.ErrOut, "Waiting for the space of ResourceClaim %s%s\n", name, escape(h.WaitsFor()))
		})
		defer slow.Stop()
	}
	wait, cancel := context.WithTimeout(start, n.timeout)
	defer cancel()
	switch err = h.Wait(wait); {
	case start.Err() != nil:
		fmt.Fprintf(o.streams.ErrOut, "Interrupted: ResourceClaim %s is deleted\n", name)
		err = exitError(interrupted)
	case err == nil:
		return h, nil
	case wait.Err() != nil:
		explain, cancel := context.WithTimeout(ctx, explainTimeout)
		defer cancel()
		if e, _, explainErr := r.why(explain, name); explainErr == nil {
			err = fmt.Errorf("there is no space after %s. %s", n.timeout, e.Message)
		}
	}
	o.close(h)
	return nil, err
}

// close deletes a holder, although the command may be interrupted.
func (o *options) close(h *holder.Holder) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := h.Close(ctx); err != nil {
		fmt.Fprintf(o.streams.ErrOut, "Job %s could not be deleted, and ends within %s: %s\n", h.Name, holder.Grace, escape(err.Error()))
	}
}

// runOptions has the flags of commands that run a command in a space.
type runOptions struct {
	newSpace
	claim, request string
	remove         bool
}

func (c *runOptions) addFlags(o *options, version string, cmd *cobra.Command) {
	c.newSpace.addFlags(o, version, cmd)
	c.addRequestFlag(cmd)
	cmd.Flags().StringVar(&c.claim, "claim", "", "Claim whose space is used, in place of a new one.")
	cmd.Flags().BoolVar(&c.remove, "rm", false, "Delete that claim at the end, as kubectl space delete does. A new space is always deleted.")
	for _, flag := range []string{"class", "filename", "image", "timeout"} {
		cmd.MarkFlagsMutuallyExclusive("claim", flag)
	}
	cmdutil.CheckErr(cmd.RegisterFlagCompletionFunc("claim", completion.ResourceNameCompletionFunc(o.factory, claimKind)))
}

func (c *runOptions) addRequestFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.request, "request", "", "Request of the claim, if it has several spaces.")
}

func newRun(o *options, version string) *cobra.Command {
	var c runOptions
	cmd := &cobra.Command{
		Use:   "run [--claim CLAIM] -- COMMAND [ARG ...]",
		Short: "Run a command on this machine in a new space, or in that of a claim",
		Long: "Run a command on this machine in a new space, or in that of a claim.\n" +
			"KUBECONFIG is set for the command, and its exit code is passed on. A new space is deleted at the end, also\n" +
			"if this program or this machine stops.",
		Example: "  # Run tests in a new space\n  kubectl space run -- go test ./...\n\n" +
			"  # Choose the class and the parameters of the space\n  kubectl space run --class ci -f space.yaml -- helm install release ./chart --wait\n\n" +
			"  # Use a space that exists\n  kubectl space run --claim pr-42 -- kubectl get pods",
		Args: commandAfter(0),
		RunE: o.withReader(func(ctx context.Context, r *reader, args []string) error { return c.run(ctx, o, r, args) }),
	}
	c.addFlags(o, version, cmd)
	return cmd
}

func newShell(o *options, version string) *cobra.Command {
	var c runOptions
	cmd := &cobra.Command{
		Use:   "shell [--claim CLAIM]",
		Short: "Start a shell on this machine in a new space, or in that of a claim",
		Long: "Start a shell on this machine in a new space, or in that of a claim.\n" +
			"KUBECONFIG is set in the shell. A new space is deleted when the shell ends.",
		Example: "  # Try something in a new space\n  kubectl space shell\n\n" +
			"  # Work in a space that exists, and delete it at the end\n  kubectl space shell --claim pr-42 --rm",
		Args: cobra.NoArgs,
		RunE: o.withReader(func(ctx context.Context, r *reader, _ []string) error {
			return c.run(ctx, o, r, []string{cmp.Or(os.Getenv("SHELL"), os.Getenv("COMSPEC"), "sh")})
		}),
	}
	c.addFlags(o, version, cmd)
	return cmd
}

func newExec(o *options) *cobra.Command {
	var c runOptions
	cmd := &cobra.Command{
		Use:   "exec CLAIM -- COMMAND [ARG ...]",
		Short: "Run a command on this machine in the space of a claim",
		Long: "Run a command on this machine in the space of a claim. It is the same as 'kubectl space run --claim CLAIM'.\n" +
			"A pod has to use the claim, such as that of kubectl space create.",
		Example:           "  # List the pods of a space\n  kubectl space exec my-claim -- kubectl get pods",
		Args:              commandAfter(1),
		ValidArgsFunction: completion.ResourceNameCompletionFunc(o.factory, claimKind),
		RunE: o.withReader(func(ctx context.Context, r *reader, args []string) (err error) {
			if _, c.claim, err = parseArg(args[0], claimKind); err != nil {
				return err
			}
			return c.run(ctx, o, r, args[1:])
		}),
	}
	c.addRequestFlag(cmd)
	return cmd
}

// commandAfter requires a command after a number of arguments and --.
func commandAfter(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if cmd.ArgsLenAtDash() != n || len(args) == n {
			return fmt.Errorf("the command is missing, as in: %s", cmd.UseLine())
		}
		return nil
	}
}

// run runs a command in a space.
func (c *runOptions) run(ctx context.Context, o *options, r *reader, command []string) error {
	claim := cmp.Or(c.claim, "space-"+rand.String(5))
	// These are about the user's machine: check them before anything is created.
	if _, err := exec.LookPath(command[0]); err != nil {
		return err
	}
	if _, err := o.execPlugin(r.namespace, claim, c.request); err != nil {
		return err
	}
	var space string
	if c.claim == "" {
		h, err := c.start(ctx, o, r, claim)
		if err != nil {
			return err
		}
		defer o.close(h)
		space = h.SpaceNamespace()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			select {
			case <-ctx.Done():
			case <-h.Ended():
				fmt.Fprintf(o.streams.ErrOut, "The space of ResourceClaim %s has ended: its Job or its pod was deleted\n", claim)
			}
		}()
	} else {
		found, err := r.client.ResourceV1().ResourceClaims(r.namespace).Get(ctx, claim, metav1.GetOptions{})
		if err != nil {
			return err
		}
		ready, err := readySpace(found, r.driver, c.request)
		if err != nil {
			return err
		}
		space = ready.Space
	}
	err := o.runIn(r.namespace, claim, c.request, space, command)
	if c.remove && c.claim != "" {
		if deleteErr := r.deleteHolder(ctx, claim); deleteErr != nil {
			err = cmp.Or(err, o.report(deleteErr))
		}
	}
	return err
}

// runIn runs a command with a kubeconfig for a space, passes signals on to it, and returns its exit code.
func (o *options) runIn(namespace, claim, request, space string, command []string) error {
	config, err := o.execConfig(namespace, claim, request, space)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "kubectl-space-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		return err
	}
	cmd := exec.Command(command[0], command[1:]...) //nolint:gosec // the user asks for this command
	cmd.Env = append(cmd.Environ(), clientcmd.RecommendedConfigPathEnvVar+"="+file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.streams.In, o.streams.Out, o.streams.ErrOut
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, endingSignals...)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return err
	}
	terminal := printers.IsTerminal(o.streams.In)
	go func() {
		for s := range signals {
			// A terminal sends these to the command itself.
			if !terminal || s != os.Interrupt && s != syscall.SIGQUIT {
				_ = cmd.Process.Signal(s)
			}
		}
	}()
	return exitOf(cmd.Wait())
}

// exitOf returns the exit code of a command that has failed as shells do.
func exitOf(err error) error {
	var failed *exec.ExitError
	if !errors.As(err, &failed) {
		return err
	}
	if status, ok := failed.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitError(exitedBySignal + int(status.Signal()))
	}
	return exitError(failed.ExitCode())
}
