// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line of space-cluster.
package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/cluster/binaries"
)

// New returns the command with its subcommands.
func New() *cobra.Command {
	cfg := cluster.DefaultConfig()
	root := &cobra.Command{
		Use:          "space-cluster",
		Short:        "A Kubernetes cluster on this machine, without a container engine.",
		SilenceUsage: true,
	}
	cfg.Log = func(format string, args ...any) { fmt.Fprintf(root.ErrOrStderr(), format+"\n", args...) }
	flags := root.PersistentFlags()
	flags.StringVar(&cfg.Name, "name", cfg.Name, "name of the cluster")
	flags.StringVar(&cfg.BuildDir, "build-dir", cfg.BuildDir, "where programs are built and kept")
	flags.StringVar(&cfg.Kubeconfig, "kubeconfig", "", "where the kubeconfig is written (default: kubeconfig in the build folder; <name>.kubeconfig for a name of your own)")
	root.AddCommand(create(&cfg), remove(&cfg), status(&cfg), kubeconfig(&cfg), execute(&cfg), images(&cfg), programs(&cfg))
	return root
}

func create(cfg *cluster.Config) *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: "Create the cluster, or start what isn't running of it.", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := cluster.Create(cmd.Context(), *cfg)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), c.Kubeconfig())
			return nil
		},
	}
	cmd.Flags().IntVar(&cfg.Nodes, "nodes", cfg.Nodes, "number of nodes; 0 is a control plane only")
	return cmd
}

func remove(cfg *cluster.Config) *cobra.Command {
	return &cobra.Command{
		Use: "delete", Short: "Delete the cluster and all that belongs to it.", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cluster.Delete(cmd.Context(), *cfg) },
	}
}

func status(cfg *cluster.Config) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show hosts and their processes.", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := cluster.Open(cmd.Context(), *cfg)
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "HOST\tADDRESS\tPROCESS\tSTATE\tLOG")
			var errs []error
			for _, h := range c.Hosts() {
				processes, err := h.Processes(cmd.Context())
				errs = append(errs, err)
				for _, p := range processes {
					state := "running"
					if !p.Running {
						state = p.Exit
						errs = append(errs, fmt.Errorf("%s on %s is not running: %s", p.Name, h.Name(), p.Exit))
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", h.Name(), h.Address(), p.Name, state, h.LogFile(p.Name))
				}
			}
			return errors.Join(append(errs, w.Flush())...)
		},
	}
}

func kubeconfig(cfg *cluster.Config) *cobra.Command {
	return &cobra.Command{
		Use: "kubeconfig", Short: "Print the path of the administrator's kubeconfig.", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := cluster.Open(cmd.Context(), *cfg)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), c.Kubeconfig())
			return nil
		},
	}
}

func execute(cfg *cluster.Config) *cobra.Command {
	return &cobra.Command{
		Use: "exec HOST -- COMMAND [ARG...]", Short: "Run a command inside a host's namespaces.", Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := cluster.Open(cmd.Context(), *cfg)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(c.Hosts(), func(h *cluster.Host) bool { return h.Name() == args[0] })
			if i < 0 {
				return fmt.Errorf("no host %q; space-cluster status lists them", args[0])
			}
			inside := c.Hosts()[i].Command(cmd.Context(), args[1:]...)
			inside.Stdin, inside.Stdout, inside.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			return inside.Run()
		},
	}
}

func images(cfg *cluster.Config) *cobra.Command {
	parent := &cobra.Command{Use: "images", Short: "Build image archives, or load them into every node."}
	var out, tag string
	build := &cobra.Command{
		Use: "build [driver|toolbox]...", Short: "Build image archives, by default all.", ValidArgs: cluster.Images(), Args: cobra.OnlyValidArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 {
				names = cluster.Images()
			}
			archives, err := cluster.BuildImages(cmd.Context(), *cfg, out, tag, names...)
			for _, a := range archives {
				fmt.Fprintln(cmd.OutOrStdout(), a)
			}
			return err
		},
	}
	build.Flags().StringVar(&out, "out", filepath.Join(cfg.BuildDir, "images"), "where archives are written")
	build.Flags().StringVar(&tag, "tag", cluster.DefaultTag, "tag of the driver's image")
	load := &cobra.Command{
		Use: "load FILE...", Short: "Load image archives into every node.", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, archives []string) error {
			c, err := cluster.Open(cmd.Context(), *cfg)
			if err != nil {
				return err
			}
			return c.LoadImages(cmd.Context(), archives...)
		},
	}
	parent.AddCommand(build, load)
	return parent
}

func programs(cfg *cluster.Config) *cobra.Command {
	var links string
	cmd := &cobra.Command{
		Use: "binaries [PROGRAM...]", Short: "Build programs, link them into one folder and print their paths.",
		ValidArgs: binaries.All(), Args: cobra.OnlyValidArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 {
				names = binaries.All()
			}
			builder, err := cfg.Builder()
			if err != nil {
				return err
			}
			paths, err := builder.Build(cmd.Context(), names...)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(links, 0o755); err != nil {
				return fmt.Errorf("linking programs: %w", err)
			}
			for _, name := range names {
				link := filepath.Join(links, name)
				if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
					return fmt.Errorf("linking %s: %w", name, err)
				}
				if err := os.Symlink(paths[name], link); err != nil {
					return fmt.Errorf("linking %s: %w", name, err)
				}
				fmt.Fprintln(cmd.OutOrStdout(), link)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&links, "link", filepath.Join(cfg.BuildDir, "bin"), "folder for links to the programs")
	return cmd
}
