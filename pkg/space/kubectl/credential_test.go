// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

func TestExecCredential_endsWhenTheTokenIsRenewed(t *testing.T) {
	for name, test := range map[string]struct{ issued, expires, want time.Duration }{
		"a new token":                       {0, 30 * time.Minute, 20 * time.Minute},
		"a token that was not renewed":      {-25 * time.Minute, 5 * time.Minute, 150 * time.Second},
		"a long-lived token":                {0, 24 * time.Hour, time.Hour},
		"a token of a clock that is behind": {-time.Hour, 200 * 365 * 24 * time.Hour, time.Hour},
	} {
		got := execCredential(token.New("secret", now.Add(test.issued), now.Add(test.expires)), now)
		if got.Status.Token != "secret" || !got.Status.ExpirationTimestamp.Time.Equal(now.Add(test.want)) {
			t.Errorf("%s: a client asks again after %s, want %s", name, got.Status.ExpirationTimestamp.Sub(now), test.want)
		}
	}
}

// started lets the containers of a pod run.
func started(p *corev1.Pod) *corev1.Pod {
	p.Status.Phase = corev1.PodRunning
	for _, c := range p.Spec.Containers {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: c.Name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
	}
	return p
}

func TestTokenSources_areRunningContainersThatUseTheSpace(t *testing.T) {
	const file = "/var/run/claim-artifacts/uid-a/token"
	holder := started(pod("holder", "n", "a"))
	holder.Labels = map[string]string{spaceapi.HolderLabel(spaceapi.DefaultDriverName): ""}
	another := started(pod("user", "n", "a"))
	another.UID = "another"
	otherRequest := started(pod("user", "n", "a"))
	otherRequest.Spec.Containers[0].Resources.Claims[0].Request = "other"
	sidecar := started(pod("user", "n", "a"))
	sidecar.Spec.Containers = append(sidecar.Spec.Containers, corev1.Container{Name: "without"})
	user := tokenSource{"user", "ctr", []string{"cat", file}}
	for name, test := range map[string]struct {
		pods []*corev1.Pod
		want []tokenSource
		err  string
	}{
		"a pod":                         {[]*corev1.Pod{started(pod("user", "n", "a"))}, []tokenSource{user}, ""},
		"a container without the claim": {[]*corev1.Pod{sidecar}, []tokenSource{user}, ""},
		"a holder":                      {[]*corev1.Pod{started(pod("user", "n", "a")), holder}, []tokenSource{{"holder", "ctr", []string{"space-holder", "token", file}}, user}, ""},
		"no pod":                        {nil, nil, "no pod uses ResourceClaim a"},
		"a pod of the same name":        {[]*corev1.Pod{another}, nil, "no pod uses ResourceClaim a"},
		"a pod that waits":              {[]*corev1.Pod{pod("user", "n", "a")}, nil, "is running, in any of its pods: user (Pending)"},
		"another request":               {[]*corev1.Pod{otherRequest}, nil, "is running, in any of its pods: user (Running)"},
	} {
		c := ready(t, "a", "user", "holder")
		space, err := readySpace(c, driver, "")
		if err != nil {
			t.Fatal(err)
		}
		var pods []corev1.Pod
		for _, p := range test.pods {
			pods = append(pods, *p)
		}
		got, err := tokenSources(driver, c, space, pods)
		if !reflect.DeepEqual(got, test.want) || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: got %+v, error %v, want %+v, %q", name, got, err, test.want, test.err)
		}
	}
}

func TestKubeconfigExec_hasTheFlagsOfTheUserAndNoSecret(t *testing.T) {
	server := serve(t, []runtime.Object{ready(t, "a", "user")})
	out, errOut, code := run(t, "kubectl-space", server, "kubeconfig", "a", "--exec", "-n", "team", "--as", "jane", "--as-group", "b,c", "--as-group", "d", "-v=0")
	if code != 0 {
		t.Fatal(errOut)
	}
	config, err := clientcmd.Load([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	space := spaceName(ready(t, "a"))
	if here := config.Contexts[config.CurrentContext]; here.Namespace != space || config.Clusters[here.Cluster].Server != server {
		t.Errorf("the kubeconfig has namespace %s and server %s", here.Namespace, config.Clusters[here.Cluster].Server)
	}
	plugin := config.AuthInfos[space].Exec
	// The path of the kubeconfig is a random one.
	file := slices.IndexFunc(plugin.Args, func(arg string) bool { return strings.HasPrefix(arg, "--kubeconfig=/") })
	if file < 0 {
		t.Fatalf("there is no kubeconfig in %q", plugin.Args)
	}
	want := []string{"credential", "--claim=a", "--namespace=team", "--context=here", plugin.Args[file], "--as=jane", "--as-group=b,c", "--as-group=d"}
	if !slices.Equal(plugin.Args, want) || !filepath.IsAbs(plugin.Command) || plugin.InteractiveMode != clientcmdapi.NeverExecInteractiveMode {
		t.Errorf("the plugin is %+v, want arguments %q", plugin, want)
	}
}

func TestKubeconfigMerge_keepsTheNameWhenTheSpaceChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	t.Setenv(clientcmd.RecommendedConfigPathEnvVar, file)
	mine := clientcmdapi.NewConfig()
	mine.Contexts["mine"], mine.CurrentContext = &clientcmdapi.Context{Cluster: "mine"}, "mine"
	for _, test := range []struct{ share, want string }{{"first", "created"}, {"second", "modified"}} {
		c := allocated(claim("a", driver), "spaces", "user")
		c.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID(test.share))
		withCondition(t, c, spaceapi.ReasonProvisioned, "fine")
		mine.Clusters["mine"] = &clientcmdapi.Cluster{Server: serve(t, []runtime.Object{c})}
		if err := clientcmd.WriteToFile(*mine, file); err != nil {
			t.Fatal(err)
		}
		out, errOut, code := runWith(t, "kubectl-space", "kubeconfig", "a", "--merge", "-n", "team")
		if code != 0 || out != `Context "space:team/a" `+test.want+".\n" {
			t.Fatalf("exit code %d, output %q, errors %q, want a context that is %s", code, out, errOut, test.want)
		}
		var err error
		if mine, err = clientcmd.LoadFromFile(file); err != nil {
			t.Fatal(err)
		}
		here := mine.Contexts["space:team/a"]
		plugin := mine.AuthInfos[here.AuthInfo].Exec
		if mine.CurrentContext != "mine" || here.Namespace != spaceName(c) || !slices.Contains(plugin.Args, "--context=mine") || !slices.Equal(plugin.Env, []clientcmdapi.ExecEnvVar{{Name: "KUBECONFIG", Value: file}}) {
			t.Errorf("the context is %+v, and its user %+v", here, plugin)
		}
	}
}

func TestExecPlugin_refusesWhatCannotWork(t *testing.T) {
	server := serve(t, []runtime.Object{ready(t, "a", "user")})
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--exec", "--token", "secret"}, "--token would be written to the kubeconfig"},
		{[]string{"--exec", "--duration", "20m"}, "none of the others can be"},
		{[]string{"--merge", "--duration", "20m"}, "none of the others can be"},
	} {
		_, errOut, code := run(t, "kubectl-space", server, append([]string{"kubeconfig", "a", "-n", "team"}, test.args...)...)
		if code != 1 || !strings.Contains(errOut, test.want) || strings.Contains(errOut, "secret") {
			t.Errorf("%v: exit code %d, errors %q, want %q", test.args, code, errOut, test.want)
		}
	}
}
