// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package outage

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	upgradedTo   = "0.2.0"
	upgradedFrom = "0.1.0"
)

func TestUpgrade_andRollbackKeepSpaces(t *testing.T) {
	chart := makeVersion(t, upgradedTo)
	ns := env.Namespace(t)
	env.CreateTemplate(t, ns, "my-space")
	env.CreateClaim(t, ns, framework.NewClaim("shared"))
	env.CreateClaim(t, ns, framework.NewClaim("newer"))
	pods := []*standingPod{
		stand(t, ns, "pod0", env.Node(0), "shared"),
		stand(t, ns, "pod1", env.Node(1), "shared"),
	}
	runsVersion(t, "v"+upgradedFrom)
	first := revision(t)

	changed := whilePodsComeAndGo(t, ns, "upgrade", "upgrade", "--reset-then-reuse-values", "--namespace", framework.DriverNamespace, framework.DriverNamespace, chart)
	runsVersion(t, "v"+upgradedTo)
	for _, pod := range pods {
		pod.wentOn(t, changed)
	}
	onlyRunningPluginsHaveSockets(t)

	// The older version imports what the newer one has prepared.
	pods = append(pods, stand(t, ns, "pod2", env.Node(0), "newer"))
	changed = whilePodsComeAndGo(t, ns, "rollback", "rollback", "--namespace", framework.DriverNamespace, framework.DriverNamespace, first)
	runsVersion(t, "v"+upgradedFrom)
	for _, pod := range pods {
		pod.wentOn(t, changed)
	}
	onlyRunningPluginsHaveSockets(t)

	if failed := env.Kubectl(t, "get", "events", "-n", ns, "--field-selector=reason=FailedPrepareDynamicResources", "-o", "name"); failed != "" {
		t.Errorf("the kubelet failed to prepare claims: %s", env.Kubectl(t, "get", "events", "-n", ns))
	}
	for _, pod := range pods {
		env.DeletePod(t, ns, pod.name)
	}
	for _, pod := range pods {
		env.AwaitNamespaceGone(t, pod.space.Namespace)
		env.AwaitNoTraceOf(t, pod.claim)
	}
	env.AwaitHealthy(t)
}

