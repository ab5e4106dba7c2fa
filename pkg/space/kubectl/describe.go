// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/kubectl/pkg/describe"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

func newDescribe(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "describe (CLAIM | namespace/SPACE) ...",
		Short: "Show details of the spaces of claims",
		Long: "Show details of the spaces of claims, and the events about the claims.\n" +
			"With namespace/SPACE, show the claim that the namespace belongs to.",
		Example: "  # Describe the spaces of a claim\n  kubectl space describe my-claim\n\n" +
			"  # Describe the claim that a namespace belongs to\n  kubectl space describe namespace/ephemeral-ns-5h57rgwvpj\n\n" +
			"  # Describe the spaces of all claims with a label\n  kubectl space describe $(kubectl space list -l team=ci -o name)",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: o.completeNames(claimKind, namespaceKind),
		RunE: o.withReader(func(ctx context.Context, r *reader, args []string) error {
			separator := ""
			return o.each(args, func(arg string) error {
				s, namespace, name, err := r.readClaim(ctx, arg)
				if err != nil {
					return err
				}
				fmt.Fprint(o.streams.Out, separator)
				separator = "\n\n"
				tabs := tabwriter.NewWriter(o.streams.Out, 0, 8, 2, ' ', 0)
				s.describe(escapingWriter{describe.NewPrefixWriter(tabs)}, namespace, name)
				return tabs.Flush()
			})
		}),
	}
}

// readClaim reads what describe shows of the claim that an argument names. The claim may no longer
// exist if one of its spaces does.
func (r *reader) readClaim(ctx context.Context, arg string) (s *snapshot, namespace, name string, err error) {
	kind, name, err := parseArg(arg, claimKind, namespaceKind)
	namespace = r.namespace
	if kind == namespaceKind {
		namespace, name, err = r.claimOfSpace(ctx, name)
	}
	if err == nil {
		s, err = r.read(ctx, namespace)
	}
	if err == nil {
		err = r.readQuotas(ctx, s)
	}
	if err == nil {
		err = r.readEvents(ctx, s, claimEvents, namespace)
	}
	if err == nil && s.claim(namespace, name) == nil && len(s.deprovisionedSpaces(namespace, name)) == 0 {
		err = apierrors.NewNotFound(resourceapi.Resource("resourceclaims"), name)
	}
	return s, namespace, name, err
}

// describe writes the details of the spaces of a claim, and of namespaces of its
// deprovisioned spaces.
func (s *snapshot) describe(w describe.PrefixWriter, namespace, name string) {
	line := func(level int, name, value string) { w.Write(level, "%s:\t%s\n", name, value) }
	line(describe.LEVEL_0, "Claim", name)
	line(describe.LEVEL_0, "Namespace", namespace)
	spaces := s.deprovisionedSpaces(namespace, name)
	if claim := s.claim(namespace, name); claim != nil {
		current := s.spacesOf(claim)
		line(describe.LEVEL_0, "UID", string(claim.UID))
		line(describe.LEVEL_0, "Created", s.since(claim.CreationTimestamp.Time))
		if at := current[0].AllocatedAt; at != nil {
			line(describe.LEVEL_0, "Allocated", s.since(at.Time))
		}
		line(describe.LEVEL_0, "Pods", joined(current[0].Pods))
		line(describe.LEVEL_0, "Nodes", joined(current[0].Nodes))
		spaces = append(current, spaces...)
	}
	for _, space := range spaces {
		line(describe.LEVEL_0, "Space", orNone(space.Space))
		s.describeSpace(func(name, value string) { line(describe.LEVEL_1, name, value) }, space)
		if len(space.Quota) == 0 {
			line(describe.LEVEL_1, "Quota", s.mostUsed(space))
			continue
		}
		line(describe.LEVEL_1, "Quota", "")
		for _, q := range space.Quota {
			line(describe.LEVEL_2, q.Resource, cmp.Or(q.Used, "?")+" of "+q.Hard)
		}
	}
	// Not those about an earlier claim of the same name, unless one of its spaces still exists.
	events := slices.DeleteFunc(slices.Clone(s.events), func(e corev1.Event) bool {
		return !slices.ContainsFunc(spaces, func(space spaceSummary) bool { return space.UID == e.InvolvedObject.UID })
	})
	describe.DescribeEvents(&corev1.EventList{Items: events}, w)
	if note := s.note(); note != "" {
		w.WriteLine(note)
	}
}

func (s *snapshot) describeSpace(line func(name, value string), space spaceSummary) {
	keys := s.keys()
	line("State", space.State)
	if space.Message != "" {
		line("Message", space.Message)
	}
	line("Request", orNone(space.Request))
	line("Class", orNone(space.Class))
	line("Pool", orNone(space.Pool))
	if space.Device != "" {
		line("Device", space.Device)
		line("Allocation", space.AllocationID)
	}
	if space.RetainedUntil != "" {
		line("Retained until", space.RetainedUntil)
	}
	if space.State == stateReady {
		if end := space.Ready.ExpirationTimestamp; end != nil {
			line("Expires", end.UTC().Format(time.RFC3339))
		}
		line("Server", space.Server)
		line("ServiceAccount", space.ServiceAccount)
	}
	ns := find(s.namespaces, func(n *corev1.Namespace) bool { return n.Name == space.Space })
	if ns == nil {
		return
	}
	line("Namespace created", s.since(ns.CreationTimestamp.Time))
	if standard := ns.Labels["pod-security.kubernetes.io/enforce"]; standard != "" {
		line("Pod Security", standard)
	}
	line("Network", cmp.Or(ns.Labels[keys.Network], "Open"))
	if given, err := config.DecodeRecorded(ns.Annotations[keys.Config]); err == nil && given.Retention.Duration > 0 {
		line("Retention period", given.Retention.Duration.String()+map[bool]string{true: ", if a pod failed"}[given.RetentionWhen == spaceapi.RetainOnFailure])
	}
}

func (s *snapshot) since(t time.Time) string {
	return fmt.Sprintf("%s (%s ago)", t.UTC().Format(time.RFC3339), age(s.now, t))
}
