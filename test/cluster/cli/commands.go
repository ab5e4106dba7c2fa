// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/pflag"

	cluster "github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/cluster/binaries"
)

func createFlags(inv *invocation, flags *pflag.FlagSet) {
	flags.IntVar(&inv.config.Nodes, "nodes", inv.config.Nodes, "number of nodes; 0 is a control plane only")
	flags.StringToStringVar(&inv.featureGates, "feature-gates", nil, "feature gates of all components, for example A=true,B=false")
}

func create(ctx context.Context, inv *invocation, args []string) error {
	if err := noArguments(args); err != nil {
		return err
	}
	for name, value := range inv.featureGates {
		enabled, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("feature gate %s is %q, must be true or false", name, value)
		}
		if inv.config.FeatureGates == nil {
			inv.config.FeatureGates = map[string]bool{}
		}
		inv.config.FeatureGates[name] = enabled
	}
	c, err := cluster.Create(ctx, inv.config)
	if err != nil {
		return err
	}
	fmt.Fprintln(inv.Out, c.Kubeconfig())
	return nil
}

func remove(ctx context.Context, inv *invocation, args []string) error {
	if err := noArguments(args); err != nil {
		return err
	}
	return cluster.Delete(ctx, inv.config)
}

func status(ctx context.Context, inv *invocation, args []string) error {
	if err := noArguments(args); err != nil {
		return err
	}
	c, err := cluster.Open(ctx, inv.config)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(inv.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tADDRESS\tPROCESS\tSTATE\tLOG")
	var problems []error
	for _, h := range append([]*cluster.Host{c.ControlPlane()}, c.Nodes()...) {
		states, err := h.Processes(ctx)
		if err != nil {
			problems = append(problems, err)
		}
		for _, s := range states {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", h.Name(), h.Address(), s.Name, s.State, h.LogFile(s.Name))
			if !s.Running {
				problems = append(problems, fmt.Errorf("%s on %s is not running: %s", s.Name, h.Name(), s.State))
			}
		}
	}
	return errors.Join(append(problems, w.Flush())...)
}

func kubeconfig(ctx context.Context, inv *invocation, args []string) error {
	if err := noArguments(args); err != nil {
		return err
	}
	c, err := cluster.Open(ctx, inv.config)
	if err != nil {
		return err
	}
	fmt.Fprintln(inv.Out, c.Kubeconfig())
	return nil
}

func execute(ctx context.Context, inv *invocation, args []string) error {
	if len(args) < 2 {
		return errors.New("exec needs a host and a command: space-cluster exec HOST -- COMMAND")
	}
	c, err := cluster.Open(ctx, inv.config)
	if err != nil {
		return err
	}
	h := c.Node(args[0])
	if c.ControlPlane().Name() == args[0] {
		h = c.ControlPlane()
	}
	if h == nil {
		return fmt.Errorf("no host %q; space-cluster status lists them", args[0])
	}
	cmd := h.Command(ctx, args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inv.In, inv.Out, inv.Err
	return cmd.Run()
}

func imagesFlags(inv *invocation, flags *pflag.FlagSet) {
	flags.StringVar(&inv.out, "out", filepath.Join(inv.config.BuildDir, "images"), "build: where archives are written")
	flags.StringVar(&inv.tag, "tag", cluster.DefaultTag, "build: tag of the driver's image")
}

func images(ctx context.Context, inv *invocation, args []string) error {
	if len(args) == 0 {
		return errors.New("images needs build or load; see space-cluster images --help")
	}
	switch verb, rest := args[0], args[1:]; verb {
	case "build":
		if len(rest) == 0 {
			rest = cluster.Images()
		}
		archives, err := cluster.BuildImages(ctx, inv.config, inv.out, inv.tag, rest...)
		for _, a := range archives {
			fmt.Fprintln(inv.Out, a)
		}
		return err
	case "load":
		if len(rest) == 0 {
			return errors.New("images load needs the archives to load")
		}
		c, err := cluster.Open(ctx, inv.config)
		if err != nil {
			return err
		}
		return c.LoadImages(ctx, rest...)
	default:
		return fmt.Errorf("images can build and load, not %q", verb)
	}
}

func binariesFlags(inv *invocation, flags *pflag.FlagSet) {
	flags.StringVar(&inv.links, "link", filepath.Join(inv.config.BuildDir, "bin"), "folder for links to the programs")
}

func programs(ctx context.Context, inv *invocation, args []string) error {
	if len(args) == 0 {
		args = binaries.All()
	}
	builder, err := inv.config.Builder()
	if err != nil {
		return err
	}
	paths, err := builder.Build(ctx, args...)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(inv.links, 0o755); err != nil {
		return fmt.Errorf("linking programs: %w", err)
	}
	for _, name := range args {
		link := filepath.Join(inv.links, name)
		if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("linking %s: %w", name, err)
		}
		if err := os.Symlink(paths[name], link); err != nil {
			return fmt.Errorf("linking %s: %w", name, err)
		}
		fmt.Fprintln(inv.Out, link)
	}
	return nil
}
