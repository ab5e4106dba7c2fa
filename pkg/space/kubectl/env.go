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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/util/completion"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
)

func newEnv(o *options) *cobra.Command {
	var container, format string
	cmd := &cobra.Command{
		Use:   "env POD",
		Short: "Show the environment variables and files that containers of a pod get from spaces",
		Long: "Show the environment variables and files that containers of a pod get from spaces.\n" +
			"All spaces of the pod must be ready. Values are quoted for a shell, unless the output is JSON or YAML.",
		Example: "  # Show what the containers of a pod get\n  kubectl space env my-pod\n\n" +
			"  # Show what one container gets\n  kubectl space env my-pod -c main\n\n" +
			"  # Print it as JSON\n  kubectl space env my-pod -o json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completion.ResourceNameCompletionFunc(o.factory, podKind),
		RunE: o.withReader(func(ctx context.Context, r *reader, args []string) error {
			seen, err := r.env(ctx, args[0])
			if err != nil {
				return err
			}
			if container != "" {
				seen.Containers = slices.DeleteFunc(seen.Containers, func(e containerEnv) bool { return e.Container != container })
			}
			if len(seen.Containers) == 0 {
				fmt.Fprintln(o.streams.ErrOut, "No container uses a space.")
			}
			return printAs(o.streams.Out, format, seen)
		}),
	}
	cmd.Flags().StringVarP(&container, "container", "c", "", "Show only this container.")
	addOutputFlag(cmd, &format)
	cmdutil.CheckErr(cmd.RegisterFlagCompletionFunc("container", completion.ContainerCompletionFunc(o.factory)))
	return cmd
}

func (r *reader) env(ctx context.Context, arg string) (*podEnv, error) {
	_, name, err := parseArg(arg, podKind)
	if err != nil {
		return nil, err
	}
	pod, err := r.client.CoreV1().Pods(r.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	s, err := r.read(ctx, r.namespace)
	if err != nil {
		return nil, err
	}
	containers, err := s.env(pod)
	return &podEnv{
		TypeMeta:   metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: "PodEnvironment"},
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace}, Containers: containers,
	}, err
}

// podEnv has what the containers of a pod get. Programs read it: new versions only add fields.
type podEnv struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Containers        []containerEnv `json:"containers"`
}

// containerEnv has the variables and files of one space in a container.
type containerEnv struct {
	Container   string          `json:"container"`
	Claim       string          `json:"claim"`
	Request     string          `json:"request"`
	Env         []corev1.EnvVar `json:"env"`
	Directories []string        `json:"directories"`
}

// String returns assignments for a shell, with comments.
func (p *podEnv) String() string {
	var lines []string
	for i, e := range p.Containers {
		if i > 0 {
			lines = append(lines, "")
		}
		lines = append(lines,
			escape(fmt.Sprintf("# container %s: ResourceClaim %s, request %s", e.Container, e.Claim, e.Request)),
			escape("# kubeconfig, token, ca.crt and namespace are in "+strings.Join(e.Directories, ", ")))
		for _, variable := range e.Env {
			lines = append(lines, variable.Name+"="+shellQuote(variable.Value))
		}
	}
	return strings.Join(lines, "\n")
}

// env returns the variables and files of spaces in the containers of a pod. All spaces have
// to be ready.
func (s *snapshot) env(pod *corev1.Pod) ([]containerEnv, error) {
	out := []containerEnv{}
	for _, use := range usesOf(pod) {
		if use.claim == "" {
			return nil, fmt.Errorf("the ResourceClaim %s of pod %s is not created yet", use.ref, pod.Name)
		}
		seen, err := s.envOf(pod.Namespace, use.claim)
		if err != nil {
			return nil, err
		}
		for _, e := range seen {
			if e.Container = use.container; use.includes(e.Request) {
				out = append(out, e)
			}
		}
	}
	return out, nil
}

// use is a container's use of a claim, or of one of its requests.
type use struct {
	// ref is the claim's name in the pod. claim is the name of its object, or empty if it is not created yet.
	container, ref, claim, request string
}

// includes reports whether a container uses what is allocated for a request.
func (u use) includes(request string) bool {
	return u.request == "" || u.request == resourceclaim.BaseRequestRef(request)
}

// usesOf returns the claims that the containers of a pod use.
func usesOf(pod *corev1.Pod) []use {
	var out []use
	extended := ptr.Deref(pod.Status.ExtendedResourceClaimStatus, corev1.PodExtendedResourceClaimStatus{})
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, used := range container.Resources.Claims {
			if ref := find(pod.Spec.ResourceClaims, func(ref *corev1.PodResourceClaim) bool { return ref.Name == used.Name }); ref != nil {
				out = append(out, use{container.Name, ref.Name, claimOf(pod, *ref), used.Request})
			}
		}
		for _, mapping := range extended.RequestMappings {
			if mapping.ContainerName == container.Name {
				out = append(out, use{container.Name, "", extended.ResourceClaimName, mapping.RequestName})
			}
		}
	}
	return out
}

// envOf returns the variables and files of the spaces of a claim.
func (s *snapshot) envOf(namespace, name string) ([]containerEnv, error) {
	claim := s.claim(namespace, name)
	if claim == nil {
		return nil, fmt.Errorf("ResourceClaim %s does not exist", name)
	}
	if !s.requestsSpace(claim) {
		return nil, nil // another driver's
	}
	var out []containerEnv
	var configs []config.ContainerConfig
	var namespaces []string
	server := "" // the same for all
	a := allocation.FromClaim(claim, s.driver)
	for i, space := range s.spacesOf(claim) {
		if space.Ready == nil {
			return nil, space.notReady()
		}
		// The installation's settings are not known here. No variable depends on them.
		resolved, err := config.Defaults{Driver: s.driver}.Resolve(a, a.Results[i])
		if err != nil {
			return nil, fmt.Errorf("ResourceClaim %s: %w", name, err)
		}
		out = append(out, containerEnv{Claim: name, Request: space.Request})
		configs, namespaces, server = append(configs, resolved.ContainerConfig), append(namespaces, space.Space), space.Server
	}
	edits, err := containeredits.Build(s.driver, server, a, configs, namespaces)
	if err != nil {
		return nil, fmt.Errorf("ResourceClaim %s: %w", name, err)
	}
	for i := range out {
		out[i].Directories = edits[i].Dirs
		for _, variable := range edits[i].Env {
			name, value, _ := strings.Cut(variable, "=")
			out[i].Env = append(out[i].Env, corev1.EnvVar{Name: name, Value: value})
		}
	}
	return out, nil
}
