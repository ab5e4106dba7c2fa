// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
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
	cmd := &cobra.Command{
		Use:   "kubeconfig CLAIM",
		Short: "Print a kubeconfig with a short-lived token, to work in a space",
		Long: "Print a kubeconfig with a short-lived token, with the permissions of the ServiceAccount of a claim's space.\n" +
			"It needs permission to create tokens of the space's ServiceAccount, which administrators of the cluster have.\n" +
			"The output contains the token, which is revoked when the space is deprovisioned.",
		Example: "  # Write a kubeconfig that only you can read, and use it\n  (umask 077; kubectl space kubeconfig my-claim >space.kubeconfig)\n  kubectl --kubeconfig space.kubeconfig get pods\n\n" +
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
	return cmd
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
	account := token.Account{Namespace: space.Namespace, Name: space.ServiceAccount, UID: space.ServiceAccountUID}
	t, err := token.Requester{Client: r.client, Clock: r.clock}.Request(ctx, account, duration)
	if err != nil {
		return nil, err
	}
	return encodeKubeconfig(cluster, space.Namespace, t)
}

// readySpace returns the space of a claim, or of one of its requests, which has to be ready.
func readySpace(claim *resourceapi.ResourceClaim, driver, request string) (*spaceapi.SpaceStatus, error) {
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
	return space.Ready, nil
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

// encodeKubeconfig encodes a kubeconfig with a token. Nothing else reveals the token.
func encodeKubeconfig(cluster *clientcmdapi.Cluster, namespace string, t token.Token) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters[namespace] = cluster
	config.AuthInfos[namespace] = &clientcmdapi.AuthInfo{Token: string(t.Reveal())}
	config.Contexts[namespace] = &clientcmdapi.Context{Cluster: namespace, AuthInfo: namespace, Namespace: namespace}
	config.CurrentContext = namespace
	out, err := clientcmd.Write(*config)
	if err != nil {
		// The error may contain the token.
		return nil, errors.New("the kubeconfig could not be encoded")
	}
	return out, nil
}
