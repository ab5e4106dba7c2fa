// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package outage

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	upgradedTo   = "0.2.0"
	upgradedFrom = "0.1.0"
)

func TestUpgrade_andRollbackKeepSpaces(t *testing.T) {
	chart := buildVersion(t, upgradedTo)
	ns := env.Namespace(t)
	env.CreateTemplate(t, ns, "my-space")
	env.CreateClaim(t, ns, framework.NewClaim("shared"))
	env.CreateClaim(t, ns, framework.NewClaim("newer"))
	pods := []*runningPod{
		startRunningPod(t, ns, "pod0", env.Node(0), "shared"),
		startRunningPod(t, ns, "pod1", env.Node(1), "shared"),
	}
	checkVersion(t, "v"+upgradedFrom)

	changed := changeDriver(t, ns, "upgrade", "upgrade", "--reset-then-reuse-values", "--namespace", framework.DriverNamespace, framework.DriverNamespace, chart)
	checkVersion(t, "v"+upgradedTo)
	for _, pod := range pods {
		pod.checkWorking(t, changed)
	}
	awaitSocketsOfRunningPlugins(t)

	// The older version imports what the newer one has prepared.
	pods = append(pods, startRunningPod(t, ns, "pod2", env.Node(0), "newer"))
	changed = changeDriver(t, ns, "rollback", "rollback", "--namespace", framework.DriverNamespace, framework.DriverNamespace)
	checkVersion(t, "v"+upgradedFrom)
	for _, pod := range pods {
		pod.checkWorking(t, changed)
	}
	awaitSocketsOfRunningPlugins(t)

	if failed := env.Kubectl(t, "get", "events", "-n", ns, "--field-selector=reason=FailedPrepareDynamicResources", "-o", "name"); failed != "" {
		t.Errorf("the kubelet failed to prepare claims: %s", env.Kubectl(t, "get", "events", "-n", ns))
	}
	for _, pod := range pods {
		env.DeletePod(t, ns, pod.name)
	}
	for _, pod := range pods {
		env.AwaitNamespaceDeleted(t, pod.space.Namespace)
		env.AwaitNoFilesOf(t, pod.space.Claim)
	}
	env.AwaitHealthy(t)
}

// changeDriver changes the driver with helm. Until the rollout is complete, it starts pods with their own
// spaces on all nodes, and waits until they succeed. It returns the time of the change.
func changeDriver(t *testing.T, ns, prefix string, helm ...string) time.Time {
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
			done = true // after another round
		default:
		}
		var round []string
		for i := range env.Cluster.Nodes() {
			pod := framework.WithScript(framework.RetryTimeouts("kubectl --kubeconfig=/etc/my-space/kubeconfig get configmaps"), framework.NewPodFromTemplate(fmt.Sprintf("%s-%d", prefix, pods), "my-space"))
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
	framework.Eventually(t, "a controller that stays to lead", func(ctx context.Context) error {
		leader, err := env.Leader(ctx)
		if err == nil && leader.DeletionTimestamp != nil {
			err = fmt.Errorf("pod %s leads, which is terminating", leader.Name)
		}
		return err
	})
	return began
}

// awaitSocketsOfRunningPlugins waits until the kubelets' directories have only the sockets of running
// kubelet plugins.
func awaitSocketsOfRunningPlugins(t *testing.T) {
	t.Helper()
	for _, node := range env.Cluster.Nodes() {
		framework.Eventually(t, node.Name()+" to have one socket for the plugin's registration and one to serve", func(ctx context.Context) error {
			dir := env.Cluster.KubeletDir()
			found, err := framework.OnNode(ctx, node, "find", dir+"/plugins", dir+"/plugins_registry", "-type", "s")
			if err == nil && strings.Count(found, "\n") != 2 {
				err = fmt.Errorf("there are:\n%s", found)
			}
			return err
		})
	}
}

