// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/kubectl/pkg/util/completion"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

func newKubeconfig(o *options) *cobra.Command {
	var request string
	var duration time.Duration
	var exec, merge bool
	cmd := &cobra.Command{
		Use:   "kubeconfig CLAIM",
		Short: "Print a kubeconfig, to work in a space",
		Long: "Print a kubeconfig with the permissions of the ServiceAccount of a claim's space.\n" +
			"By default, it contains a short-lived token, which is revoked when the space is deprovisioned. That needs permission\n" +
			"to create tokens of the space's ServiceAccount, which administrators of the cluster have.\n" +
			"With --exec or --merge, it contains no token: clients run 'kubectl space credential', which reads the token of a\n" +
			"running pod that uses the claim. That needs permission to list pods, and to create pods/exec, in the claim's namespace.",
		Example: "  # Add a context for the space to your kubeconfig, and use it\n  kubectl space kubeconfig my-claim --merge\n  kubectl --context space:my-namespace/my-claim get pods\n\n" +
			"  # Write a kubeconfig that contains no token\n  kubectl space kubeconfig my-claim --exec >space.kubeconfig\n\n" +
			"  # Write a kubeconfig with a token, which only you can read\n  (umask 077; kubectl space kubeconfig my-claim >space.kubeconfig)\n\n" +
			"  # Print one for one of several spaces, for ten minutes\n  kubectl space kubeconfig my-claim --request test --duration 10m",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completion.ResourceNameCompletionFunc(o.factory, claimKind),
		RunE: o.withReader(func(ctx context.Context, r *reader, args []string) error {
			_, name, err := parseArg(args[0], claimKind)
			if err != nil {
				return err
			}
			if duration < token.MinLifetime {
				return fmt.Errorf("--duration %s is less than the %s that API servers grant", duration, token.MinLifetime)
			}
			if exec || merge {
				return o.execKubeconfig(ctx, r, name, request, merge)
			}
			config, err := o.factory.ToRESTConfig()
			if err != nil {
				return err
			}
			out, err := r.kubeconfig(ctx, config, name, request, duration)
			if err != nil {
				return err
			}
			_, err = o.streams.Out.Write(out)
			return err
		}),
	}
	cmd.Flags().StringVar(&request, "request", "", "Request of the claim, if it has several spaces.")
	cmd.Flags().DurationVar(&duration, "duration", time.Hour, "Lifetime of the token, at least 10m. The API server may grant less.")
	cmd.Flags().BoolVar(&exec, "exec", false, "Print a kubeconfig that contains no token.")
	cmd.Flags().BoolVar(&merge, "merge", false, "Add that kubeconfig to yours, as another context.")
	for _, flag := range []string{"exec", "merge"} {
		cmd.MarkFlagsMutuallyExclusive("duration", flag)
	}
	return cmd
}

// execKubeconfig prints a kubeconfig without a token, or merges it with the user's.
func (o *options) execKubeconfig(ctx context.Context, r *reader, name, request string, merge bool) error {
	// With a context of a space, the claim cannot be read either.
	if _, err := o.execPlugin(r.namespace, name, request); err != nil {
		return err
	}
	claim, err := r.client.ResourceV1().ResourceClaims(r.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	space, err := readySpace(claim, r.driver, request)
	if err != nil {
		return err
	}
	config, err := o.execConfig(r.namespace, name, request, space.Space)
	if err != nil {
		return err
	}
	if merge {
		return o.merge(config, path.Join("space:"+r.namespace, name, request))
	}
	out, err := encodeKubeconfig(config)
	if err == nil {
		_, err = o.streams.Out.Write(out)
	}
	return err
}

// merge adds the cluster, user and context of a kubeconfig to the user's, with a name that stays the same
// when the claim gets another space. The current context stays: kubectl space needs the user's own.
func (o *options) merge(config *clientcmdapi.Config, name string) error {
	access := o.factory.ToRawKubeConfigLoader().ConfigAccess()
	merged, err := access.GetStartingConfig()
	if err != nil {
		return err
	}
	done := "created"
	if merged.Contexts[name] != nil {
		done = "modified"
	}
	space := config.CurrentContext
	merged.Clusters[name], merged.AuthInfos[name] = config.Clusters[space], config.AuthInfos[space]
	merged.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: space}
	if err := clientcmd.ModifyConfig(access, *merged, false); err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.streams.Out, "Context %q %s.\n", name, done)
	return err
}

