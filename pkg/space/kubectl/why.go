// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/kubectl/model"
)

func newWhy(o *options) *cobra.Command {
	return &cobra.Command{
		Use:               "why CLAIM | POD | pod/POD",
		Short:             "Explain why a claim or a pod has no space yet",
		Long:              "Explain why a claim or a pod has no space yet. A bare name is a claim's, or a pod's if there is no claim of that name.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.once(o.claimAndPodNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, namespace, err := o.reader()
			if err != nil {
				return err
			}
			explanation, note, err := r.why(cmd.Context(), namespace, args[0])
			if err != nil {
				return err
			}
			fmt.Fprintln(o.streams.Out, explanation.Text)
			if note != "" && explanation.Cause != model.CauseNone {
				fmt.Fprintln(o.streams.ErrOut, note)
			}
			return nil
		},
	}
}

// why reads what there is to know about a claim or a pod, and explains it.
func (r *reader) why(ctx context.Context, namespace, arg string) (model.Explanation, string, error) {
	var none model.Explanation
	// What others use of the pools can be seen by whoever may read all claims.
	s, err := r.claims(ctx, "")
	if apierrors.IsForbidden(err) {
		if s, err = r.claims(ctx, namespace); err == nil {
			s.Missing = s.Missing.With(model.ListAllClaims)
		}
	}
	if err != nil {
		return none, "", err
	}
	published, err := r.client.ResourceV1().ResourceSlices().List(ctx, metav1.ListOptions{FieldSelector: "spec.driver=" + r.driver})
	if err = allowed(s, err, model.ListSlices); err != nil {
		return none, "", fmt.Errorf("list ResourceSlices: %w", err)
	}
	if !s.Missing.Has(model.ListSlices) {
		s.Slices = published.Items
	}
	if pod, isPod := podName(arg); isPod {
		return r.whyPod(ctx, s, namespace, pod)
	}
	name, err := claimName(arg)
	if err != nil {
		return none, "", err
	}
	claim := s.Claim(namespace, name)
	if claim == nil {
		e, note, err := r.whyPod(ctx, s, namespace, name)
		if apierrors.IsNotFound(err) {
			err = fmt.Errorf("there is neither a ResourceClaim nor a Pod %s in namespace %s", name, namespace)
		}
		return e, note, err
	}
	if err := r.spaces(ctx, s, []resourceapi.ResourceClaim{*claim}); err != nil {
		return none, "", err
	}
	for i := range s.Pods {
		if p := &s.Pods[i]; p.Namespace == namespace && slices.Contains(model.ClaimsOf(p), name) {
			if err := r.readEvents(ctx, s, "Pod", namespace, p.Name); err != nil {
				return none, "", err
			}
		}
	}
	return s.WhyClaim(claim), s.Note(), nil
}

func (r *reader) whyPod(ctx context.Context, s *model.Snapshot, namespace, name string) (model.Explanation, string, error) {
	var none model.Explanation
	pod := s.Pod(namespace, name)
	if pod == nil {
		live, err := r.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return none, "", fmt.Errorf("get Pod %s/%s: %w", namespace, name, err)
		}
		s.Pods = append(s.Pods, *live)
		pod = &s.Pods[len(s.Pods)-1]
	}
	if err := r.spaces(ctx, s, claimsOf(s, pod)); err != nil {
		return none, "", err
	}
	if err := r.readEvents(ctx, s, "Pod", namespace, name); err != nil {
		return none, "", err
	}
	return s.WhyPod(pod), s.Note(), nil
}

// claimsOf are the claims of a pod that there are.
func claimsOf(s *model.Snapshot, pod *corev1.Pod) []resourceapi.ResourceClaim {
	var out []resourceapi.ResourceClaim
	for _, name := range model.ClaimsOf(pod) {
		if claim := s.Claim(pod.Namespace, name); claim != nil {
			out = append(out, *claim)
		}
	}
	return out
}

// podName is the name in an argument that says that it is a pod's.
func podName(arg string) (string, bool) {
	for _, kind := range []string{"pod/", "pods/", "po/"} {
		if name, found := strings.CutPrefix(arg, kind); found {
			return name, true
		}
	}
	return "", false
}

func (o *options) claimAndPodNames(ctx context.Context) []string {
	return append(o.claimNames(ctx), o.podNames(ctx)...)
}
