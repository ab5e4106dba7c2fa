// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientauthenticationv1 "k8s.io/client-go/pkg/apis/clientauthentication/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
	"github.com/space-dra/space-dra-driver/pkg/space/holder"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

const (
	// maxTried is how many containers are asked for a token, and askTimeout how long for each.
	maxTried   = 5
	askTimeout = 30 * time.Second
	// maxCached is how long clients use a token before they ask again: the pod says how long it is valid.
	maxCached = time.Hour
)

func newCredential(o *options) *cobra.Command {
	var claim, request string
	cmd := &cobra.Command{
		Use:   "credential --claim CLAIM",
		Short: "Print the token of a space for kubectl and other clients, which run this command",
		Long: "Print the token of a claim's space as an ExecCredential, which clients read that use a kubeconfig of\n" +
			"'kubectl space kubeconfig --exec'. The token is that of a running pod that uses the claim. To read it, you need\n" +
			"permission to get the claim, to list pods, and to create pods/exec, in the namespace of the claim.",
		Example: "  # Print the token of a claim's space, and when to ask for it again\n  kubectl space credential --claim my-claim",
		Args:    cobra.NoArgs,
		RunE: o.withReader(func(ctx context.Context, r *reader, _ []string) error {
			config, err := o.factory.ToRESTConfig()
			if err != nil {
				return err
			}
			t, err := r.tokenOfPods(ctx, config, claim, request)
			if err != nil {
				return err
			}
			return json.NewEncoder(o.streams.Out).Encode(execCredential(t, r.clock.Now()))
		}),
	}
	cmd.Flags().StringVar(&claim, "claim", "", "Claim of the space.")
	cmd.Flags().StringVar(&request, "request", "", "Request of the claim, if it has several spaces.")
	if err := cmd.MarkFlagRequired("claim"); err != nil {
		panic(err)
	}
	return cmd
}

// execCredential returns what a client expects. The client asks again when the kubelet plugin has
// renewed the token of the pod, or sooner if that is late.
func execCredential(t token.Token, now time.Time) *clientauthenticationv1.ExecCredential {
	expires := token.RenewTime(t, 0)
	if !expires.After(now) {
		expires = now.Add(t.Expires.Sub(now) / 2)
	}
	if last := now.Add(maxCached); expires.After(last) {
		expires = last
	}
	return &clientauthenticationv1.ExecCredential{
		TypeMeta: metav1.TypeMeta{APIVersion: clientauthenticationv1.SchemeGroupVersion.String(), Kind: "ExecCredential"},
		Status:   &clientauthenticationv1.ExecCredentialStatus{Token: string(t.Reveal()), ExpirationTimestamp: &metav1.Time{Time: expires}},
	}
}

// tokenOfPods returns the token of a claim's space that one of the pods that use the claim has.
func (r *reader) tokenOfPods(ctx context.Context, config *rest.Config, name, request string) (token.Token, error) {
	claim, err := r.client.ResourceV1().ResourceClaims(r.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return token.Token{}, err
	}
	space, err := readySpace(claim, r.driver, request)
	if err != nil {
		return token.Token{}, err
	}
	pods, err := r.client.CoreV1().Pods(r.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return token.Token{}, err
	}
	sources, err := tokenSources(r.driver, claim, space, pods.Items)
	if err != nil {
		return token.Token{}, err
	}
	var failed []string
	for _, source := range sources[:min(len(sources), maxTried)] {
		text, err := r.ask(ctx, config, source)
		if apierrors.IsForbidden(err) || ctx.Err() != nil {
			return token.Token{}, err
		}
		var t token.Token
		if err == nil {
			t, err = token.Parse(text, space.account(), r.clock.Now())
		}
		if err == nil {
			return t, nil
		}
		failed = append(failed, fmt.Sprintf("container %s of pod %s: %s", source.container, source.pod, clause(err.Error())))
	}
	return token.Token{}, fmt.Errorf("no pod that uses ResourceClaim %s gave its token: %s", name, strings.Join(failed, "; "))
}

// tokenSource is a container that has a token, and the command that prints it there.
type tokenSource struct {
	pod, container string
	command        []string
}

// tokenSources returns the running containers that use a space, those of holders first. The error says
// why there is none.
func tokenSources(driver string, claim *resourceapi.ResourceClaim, space *spaceSummary, pods []corev1.Pod) ([]tokenSource, error) {
	file := path.Join(containeredits.CredentialsDir(claim.UID, space.Result.Subdir), containeredits.TokenFile)
	var holders, others []tokenSource
	var waiting []string
	for _, consumer := range claim.Status.ReservedFor {
		pod := find(pods, func(pod *corev1.Pod) bool { return pod.UID == consumer.UID })
		if pod == nil {
			continue
		}
		runs := false
		for _, use := range usesOf(pod) {
			if use.claim != claim.Name || !use.includes(space.Request) || !isRunning(pod, use.container) {
				continue
			}
			runs = true
			if _, isHolder := pod.Labels[spaceapi.HolderLabel(driver)]; isHolder {
				holders = append(holders, tokenSource{pod.Name, use.container, []string{"space-holder", "token", file}})
			} else {
				others = append(others, tokenSource{pod.Name, use.container, []string{"cat", file}})
			}
		}
		if !runs {
			waiting = append(waiting, fmt.Sprintf("%s (%s)", pod.Name, pod.Status.Phase))
		}
	}
	switch {
	case len(holders)+len(others) > 0:
		return slices.Concat(holders, others), nil
	case len(waiting) > 0:
		return nil, fmt.Errorf("no container that uses the space of ResourceClaim %s is running, in any of its pods: %s", claim.Name, truncate(waiting))
	default:
		return nil, fmt.Errorf("no pod uses ResourceClaim %s: its token is read through a pod that does", claim.Name)
	}
}

