// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// defaultDuration is how long a person's token lives unless he says otherwise.
const defaultDuration = time.Hour

func newKubeconfig(o *options) *cobra.Command {
	var request string
	var duration time.Duration
	cmd := &cobra.Command{
		Use:   "kubeconfig CLAIM",
		Short: "Print a kubeconfig with a short-lived token, with which to work in a space",
		Long: "Print a kubeconfig with a short-lived token, with which to work in the space of a claim and nowhere else.\n" +
			"You need the right to create tokens of the space's ServiceAccount, which whoever administers the cluster has.\n" +
			"What is printed is a secret. It ends with the space at the latest.",
		Example: "  (umask 077; kubectl space kubeconfig my-claim >space.kubeconfig)\n  kubectl --kubeconfig space.kubeconfig get pods\n\n" +
			"  # One of several spaces, for ten minutes\n  kubectl space kubeconfig my-claim --for-request test --duration 10m",
		Args:              one("ResourceClaim"),
		ValidArgsFunction: o.once(o.claimNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parse(args[0], aClaim)
			if err != nil {
				return err
			}
			if duration < token.MinLifetime {
				return fmt.Errorf("--duration %s is less than the %s that API servers grant", duration, token.MinLifetime)
			}
			out, err := o.kubeconfig(cmd.Context(), t.name, request, duration)
			if err != nil {
				return err
			}
			_, err = o.streams.Out.Write(out)
			return err
		},
	}
	cmd.Flags().StringVar(&request, "for-request", "", "Which request's space, if the claim has several.")
	cmd.Flags().DurationVar(&duration, "duration", defaultDuration, "How long the token is to live, 10m at least. The API server may grant less.")
	o.completeOf(cmd, "for-request", o.requestNames)
	return cmd
}

func (o *options) kubeconfig(ctx context.Context, name, request string, duration time.Duration) ([]byte, error) {
	r, namespace, err := o.reader()
	if err != nil {
		return nil, err
	}
	claim, err := r.client.ResourceV1().ResourceClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get ResourceClaim %s/%s: %w", namespace, name, err)
	}
	space, err := spaceOf(claim, o.driver, request)
	if err != nil {
		return nil, err
	}
	config, err := o.flags.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	cluster, err := clusterOf(config)
	if err != nil {
		return nil, err
	}
	t, err := token.ForPerson(ctx, r.client, o.clock, token.Account{Namespace: space.Namespace, Name: space.ServiceAccount, UID: space.ServiceAccountUID}, duration)
	if err != nil {
		return nil, err
	}
	return write(cluster, space.Namespace, t)
}

// spaceOf is the ready space of a claim, or of one of its requests.
func spaceOf(claim *resourceapi.ResourceClaim, driver, request string) (*spaceapi.SpaceStatus, error) {
	a := identity.Of(claim, driver)
	if a == nil {
		return nil, fmt.Errorf("ResourceClaim %s has no space: kubectl space why %s says why", claim.Name, claim.Name)
	}
	if request == "" && len(a.Shares) > 1 {
		return nil, fmt.Errorf("ResourceClaim %s has several spaces: name one with --for-request, of %s", claim.Name, strings.Join(slots(a), ", "))
	}
	for _, share := range a.Shares {
		if request != "" && request != share.Request && request != share.Slot {
			continue
		}
		ready, space, err := status.Read(claim, driver, a, share)
		switch {
		case err != nil:
			return nil, err
		case space == nil && ready != nil:
			return nil, fmt.Errorf("the space of ResourceClaim %s is not ready: %s: %s", claim.Name, ready.Reason, ready.Message)
		case space == nil:
			return nil, fmt.Errorf("the space of ResourceClaim %s is not ready yet", claim.Name)
		// A claim's status can be written by others than the controller: the account
		// must be one of this allocation's.
		case !share.Names(space.Namespace) || space.ServiceAccount != spaceapi.ServiceAccountName:
			return nil, fmt.Errorf("the status of ResourceClaim %s names ServiceAccount %s/%s, which is not this allocation's", claim.Name, space.Namespace, space.ServiceAccount)
		}
		return space, nil
	}
	return nil, fmt.Errorf("ResourceClaim %s has no space for request %q, but for %s", claim.Name, request, strings.Join(a.Requests(), ", "))
}

func slots(a *identity.Allocation) []string {
	var out []string
	for _, share := range a.Shares {
		out = append(out, share.Slot)
	}
	slices.Sort(out)
	return out
}

// clusterOf is the API server as the person reaches it. Pods reach it elsewhere.
func clusterOf(config *rest.Config) (*clientcmdapi.Cluster, error) {
	config = rest.CopyConfig(config)
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, fmt.Errorf("read the certificates of the API server: %w", err)
	}
	cluster := &clientcmdapi.Cluster{
		Server: config.Host, TLSServerName: config.ServerName,
		CertificateAuthorityData: config.CAData, InsecureSkipTLSVerify: config.Insecure,
	}
	if config.Proxy != nil {
		request, err := http.NewRequest(http.MethodGet, config.Host, nil)
		if err != nil {
			return nil, fmt.Errorf("find the proxy for %s: %w", config.Host, err)
		}
		proxy, err := config.Proxy(request)
		if err != nil {
			return nil, fmt.Errorf("find the proxy for %s: %w", config.Host, err)
		}
		if proxy != nil {
			cluster.ProxyURL = proxy.String()
		}
	}
	return cluster, nil
}

// write is the one place where a token is put into a text.
func write(cluster *clientcmdapi.Cluster, namespace string, t token.Token) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters[namespace] = cluster
	config.AuthInfos[namespace] = &clientcmdapi.AuthInfo{Token: string(t.Reveal())}
	config.Contexts[namespace] = &clientcmdapi.Context{Cluster: namespace, AuthInfo: namespace, Namespace: namespace}
	config.CurrentContext = namespace
	out, err := clientcmd.Write(*config)
	if err != nil {
		// What it says may quote what it could not encode.
		return nil, errors.New("the kubeconfig could not be encoded")
	}
	return out, nil
}