// revision is that of the driver's release, which helm can go back to.
func revision(t *testing.T) string {
	t.Helper()
	out, err := env.Tool(t.Context(), "helm", "status", "--namespace", framework.DriverNamespace, framework.DriverNamespace, "-o", "json")
	var release struct {
		Version int `json:"version"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(out), &release)
	}
	if err != nil || release.Version == 0 {
		t.Fatalf("find the revision of the driver's release: %v: %s", err, out)
	}
	return fmt.Sprint(release.Version)
}

// whilePodsComeAndGo changes the driver with helm. Until the change has been
// rolled out, pods with spaces of their own start, work in them, and end on all nodes.
// It returns when the change began.
func whilePodsComeAndGo(t *testing.T, ns, prefix string, helm ...string) time.Time {
	t.Helper()
	began := time.Now()
	changed := make(chan error, 1)
	go func() {
		if out, err := env.Tool(t.Context(), "helm", helm...); err != nil {
			changed <- fmt.Errorf("helm %s: %w: %s", helm[0], err, out)
			return
		}
		changed <- env.AwaitRollout(t.Context())
	}()
	pods := 0
	for done := false; !done; {
		select {
		case err := <-changed:
			if err != nil {
				t.Fatal(err)
			}
			done = true // after one more round
		default:
		}
		var round []string
		for i := range env.Cluster.Nodes() {
			pod := framework.Runs(framework.Answered("kubectl --kubeconfig=/etc/my-space/kubeconfig get configmaps"), framework.NewPodFromTemplate(fmt.Sprintf("%s-%d", prefix, pods), "my-space"))
			pod.Spec.RestartPolicy = corev1.RestartPolicyNever
			env.StartPod(t, ns, framework.On(env.Node(i), pod))
			round = append(round, pod.Name)
			pods++
		}
		for _, name := range round {
			ended := framework.Await(t, framework.Pod(env.Client, ns, name), framework.That("ended", func(p *corev1.Pod) bool {
				return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
			}))
			if ended.Status.Phase != corev1.PodSucceeded {
				t.Errorf("pod %s failed: %s", name, env.Kubectl(t, "logs", "-n", ns, name))
			}
			env.DeletePod(t, ns, name)
		}
	}
	t.Logf("%d pods started during the %s", pods, prefix)
	env.AwaitHealthy(t)
	awaitALeaderThatRuns(t)
	return began
}

func awaitALeaderThatRuns(t *testing.T) {
	t.Helper()
	pods, err := env.DriverPods(t.Context(), framework.ControllerPods)
	if err != nil {
		t.Fatal(err)
	}
	framework.AwaitAny(t, env.Client.CoordinationV1().RESTClient(), "leases", framework.DriverNamespace, framework.That("held by one of the controller's pods", func(l *coordinationv1.Lease) bool {
		return slices.ContainsFunc(pods, func(p corev1.Pod) bool {
			return strings.HasPrefix(ptr.Deref(l.Spec.HolderIdentity, ""), p.Name+"_")
		})
	}))
}

// onlyRunningPluginsHaveSockets waits until the kubelets' directories have no
// sockets but those of the plugins that run.
func onlyRunningPluginsHaveSockets(t *testing.T) {
	t.Helper()
	for _, node := range env.Cluster.Nodes() {
		var found string
		err := wait.PollUntilContextTimeout(t.Context(), 500*time.Millisecond, framework.Patience, true, func(ctx context.Context) (bool, error) {
			var err error
			dir := env.Cluster.KubeletDir()
			found, err = framework.OnNode(ctx, node, "find", dir+"/plugins", dir+"/plugins_registry", "-type", "s")
			return strings.Count(found, "\n") == 2, err
		})
		if err != nil {
			t.Errorf("waited for %s to have one socket for the plugin's registration and one to serve: %v; there are:\n%s", node.Name(), err, found)
		}
	}
}

// standingPod works in its space all the time.
type standingPod struct {
	ns, name  string
	variables string
	claim     types.UID
	space     framework.Space
	namespace types.UID
	token     string
	worked    int
}

// stand starts a pod that works in the space of the claim.
func stand(t *testing.T, ns, name, node, claim string) *standingPod {
	t.Helper()
	pod := framework.Runs(framework.Answered("kubectl --kubeconfig=/etc/"+claim+"/kubeconfig get configmaps")+`
while true; do
  if said=$(kubectl --kubeconfig=/etc/`+claim+`/kubeconfig get configmaps 2>&1); then
    echo worked
  else
    case "$said" in
      `+framework.NoAnswer+`) echo "late: $said";;
      *) echo "failed: $said";;
    esac
  fi
  sleep 1
