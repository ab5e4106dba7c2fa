// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/kubectl/model"
)

func newEnv(o *options) *cobra.Command {
	var container string
	cmd := &cobra.Command{
		Use:   "env POD",
		Short: "Show which variables and files of spaces the containers of a pod see",
		Example: "  kubectl space env my-pod\n\n" +
			"  # What one container sees\n  kubectl space env my-pod -c main",
		Args:              one("Pod"),
		ValidArgsFunction: o.once(o.podNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parse(args[0], aPod)
			if err != nil {
				return err
			}
			seen, err := o.seen(cmd.Context(), t.name)
			if err != nil {
				return err
			}
			seen = only(seen, func(s model.Seen) bool { return container == "" || s.Container == container })
			if len(seen) == 0 {
				fmt.Fprintln(o.streams.ErrOut, "No container sees a space.")
			}
			printSeen(o.streams.Out, seen)
			return nil
		},
	}
	cmd.Flags().StringVarP(&container, "container", "c", "", "Show what this container sees only.")
	o.completeOf(cmd, "container", o.containerNames)
	return cmd
}

func (o *options) seen(ctx context.Context, name string) ([]model.Seen, error) {
	r, namespace, err := o.reader()
	if err != nil {
		return nil, err
	}
	pod, err := r.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get Pod %s/%s: %w", namespace, name, err)
	}
	s := &model.Snapshot{Driver: r.driver, Now: r.clock.Now()}
	for _, of := range model.ClaimsOf(pod) {
		claim, err := r.client.ResourceV1().ResourceClaims(namespace).Get(ctx, of, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("get ResourceClaim %s/%s: %w", namespace, of, err)
		}
		s.Claims = append(s.Claims, *claim)
	}
	return s.EnvOf(pod)
}

func printSeen(out io.Writer, seen []model.Seen) {
	for i, s := range seen {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "# container %s: ResourceClaim %s, request %s\n", s.Container, s.Claim, s.Request)
		fmt.Fprintf(out, "# kubeconfig, token, ca.crt and namespace are in %s\n", strings.Join(s.Dirs, ", "))
		for _, variable := range s.Env {
			fmt.Fprintln(out, variable)
		}
	}
}
