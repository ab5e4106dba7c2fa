// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	batchv1 "k8s.io/api/batch/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/kubectl/pkg/util/completion"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

func newExtend(o *options) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "extend CLAIM DURATION",
		Short: "Extend the lifetime of the spaces of a claim",
		Long: "Extend the lifetime of the spaces of a claim, as far as their class allows, and wait until it is extended.\n" +
			"It needs permission to get, watch and patch the claim.",
		Example:           "  # Keep the space of a claim for another hour\n  kubectl space extend my-claim 1h",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completion.ResourceNameCompletionFunc(o.factory, claimKind),
		RunE: o.withReader(func(ctx context.Context, r *reader, args []string) error {
			_, name, err := parseArg(args[0], claimKind)
			if err != nil {
				return err
			}
			by, err := time.ParseDuration(args[1])
			if err != nil || by < time.Second {
				return fmt.Errorf("%q is not a duration of at least one second, such as 1h30m", args[1])
			}
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			until, err := r.extend(ctx, name, by)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(o.streams.Out, "%s extended until %s\n", qualified(name), until.UTC().Format(time.RFC3339))
			return err
		}),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "How long to wait until the lifetime is extended.")
	return cmd
}

// extend extends the lifetime of the spaces of a claim, and of the Job that holds it, if any. It returns
// the new end.
func (r *reader) extend(ctx context.Context, name string, by time.Duration) (time.Time, error) {
	claim, err := r.client.ResourceV1().ResourceClaims(r.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return time.Time{}, err
	}
	end, last, err := r.lifetimeOf(claim)
	if err != nil {
		return time.Time{}, err
	}
	job, err := r.holderOf(ctx, claim)
	if err != nil {
		return time.Time{}, err
	}
	var ends []time.Time
	if end != nil {
		ends = append(ends, end.Time)
	}
	if job != nil {
		ends = append(ends, deadlineOf(job))
	}
	if len(ends) == 0 {
		return time.Time{}, fmt.Errorf("the lifetime of ResourceClaim %s is not limited", name)
	}
	until := slices.MinFunc(ends, time.Time.Compare).Add(by).Truncate(time.Second) // as in the status
	if end != nil && until.After(end.Time) {
		if last == nil || until.After(last.Time) {
			return time.Time{}, fmt.Errorf("ResourceClaim %s expires at %s, and its class allows extensions until %s at most",
				name, end.UTC().Format(time.RFC3339), cmp.Or(last, end).UTC().Format(time.RFC3339))
		}
		if err := r.requestExtension(ctx, claim, until.Sub(end.Time), until); err != nil {
			return time.Time{}, err
		}
	}
	if job != nil && until.After(deadlineOf(job)) {
		// The UID ensures that no later Job of the same name is changed.
		patch := fmt.Appendf(nil, `{"metadata":{"uid":%q},"spec":{"activeDeadlineSeconds":%d}}`, job.UID, int64(until.Sub(job.Status.StartTime.Time).Seconds()))
		if _, err := r.client.BatchV1().Jobs(job.Namespace).Patch(ctx, job.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return time.Time{}, err
		}
	}
	return until, nil
}

// lifetimeOf returns when the spaces of a claim expire, and the latest time to which they can be
// extended. Both are nil if their lifetime is not limited.
func (r *reader) lifetimeOf(claim *resourceapi.ResourceClaim) (end, last *metav1.Time, err error) {
	space := (&snapshot{driver: r.driver}).spacesOf(claim)[0] // All expire together.
	if space.Ready == nil {
		return nil, nil, space.notReady()
	}
	return space.Ready.ExpirationTimestamp, space.Ready.MaxExpirationTimestamp, nil
}

// holderOf returns the Job with a deadline that owns a claim and holds its spaces, or nil.
func (r *reader) holderOf(ctx context.Context, claim *resourceapi.ResourceClaim) (*batchv1.Job, error) {
	owner := find(claim.OwnerReferences, func(o *metav1.OwnerReference) bool { return o.Kind == "Job" })
	if owner == nil || claim.Labels[spaceapi.HolderLabel(r.driver)] == "" {
		return nil, nil
	}
	job, err := r.client.BatchV1().Jobs(claim.Namespace).Get(ctx, owner.Name, metav1.GetOptions{})
	if err != nil || job.Spec.ActiveDeadlineSeconds == nil || job.Status.StartTime == nil {
		return nil, err
	}
	return job, nil
}

func deadlineOf(job *batchv1.Job) time.Time {
	return job.Status.StartTime.Add(time.Duration(ptr.Deref(job.Spec.ActiveDeadlineSeconds, 0)) * time.Second)
}

// requestExtension adds to the extension in the annotation of a claim, and waits until the controller
// reports that the spaces expire at the new end.
func (r *reader) requestExtension(ctx context.Context, claim *resourceapi.ResourceClaim, by time.Duration, until time.Time) error {
	key := (&snapshot{driver: r.driver}).keys().Extension
	extension, err := time.ParseDuration(cmp.Or(claim.Annotations[key], "0s"))
	if err != nil {
		return fmt.Errorf("annotation %s of ResourceClaim %s is not a duration: remove it", key, claim.Name)
	}
	claims := r.client.ResourceV1().ResourceClaims(claim.Namespace)
	changes, err := claims.Watch(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, claim.Name).String(), ResourceVersion: claim.ResourceVersion,
	})
	if err != nil {
		return err
	}
	// The resourceVersion ensures that two commands at the same time do not replace each other's extension.
	patch := fmt.Appendf(nil, `{"metadata":{"resourceVersion":%q,"annotations":{%q:%q}}}`, claim.ResourceVersion, key, extension+by)
	if _, err := claims.Patch(ctx, claim.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		changes.Stop()
		return err
	}
	_, err = watchtools.UntilWithoutRetry(ctx, changes, func(e watch.Event) (bool, error) {
		changed, is := e.Object.(*resourceapi.ResourceClaim)
		if !is || e.Type == watch.Deleted {
			return false, fmt.Errorf("ResourceClaim %s was deleted while its lifetime was extended", claim.Name)
		}
		end, _, err := r.lifetimeOf(changed)
		return end != nil && !end.Time.Before(until), err
	})
	if wait.Interrupted(err) {
		return fmt.Errorf("ResourceClaim %s is annotated, but the controller has not extended the lifetime of its spaces: kubectl describe resourceclaim %s shows its events", claim.Name, claim.Name)
	}
	return err
}