func (r *reader) kubeconfig(ctx context.Context, config *rest.Config, name, request string, duration time.Duration) ([]byte, error) {
	claim, err := r.client.ResourceV1().ResourceClaims(r.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	space, err := readySpace(claim, r.driver, request)
	if err != nil {
		return nil, err
	}
	cluster, err := clusterOf(config)
	if err != nil {
		return nil, err
	}
	t, err := token.Requester{Client: r.client, Clock: r.clock}.Request(ctx, space.account(), duration)
	if err != nil {
		return nil, err
	}
	return encodeKubeconfig(kubeconfigFor(cluster, space.Ready.Namespace, &clientcmdapi.AuthInfo{Token: string(t.Reveal())}))
}

// readySpace returns the space of a claim, or of one of its requests, which has to be ready.
func readySpace(claim *resourceapi.ResourceClaim, driver, request string) (*spaceSummary, error) {
	spaces := (&snapshot{driver: driver}).spacesOf(claim)
	var names []string
	for _, space := range spaces {
		names = append(names, space.Result.Subdir)
	}
	if request != "" {
		spaces = slices.DeleteFunc(spaces, func(s spaceSummary) bool { return request != s.Request && request != s.Result.Subdir })
	}
	switch {
	case len(spaces) == 0:
		return nil, fmt.Errorf("ResourceClaim %s has no space for request %q", claim.Name, request)
	case len(spaces) > 1:
		return nil, fmt.Errorf("ResourceClaim %s has several spaces: name one with --request, of %s", claim.Name, strings.Join(names, ", "))
	}
	space := &spaces[0]
	if space.Ready == nil {
		return nil, space.notReady()
	}
	// Not only the controller can write the status of a claim. Check that the ServiceAccount
	// belongs to this allocation.
	if !space.Result.MatchesName(space.Space) || space.ServiceAccount != spaceapi.ServiceAccountName {
		return nil, fmt.Errorf("the status of ResourceClaim %s names ServiceAccount %s/%s, which does not belong to this allocation", claim.Name, space.Space, space.ServiceAccount)
	}
	return space, nil
}

// account returns the ServiceAccount of a ready space.
func (space *spaceSummary) account() token.Account {
	return token.Account{Namespace: space.Ready.Namespace, Name: space.Ready.ServiceAccount, UID: space.Ready.ServiceAccountUID}
}

// clusterOf returns the API server at the user's address, which can differ from that of pods.
func clusterOf(config *rest.Config) (*clientcmdapi.Cluster, error) {
	config = rest.CopyConfig(config)
	config.ExecProvider = &clientcmdapi.ExecConfig{} // the function for plugins requires one
	cluster, err := rest.ConfigToExecCluster(config)
	if err != nil {
		return nil, fmt.Errorf("find out how to connect to %s: %w", config.Host, err)
	}
	return &clientcmdapi.Cluster{
		Server: cluster.Server, TLSServerName: cluster.TLSServerName, ProxyURL: cluster.ProxyURL,
		CertificateAuthorityData: cluster.CertificateAuthorityData, InsecureSkipTLSVerify: cluster.InsecureSkipTLSVerify,
	}, nil
}

// kubeconfigFor returns a kubeconfig for a space.
func kubeconfigFor(cluster *clientcmdapi.Cluster, namespace string, user *clientcmdapi.AuthInfo) *clientcmdapi.Config {
	config := clientcmdapi.NewConfig()
	config.Clusters[namespace] = cluster
	config.AuthInfos[namespace] = user
	config.Contexts[namespace] = &clientcmdapi.Context{Cluster: namespace, AuthInfo: namespace, Namespace: namespace}
	config.CurrentContext = namespace
	return config
}

// encodeKubeconfig encodes a kubeconfig that may have a token. Nothing else reveals the token.
func encodeKubeconfig(config *clientcmdapi.Config) ([]byte, error) {
	out, err := clientcmd.Write(*config)
	if err != nil {
		// The error may contain the token.
		return nil, errors.New("the kubeconfig could not be encoded")
	}
	return out, nil
}
