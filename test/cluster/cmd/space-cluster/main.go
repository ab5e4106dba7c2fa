// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command space-cluster creates and deletes Kubernetes clusters on this
// machine, without a container engine.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/cluster/binaries"
	"github.com/space-dra/space-dra-driver/test/cluster/hostinit"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == hostinit.Subcommand {
		fmt.Fprintln(os.Stderr, "Error:", hostinit.Run(os.Args[2]))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		os.Exit(1)
	}
}

// command returns the command with its subcommands.
func command() *cobra.Command {
	cfg := cluster.DefaultConfig()
	cfg.Log = func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	root := &cobra.Command{
		Use:          "space-cluster",
		Short:        "A Kubernetes cluster on this machine, without a container engine.",
		SilenceUsage: true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&cfg.Name, "name", cfg.Name, "name of the cluster")
	flags.StringVar(&cfg.Kubeconfig, "kubeconfig", "", "path of the kubeconfig (default: kubeconfig in the build directory; <name>.kubeconfig for another name)")

	create := &cobra.Command{
		Use: "create", Short: "Create the cluster, or start its processes that are not running.", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := cluster.Create(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			fmt.Println(c.Kubeconfig())
			return nil
		},
	}
	create.Flags().IntVar(&cfg.Nodes, "nodes", cfg.Nodes, "number of nodes; 0 is a control plane only")
	create.Flags().BoolVar(&cfg.NetworkPolicies, "network-policies", false, "enforce NetworkPolicies, and run CoreDNS")

	root.AddCommand(
		create,
		&cobra.Command{
			Use: "delete", Short: "Delete the cluster.", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return cluster.Delete(cmd.Context(), cfg) },
		},
		&cobra.Command{
			Use: "status", Short: "Show hosts and their processes.", Args: cobra.NoArgs,
			RunE: onCluster(&cfg, status),
		},
		&cobra.Command{
			Use: "kubeconfig", Short: "Print the path of the administrator's kubeconfig.", Args: cobra.NoArgs,
			RunE: onCluster(&cfg, func(_ context.Context, c *cluster.Cluster, _ []string) error {
				fmt.Println(c.Kubeconfig())
				return nil
			}),
		},
		&cobra.Command{
			Use: "exec HOST -- COMMAND [ARG...]", Short: "Run a command inside a host's namespaces.", Args: cobra.MinimumNArgs(2),
			RunE: onCluster(&cfg, execute),
		},
		images(&cfg),
		&cobra.Command{
			Use: "binaries [PROGRAM...]", Short: "Build programs, by default all, link them into build/bin and print their paths.",
			ValidArgs: binaries.All(), Args: cobra.OnlyValidArgs,
			RunE: func(cmd *cobra.Command, names []string) error { return programs(cmd.Context(), cfg, names) },
		},
	)
	return root
}

// onCluster returns the function of a command that works on a running cluster.
func onCluster(cfg *cluster.Config, f func(context.Context, *cluster.Cluster, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := cluster.Open(*cfg)
		if err != nil {
			return err
		}
		return f(cmd.Context(), c, args)
	}
}

func status(_ context.Context, c *cluster.Cluster, _ []string) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tADDRESS\tPROCESS\tSTATE\tLOG")
	var errs []error
	for _, h := range c.Hosts() {
		processes, err := h.Processes()
		errs = append(errs, err)
		for _, p := range processes {
			state := "running"
			if !p.Running {
				state = "not running"
				errs = append(errs, fmt.Errorf("%s on %s is not running", p.Name, h.Name()))
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", h.Name(), h.Address(), p.Name, state, h.LogFile(p.Name))
		}
	}
	return errors.Join(append(errs, w.Flush())...)
}

func execute(ctx context.Context, c *cluster.Cluster, args []string) error {
	i := slices.IndexFunc(c.Hosts(), func(h *cluster.Host) bool { return h.Name() == args[0] })
	if i < 0 {
		return fmt.Errorf("no host %q; space-cluster status lists them", args[0])
	}
	inside := c.Hosts()[i].Command(ctx, args[1:]...)
	inside.Stdin, inside.Stdout, inside.Stderr = os.Stdin, os.Stdout, os.Stderr
	return inside.Run()
}

func images(cfg *cluster.Config) *cobra.Command {
	parent := &cobra.Command{Use: "images", Short: "Build image archives, or load them into every node."}
	var tag string
	build := &cobra.Command{
		Use: "build [driver|toolbox]...", Short: "Build image archives, by default all, into build/images.",
		ValidArgs: cluster.Images(), Args: cobra.OnlyValidArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 {
				names = cluster.Images()
			}
			archives, err := cluster.BuildImages(cmd.Context(), *cfg, filepath.Join(cfg.BuildDir, "images"), tag, names...)
			for _, a := range archives {
				fmt.Println(a)
			}
			return err
		},
	}
	build.Flags().StringVar(&tag, "tag", cluster.DefaultTag, "tag of the driver's image")
	load := &cobra.Command{
		Use: "load FILE...", Short: "Load image archives into every node.", Args: cobra.MinimumNArgs(1),
		RunE: onCluster(cfg, func(ctx context.Context, c *cluster.Cluster, archives []string) error {
			return c.LoadImages(ctx, archives...)
		}),
	}
	parent.AddCommand(build, load)
	return parent
}

func programs(ctx context.Context, cfg cluster.Config, names []string) error {
	if len(names) == 0 {
		names = binaries.All()
	}
	builder, err := cfg.Builder()
	if err != nil {
		return err
	}
	paths, err := builder.Build(ctx, names...)
	if err != nil {
		return err
	}
	links := filepath.Join(cfg.BuildDir, "bin")
	if err := os.MkdirAll(links, 0o755); err != nil {
		return fmt.Errorf("link programs: %w", err)
	}
	for _, name := range names {
		link := filepath.Join(links, name)
		if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("link %s: %w", name, err)
		}
		if err := os.Symlink(paths[name], link); err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
		fmt.Println(link)
	}
	return nil
}
