// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/util/completion"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/client"
	"github.com/space-dra/space-dra-driver/pkg/space/holder"
)

func newCreate(o *options, version string) *cobra.Command {
	var n newSpace
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "create CLAIM",
		Short: "Create a space that exists for a time, without a pod of your own",
		Long: "Create a space that exists for a time, without a pod of your own.\n" +
			"A Job of the same name as the claim holds the space. When it ends, it is deleted with the claim and the space.",
		Example: "  # Create a space for a working day\n  kubectl space create pr-42 --ttl 8h\n\n" +
			"  # Use it\n  kubectl space exec pr-42 -- kubectl get pods\n\n" +
			"  # Delete it earlier\n  kubectl space delete pr-42",
		Args: cobra.ExactArgs(1),
		RunE: o.withReader(func(ctx context.Context, r *reader, args []string) error {
			_, name, err := parseArg(args[0], claimKind)
			if err != nil {
				return err
			}
			if ttl < time.Second {
				return fmt.Errorf("--ttl %s is less than a second", ttl)
			}
			h, err := n.start(ctx, o, r, name)
			if err != nil {
				return err
			}
			if err := h.Keep(ctx, ttl); err != nil {
				o.close(h)
				return err
			}
			_, err = fmt.Fprintf(o.streams.Out, "%s created: its space, %s, ends in %s\nRun a command in it: kubectl space exec %[4]s -n %[5]s -- COMMAND\nDelete it earlier: kubectl space delete %[4]s -n %[5]s\n",
				qualified(name), h.SpaceNamespace(), ttl, name, r.namespace)
			return err
		}),
	}
	n.addFlags(o, version, cmd)
	cmd.Flags().DurationVar(&ttl, "ttl", 8*time.Hour, "How long the space exists.")
	return cmd
}

// qualified returns the name of a claim as kubectl prints it.
func qualified(name string) string {
	return resourceapi.Resource(claimKind).String() + "/" + name
}

func newDelete(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "delete CLAIM ...",
		Short: "Delete claims of kubectl space create, and their spaces",
		Long: "Delete claims of kubectl space create, with their Jobs and their spaces, and wait until they no longer exist.\n" +
			"To delete another claim, delete its pods, and run kubectl delete resourceclaim.",
		Example:           "  # Delete a space before its time\n  kubectl space delete pr-42",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: o.completeNames(claimKind),
		RunE: o.withReader(func(ctx context.Context, r *reader, args []string) error {
			return o.each(args, func(arg string) error {
				_, name, err := parseArg(arg, claimKind)
				if err != nil {
					return err
				}
				if err := r.deleteHolder(ctx, name); err != nil {
					return err
				}
				if err := r.awaitClaim(ctx, name, true); err != nil {
					return err
				}
				_, err = fmt.Fprintln(o.streams.Out, qualified(name), "deleted")
				return err
			})
		}),
	}
}

// deleteHolder deletes the holder of a claim, and so the claim.
func (r *reader) deleteHolder(ctx context.Context, name string) error {
	job, err := r.client.BatchV1().Jobs(r.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil && !client.IsNotFound(err) {
		return err
	}
	if _, isHolder := job.Labels[spaceapi.HolderLabel(r.driver)]; err == nil && isHolder {
		return holder.Delete(ctx, r.client, job)
	}
	if _, err := r.client.ResourceV1().ResourceClaims(r.namespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
		return err
	}
	return fmt.Errorf("ResourceClaim %s is not one of kubectl space create: delete its pods, and run kubectl delete resourceclaim %s", name, name)
}

func newWait(o *options) *cobra.Command {
	var state string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait CLAIM --for=(ready|gone)",
		Short: "Wait until the spaces of a claim are ready, or until the claim no longer exists",
		Long: "Wait until all spaces of a claim are ready, or until the claim no longer exists.\n" +
			"If a space will never be ready, it returns an error at once.",
		Example: "  # Wait for a space that another program creates\n  kubectl space wait my-claim --for=ready\n\n" +
			"  # Wait until a claim is deleted\n  kubectl space wait my-claim --for=gone --timeout=10m",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completion.ResourceNameCompletionFunc(o.factory, claimKind),
		RunE: o.withReader(func(ctx context.Context, r *reader, args []string) error {
			_, name, err := parseArg(args[0], claimKind)
			if err != nil {
				return err
			}
			if state != "ready" && state != "gone" {
				return errors.New("--for must be ready or gone")
			}
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			if err := r.awaitClaim(ctx, name, state == "gone"); ctx.Err() == nil {
				return err
			}
			explain, cancel := context.WithTimeout(context.WithoutCancel(ctx), explainTimeout)
			defer cancel()
			e, _, err := r.why(explain, name)
			if err != nil {
				return err
			}
			return fmt.Errorf("ResourceClaim %s is not %s after %s. %s", name, state, timeout, e.Message)
		}),
	}
	cmd.Flags().StringVar(&state, "for", "ready", "What to wait for: ready or gone.")
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "How long to wait.")
	cmdutil.CheckErr(cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions([]string{"ready", "gone"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// awaitClaim waits until all spaces of a claim are ready, or until the claim no longer exists.
func (r *reader) awaitClaim(ctx context.Context, name string, gone bool) error {
	missing := func() (bool, error) {
		if gone {
			return true, nil
		}
		return false, apierrors.NewNotFound(resourceapi.Resource("resourceclaims"), name)
	}
	// The watch would repeat a request that is forbidden.
	switch _, err := r.client.ResourceV1().ResourceClaims(r.namespace).Get(ctx, name, metav1.GetOptions{}); {
	case client.IsNotFound(err):
		_, err = missing()
		return err
	case err != nil:
		return err
	}
	claims := cache.NewListWatchFromClient(r.client.ResourceV1().RESTClient(), "resourceclaims", r.namespace, fields.OneTermEqualSelector("metadata.name", name))
	_, err := watchtools.UntilWithSync(ctx, claims, &resourceapi.ResourceClaim{}, func(store cache.Store) (bool, error) {
		if len(store.List()) == 0 {
			return missing()
		}
		return false, nil
	}, func(e watch.Event) (bool, error) {
		claim, ok := e.Object.(*resourceapi.ResourceClaim)
		switch {
		case !ok:
			return false, apierrors.FromObject(e.Object)
		case e.Type == watch.Deleted:
			return missing()
		case gone:
			return false, nil
		}
		return spacesReady(claim, r.driver)
	})
	return err
}

// spacesReady reports whether all spaces of a claim are ready, and returns an error if one never will be.
func spacesReady(claim *resourceapi.ResourceClaim, driver string) (bool, error) {
	ready := true
	for _, space := range (&snapshot{driver: driver}).spacesOf(claim) {
		if slices.Contains(holder.FinalReasons, space.State) {
			return false, space.notReady()
		}
		ready = ready && space.Ready != nil
	}
	return ready, nil
}
