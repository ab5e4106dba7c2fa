// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package outage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// upgradeFrom is the environment variable with the root directory of the version to upgrade from. If
// it is empty, that is the work tree, under another number: nothing but the number changes then.
const upgradeFrom = "SPACE_UPGRADE_FROM"

func TestUpgrade_andRollbackKeepSpaces(t *testing.T) {
	older, newer := "0.1.0", "0.2.0"
	chart := buildVersion(t, framework.Root(), newer)
	if root := os.Getenv(upgradeFrom); root != "" {
		older = "0.0.1"
		env.Helm(t, upgradeTo(buildVersion(t, root, older))...)
		env.AwaitHealthy(t)
	}
	original := createOriginal(t)
	ns := env.Namespace(t)
	env.CreateTemplate(t, ns, "my-space")
	env.CreateClaim(t, ns, framework.NewClaim("shared"))
	pods := []*runningPod{
		startRunningPod(t, ns, "pod0", env.Node(0), "shared"),
		startRunningPod(t, ns, "pod1", env.Node(1), "shared"),
	}
	for i, class := range []string{"copies", "exclusive", "limited", "retained"} {
		env.CreateClaim(t, ns, framework.OfClass(class, framework.NewClaim(class)))
		pods = append(pods, startRunningPod(t, ns, class, env.Node(i%2), class))
	}
	checkVersion(t, "v"+older)

	original.change(t)
	changed := changeDriver(t, ns, "upgrade", upgradeTo(chart)...)
	checkVersion(t, "v"+newer)
	for _, pod := range pods {
		pod.checkWorking(t, changed)
	}
	awaitSocketsOfRunningPlugins(t)
	original.awaitCopy(t, pods[2].space.Namespace)

	// The older version imports what the newer one has prepared. Pods that join a claim get what
	// another version has prepared.
	env.CreateClaim(t, ns, framework.NewClaim("newer"))
	pods = append(pods, startRunningPod(t, ns, "newer", env.Node(0), "newer"), startRunningPod(t, ns, "joined-newer", env.Node(0), "shared"))
	changed = changeDriver(t, ns, "rollback", "rollback", "--namespace", framework.DriverNamespace, framework.DriverNamespace)
	checkVersion(t, "v"+older)
	for _, pod := range pods {
		pod.checkWorking(t, changed)
	}
	awaitSocketsOfRunningPlugins(t)
	pods = append(pods, startRunningPod(t, ns, "joined-older", env.Node(0), "newer"))

	for message := range strings.Lines(env.Kubectl(t, "get", "events", "-n", ns, "--field-selector=reason=FailedPrepareDynamicResources", "-o", `jsonpath={range .items[*]}{.message}{"\n"}{end}`)) {
		// On a busy machine, a space may become ready later.
		if !strings.Contains(message, "waited ") {
			t.Errorf("the kubelet failed to prepare a claim: %s", message)
		}
	}
	for _, pod := range pods {
		env.DeletePod(t, ns, pod.name)
	}
	for _, pod := range pods {
		if pod.claim == "retained" {
			framework.Await(t, framework.Namespace(env.Client, pod.space.Namespace), framework.That("retained", func(n *corev1.Namespace) bool {
				return n.DeletionTimestamp == nil && n.Annotations[spaceapi.KeysFor(spaceapi.DefaultDriverName).RetainedUntil] != ""
			}))
			env.Kubectl(t, "delete", "namespace", pod.space.Namespace, "--wait=false")
		}
		env.AwaitNamespaceDeleted(t, pod.space.Namespace)
		env.AwaitNoFilesOf(t, pod.space.Claim)
	}
	env.AwaitHealthy(t)
	framework.Eventually(t, "no namespaces and files of spaces to be left", func(ctx context.Context) error {
		spaces, err := env.Spaces(ctx)
		files, filesErr := env.NodeFiles(ctx)
		if err = errors.Join(err, filesErr); err == nil && len(spaces)+len(files) > 0 {
			err = fmt.Errorf("there are %d namespaces and on the nodes %v", len(spaces), files)
		}
		return err
	})
}

// upgradeTo returns the command with which docs/upgrade.md upgrades, with another chart.
func upgradeTo(chart string) []string {
	return []string{"upgrade", "--reset-then-reuse-values", "--namespace", framework.DriverNamespace, framework.DriverNamespace, chart}
}

// originalSecret is the Secret that spaces of the class copies have.
type originalSecret struct{ *corev1.Secret }

// createOriginal creates the Secret for one test.
func createOriginal(t *testing.T) originalSecret {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "original"}, StringData: map[string]string{"key": "first"}}
	created, err := env.Client.CoreV1().Secrets(secret.Namespace).Create(t.Context(), secret, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Client.CoreV1().Secrets(secret.Namespace).Delete(context.Background(), secret.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return originalSecret{created}
}

// change changes the Secret.
func (o originalSecret) change(t *testing.T) {
	t.Helper()
	o.Data["key"] = []byte("second")
	if _, err := env.Client.CoreV1().Secrets(o.Namespace).Update(t.Context(), o.Secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// awaitCopy waits until the copy in a space is as the Secret was changed to.
func (o originalSecret) awaitCopy(t *testing.T, space string) {
	t.Helper()
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "secrets", space, framework.That("the changed copy", func(s *corev1.Secret) bool {
		return s.Name == o.Name && string(s.Data["key"]) == "second"
	}))
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
	env.AwaitLeader(t)
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
  sleep 2
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
	if issued, expires := framework.TokenValidity(t, s.token); issued.Before(changed.Truncate(time.Second)) || time.Until(expires) < 30*time.Minute {
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

// buildVersion builds the driver's image of the source in the root directory as another version,
// such as 0.2.0, loads it, and returns the path of a chart of that version.
func buildVersion(t *testing.T, root, version string) string {
	t.Helper()
	dir := t.TempDir()
	if err := env.LoadImages(t.Context(), root, dir, "v"+version, "driver"); err != nil {
		t.Fatal(err)
	}
	env.Helm(t, "package", "--version="+version, "--app-version=v"+version, "--destination="+dir, filepath.Join(root, "deployments/helm/space-dra-driver"))
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