// isRunning reports whether a container runs.
func isRunning(pod *corev1.Pod, container string) bool {
	return slices.ContainsFunc(slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses), func(c corev1.ContainerStatus) bool {
		return c.Name == container && c.State.Running != nil
	})
}

// ask runs the command of a source, and returns what it prints, which is of the author of the pod. The
// error contains nothing of that.
func (r *reader) ask(ctx context.Context, config *rest.Config, source tokenSource) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, fmt.Errorf("it did not answer within %s", askTimeout))
	defer cancel()
	text, err := holder.PrintToken(ctx, config, r.namespace, source.pod, source.container, source.command)
	if err != nil && strings.Contains(err.Error(), "executable file not found") {
		return nil, fmt.Errorf("its image has no %s", source.command[0])
	}
	return text, err
}

// execConfig returns a kubeconfig for a space that contains no secret: its user is the command
// credential, with the kubeconfig, context and other flags of this one.
func (o *options) execConfig(namespace, claim, request, space string) (*clientcmdapi.Config, error) {
	config, err := o.factory.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	cluster, err := clusterOf(config)
	if err != nil {
		return nil, err
	}
	plugin, err := o.execPlugin(namespace, claim, request)
	if err != nil {
		return nil, err
	}
	return kubeconfigFor(cluster, space, &clientcmdapi.AuthInfo{Exec: plugin}), nil
}

func (o *options) execPlugin(namespace, claim, request string) (*clientcmdapi.ExecConfig, error) {
	program, err := programFile(o.program)
	if err != nil {
		return nil, err
	}
	plugin := &clientcmdapi.ExecConfig{
		APIVersion: clientauthenticationv1.SchemeGroupVersion.String(), InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
		Command: program, Args: []string{"credential", "--claim=" + claim, "--namespace=" + namespace},
		InstallHint: "The kubeconfig of the space needs kubectl space.",
	}
	if request != "" {
		plugin.Args = append(plugin.Args, "--request="+request)
	}
	// What the user has now: it can change, and is another one in the kubeconfig of the space.
	loader := o.factory.ToRawKubeConfigLoader()
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, err
	}
	name := cmp.Or(o.global.Lookup("context").Value.String(), raw.CurrentContext)
	if name != "" {
		plugin.Args = append(plugin.Args, "--context="+name)
	}
	if current := raw.Contexts[name]; current != nil && isCredential(raw.AuthInfos[current.AuthInfo]) {
		return nil, fmt.Errorf("context %q is that of a space: select one that has permissions in namespace %s with --context", name, namespace)
	}
	if access := loader.ConfigAccess(); access.IsExplicitFile() {
		file, err := filepath.Abs(access.GetExplicitFile())
		if err != nil {
			return nil, err
		}
		plugin.Args = append(plugin.Args, "--kubeconfig="+file)
	} else {
		var files []string
		for _, file := range access.GetLoadingPrecedence() {
			if file, err = filepath.Abs(file); err != nil {
				return nil, err
			}
			files = append(files, file)
		}
		plugin.Env = []clientcmdapi.ExecEnvVar{{Name: clientcmd.RecommendedConfigPathEnvVar, Value: strings.Join(files, string(filepath.ListSeparator))}}
	}
	args, err := changedFlags(o.global)
	plugin.Args = append(plugin.Args, args...)
	return plugin, err
}

// isCredential reports whether a user of a kubeconfig is one of execPlugin.
func isCredential(user *clientcmdapi.AuthInfo) bool {
	return user != nil && user.Exec != nil && len(user.Exec.Args) > 0 && user.Exec.Args[0] == "credential" && strings.HasPrefix(filepath.Base(user.Exec.Command), "kubectl-space")
}

// programFile returns the file of this program. It is not os.Executable, which follows links: krew
// replaces the file that a link of it names.
func programFile(program string) (string, error) {
	file, err := exec.LookPath(program)
	if err != nil {
		return os.Executable()
	}
	return filepath.Abs(file)
}

// changedFlags returns the flags of all commands that the user set, in addition to those of execPlugin.
func changedFlags(flags *pflag.FlagSet) ([]string, error) {
	var out []string
	var failed error
	flags.VisitAll(func(flag *pflag.Flag) {
		values := []string{flag.Value.String()}
		if list, isList := flag.Value.(pflag.SliceValue); isList {
			values = list.GetSlice()
		}
		switch flag.Name {
		case "namespace", "context", "kubeconfig", "v":
			return
		case "token":
			if flag.Changed {
				failed = errors.New("--token would be written to the kubeconfig: use a context that has the token")
			}
			return
		case "certificate-authority", "client-certificate", "client-key", "cache-dir":
			file, err := filepath.Abs(values[0])
			values, failed = []string{file}, cmp.Or(failed, err)
		}
		for _, value := range values {
			if flag.Changed {
				out = append(out, "--"+flag.Name+"="+value)
			}
		}
	})
	return out, failed
}
