// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/kubectl/model"
)

func newWhy(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "why (CLAIM | POD | pod/POD | namespace/SPACE) ...",
		Short: "Explain why a claim or a pod has no space yet, or why a space does not go",
		Long: "Explain why a claim or a pod has no space yet, or why a space does not go.\n" +
			"A bare name is a claim's, or a pod's if there is no claim of that name.",
		Example: "  # Why does this pod wait?\n  kubectl space why pod/my-pod\n\n" +
			"  # Why does a claim have no space?\n  kubectl space why my-claim\n\n" +
			"  # Why is this namespace still there?\n  kubectl space why namespace/ephemeral-ns-5h57rgwvpj",
		Args:              some("ResourceClaim, Pod or Namespace"),
		ValidArgsFunction: o.any(o.whyNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, namespace, err := o.reader()
			if err != nil {
				return err
			}
			for _, arg := range args {
				explanation, note, err := r.why(cmd.Context(), namespace, arg)
				if err != nil {
					return err
				}
				fmt.Fprintln(o.streams.Out, explanation.Text)
				if note != "" && explanation.Unsure() {
					fmt.Fprintln(o.streams.ErrOut, note)
				}
			}
			return nil
		},
	}
}

// why reads what there is to know about a claim, a pod or a space, and explains it.
func (r *reader) why(ctx context.Context, namespace, arg string) (model.Explanation, string, error) {
	var none model.Explanation
	t, err := parse(arg, aClaim, aPod, aNamespace)
	if err != nil {
		return none, "", err
	}
	name, space := t.name, ""
	if t.kind == aNamespace {
		space = t.name
		if namespace, name, err = r.claimOfSpace(ctx, space); err != nil {
			return none, "", err
		}
	}
	s, err := r.everything(ctx, namespace)
	if err != nil {
		return none, "", err
	}
	if t.kind == aPod {
		return r.whyPod(ctx, s, namespace, name)
	}
	claim := s.Claim(namespace, name)
	if claim == nil && t.kind == "" {
		e, note, err := r.whyPod(ctx, s, namespace, name)
		if !apierrors.IsNotFound(err) {
			return e, note, err
		}
	}
	if claim == nil {
		return r.whyGone(ctx, s, namespace, name)
	}
	if err := r.spaces(ctx, s, []resourceapi.ResourceClaim{*claim}); err != nil {
		return none, "", err
	}
	if e := s.WhyLeft(namespace, name, space); space != "" && e != nil {
		return *e, s.Note(), nil
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

// everything is what others use of the pools too, for whoever may read all claims.
func (r *reader) everything(ctx context.Context, namespace string) (*model.Snapshot, error) {
	s, err := r.allClaims(ctx, namespace)
	if err != nil {
		return nil, err
	}
	published, err := r.client.ResourceV1().ResourceSlices().List(ctx, metav1.ListOptions{FieldSelector: "spec.driver=" + r.driver})
	if err = allowed(s, err, model.ListSlices); err != nil {
		return nil, fmt.Errorf("list ResourceSlices: %w", err)
	}
	if !s.Missing.Has(model.ListSlices) {
		s.Slices = published.Items
	}
	return s, nil
}

// whyGone is about a claim that is not there, of which a space may be left.
func (r *reader) whyGone(ctx context.Context, s *model.Snapshot, namespace, name string) (model.Explanation, string, error) {
	if err := r.spaces(ctx, s, nil); err != nil {
		return model.Explanation{}, "", err
	}
	if e := s.WhyLeft(namespace, name, ""); e != nil {
		return *e, s.Note(), nil
	}
	err := fmt.Errorf("there is neither a ResourceClaim nor a Pod %s in namespace %s", name, namespace)
	if s.Missing.Has(model.ListNamespaces) {
		err = fmt.Errorf("%w; whether something is left of a space would be known with the right to %s", err, model.ListNamespaces)
	}
	return model.Explanation{}, "", err
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