done`,
		framework.NewPod(name, claim))
	env.CreatePod(t, ns, framework.On(node, pod))
	s := &standingPod{ns: ns, name: name, variables: strings.ToUpper(claim)}
	s.space = env.SpaceOf(t, ns, name, s.variables)
	s.claim = framework.Await(t, framework.Claim(env.Client, ns, claim), framework.SpacesReady(1)).UID
	s.namespace = s.namespaceUID(t)
	s.token = s.readToken(t)
	return s
}

func (s *standingPod) namespaceUID(t *testing.T) types.UID {
	t.Helper()
	return framework.Await(t, framework.Namespace(env.Client, s.space.Namespace), framework.That("there", func(*corev1.Namespace) bool { return true })).UID
}

func (s *standingPod) readToken(t *testing.T) string {
	t.Helper()
	return env.Exec(t, s.ns, s.name, "cat", s.space.Kubeconfig[:strings.LastIndex(s.space.Kubeconfig, "/")]+"/token")
}

// wentOn fails the test unless the pod could work in the same space all the time,
// and the plugin that runs now renews its token: by itself, one that has prepared
// the claim would not do so for most of an hour.
func (s *standingPod) wentOn(t *testing.T, changed time.Time) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), time.Second, framework.Patience, true, func(context.Context) (bool, error) {
		now := s.readToken(t)
		renewed := now != s.token
		s.token = now
		return renewed, nil
	})
	if err != nil {
		t.Fatalf("waited for the token of pod %s to be renewed: %v", s.name, err)
	}
	if issued, expires := lifetime(t, s.token); issued.Before(changed.Truncate(time.Second)) || time.Until(expires) < 30*time.Minute {
		t.Errorf("pod %s has a token from %s to %s; the driver was changed at %s", s.name, issued, expires, changed)
	}
	if now := s.namespaceUID(t); now != s.namespace {
		t.Errorf("namespace %s of pod %s is another one: UID %s, was %s", s.space.Namespace, s.name, now, s.namespace)
	}
	if now := env.SpaceOf(t, s.ns, s.name, s.variables); now != s.space {
		t.Errorf("pod %s has %v, had %v", s.name, now, s.space)
	}
	var log string
	worked, failed := 0, -1
	if err := wait.PollUntilContextTimeout(t.Context(), time.Second, framework.Patience, true, func(context.Context) (bool, error) {
		log = env.Kubectl(t, "logs", "-n", s.ns, s.name)
		worked, failed = strings.Count(log, "worked\n"), strings.Index(log, "failed: ")
		return failed >= 0 || worked > s.worked, nil
	}); err != nil || failed >= 0 {
		t.Errorf("pod %s worked in its space %d times, before the change %d times; its log: %.2000s", s.name, worked, s.worked, log[max(failed, 0):])
	}
	s.worked = worked
}

// lifetime returns from when to when a token is good.
func lifetime(t *testing.T, token string) (issued, expires time.Time) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatal("this is no token")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Issued  int64 `json:"iat"`
		Expires int64 `json:"exp"`
	}
	if err == nil {
		err = json.Unmarshal(raw, &claims)
	}
	if err != nil {
		t.Fatalf("read a token: %v", err)
	}
	return time.Unix(claims.Issued, 0), time.Unix(claims.Expires, 0)
}

// makeVersion builds the driver's image as another version, such as
// 0.2.0, loads it, and returns the path of a chart of that version.
func makeVersion(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	if err := env.LoadImages(t.Context(), dir, "v"+version, "driver"); err != nil {
		t.Fatal(err)
	}
	chart := filepath.Join(filepath.Dir(cluster.DefaultConfig().BuildDir), "deployments/helm/space-dra-driver")
	out, err := env.Tool(t.Context(), "helm", "package", "--version="+version, "--app-version=v"+version, "--destination="+dir, chart)
	if err != nil {
		t.Fatalf("package the chart as version %s: %v: %s", version, err, out)
	}
	return filepath.Join(dir, "space-dra-driver-"+version+".tgz")
}

// runsVersion fails the test unless all of the driver's pods are of the version, such as
// v0.2.0, by their image and by their log.
func runsVersion(t *testing.T, version string) {
	t.Helper()
	for _, selector := range []string{framework.ControllerPods, framework.PluginPods} {
		pods, err := env.DriverPods(t.Context(), selector)
		if err != nil || len(pods) == 0 {
			t.Fatalf("there are %d pods with %s, error %v", len(pods), selector, err)
		}
		for _, pod := range pods {
			if image := pod.Spec.Containers[0].Image; !strings.HasSuffix(image, ":"+version) {
				t.Errorf("pod %s has the image %s, want version %s", pod.Name, image, version)
			}
			if log := env.Kubectl(t, "logs", "-n", framework.DriverNamespace, pod.Name); !strings.Contains(log, `version="`+version+`"`) {
				t.Errorf("pod %s does not log version %s: %.200s", pod.Name, version, log)
			}
		}
	}
}