// runningPod is a pod that sends requests in its space continuously.
type runningPod struct {
	ns, name, claim string
	space           framework.Space
	namespace       types.UID
	token           string
	worked          int
}

// startRunningPod starts a pod that sends requests in the space of the claim.
func startRunningPod(t *testing.T, ns, name, node, claim string) *runningPod {
	t.Helper()
	pod := framework.WithScript(framework.RetryTimeouts("kubectl --kubeconfig=/etc/"+claim+"/kubeconfig get configmaps")+`
while true; do
  if out=$(kubectl --kubeconfig=/etc/`+claim+`/kubeconfig get configmaps 2>&1); then
    echo worked
  else
    case "$out" in
      `+framework.TimeoutPattern+`) echo "late: $out";;
      *) echo "failed: $out";;
    esac
  fi
  sleep 1
done`,
		framework.NewPod(name, claim))
	env.CreatePod(t, ns, framework.On(node, pod))
	s := &runningPod{ns: ns, name: name, claim: claim, space: env.SpaceOf(t, ns, name, claim)}
	s.namespace = s.namespaceUID(t)
	s.token = s.readToken(t)
	return s
}

func (s *runningPod) namespaceUID(t *testing.T) types.UID {
	t.Helper()
	return framework.Await(t, framework.Namespace(env.Client, s.space.Namespace), framework.That("there", func(*corev1.Namespace) bool { return true })).UID
}

func (s *runningPod) readToken(t *testing.T) string {
	t.Helper()
	return env.Exec(t, s.ns, s.name, "cat", "/etc/"+s.claim+"/token")
}

// checkWorking fails the test unless all requests of the pod in the same space succeeded, and the new
// kubelet plugin renews its token: the old one would not have done so yet.
func (s *runningPod) checkWorking(t *testing.T, changed time.Time) {
	t.Helper()
	framework.Eventually(t, "the token of pod "+s.name+" to be renewed", func(context.Context) error {
		now := s.readToken(t)
		if now == s.token {
			return errors.New("the token is unchanged")
		}
		s.token = now
		return nil
	})
	if issued, expires := framework.Lifetime(t, s.token); issued.Before(changed.Truncate(time.Second)) || time.Until(expires) < 30*time.Minute {
		t.Errorf("pod %s has a token from %s to %s; the driver was changed at %s", s.name, issued, expires, changed)
	}
	if now := s.namespaceUID(t); now != s.namespace {
		t.Errorf("namespace %s of pod %s is another one: UID %s, was %s", s.space.Namespace, s.name, now, s.namespace)
	}
	if now := env.SpaceOf(t, s.ns, s.name, s.claim); now != s.space {
		t.Errorf("pod %s has %v, had %v", s.name, now, s.space)
	}
	framework.Eventually(t, "pod "+s.name+" to continue to work", func(context.Context) error {
		log := env.Kubectl(t, "logs", "-n", s.ns, s.name)
		if failed := strings.Index(log, "failed: "); failed >= 0 {
			t.Fatalf("pod %s could not work in its space: %.2000s", s.name, log[failed:])
		}
		worked := strings.Count(log, "worked\n")
		if worked <= s.worked {
			return fmt.Errorf("it worked %d times, before the change %d times", worked, s.worked)
		}
		s.worked = worked
		return nil
	})
}

// buildVersion builds the driver's image as another version, such as
// 0.2.0, loads it, and returns the path of a chart of that version.
func buildVersion(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	if err := env.LoadImages(t.Context(), dir, "v"+version, "driver"); err != nil {
		t.Fatal(err)
	}
	env.Helm(t, "package", "--version="+version, "--app-version=v"+version, "--destination="+dir, framework.Chart())
	return filepath.Join(dir, "space-dra-driver-"+version+".tgz")
}

// checkVersion fails the test unless all of the driver's pods are of the version, such as
// v0.2.0, by their image and by their log.
func checkVersion(t *testing.T, version string) {
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
