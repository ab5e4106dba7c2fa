// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package churn

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/cluster/pki"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// Names of a soak's objects.
const (
	soakClass = "soak.example.com"
	secret    = "copied"
	mutator   = "soak"
	finalizer = "soak.example.com/keep"
	// drainLabel is the label of the pods that a drain evicts.
	drainLabel = "soak-drain"
)

// changes returns the changes of the cluster during a soak. Each of them is reverted.
func (r *run) changes() []fault {
	changes := []fault{
		{"pod of a StatefulSet force-deleted", r.forceDelete},
		{"files of a StatefulSet's claim damaged", r.damage},
		{"node drained", r.drain},
		{"file of running containers removed", r.removeFile},
		{"Node replaced", r.replaceNode},
		{"kubelet restarted", r.restart("kubelet")},
		{"containerd restarted", r.restart("containerd")},
		{"certificates changed", r.changeCertificates},
		{"address of the API server changed", r.changeServer},
		{"values changed", r.changeValues},
		{"driver rolled out", r.rollOut},
		{"original of a copy changed", r.changeOriginal},
		{"copy deleted", r.deleteCopy},
		{"objects deleted in a space", r.deleteObjects},
		{"finalizers in a space", r.addFinalizers},
	}
	if env.AtLeast("1.36") {
		changes = append(changes, fault{"objects changed by admission", r.mutate})
	}
	return changes
}

// prepareChanges installs the driver with a class for the changes.
func (r *run) prepareChanges(ctx context.Context) error {
	r.originals = env.Namespace(r.t)
	if err := r.writeOriginal(ctx, "first"); err != nil {
		return err
	}
	r.values = map[string]string{"controller.resyncPeriod": "30s"}
	r.flags = []string{
		"--set=space.copyFromNamespaces={" + r.originals + "}",
		// Spaces in use keep their role, and the controller may bind it.
		"--set=space.allowedClusterRoles={edit}",
		"--set-string=controller.podLabels." + drainLabel + "=true",
		fmt.Sprintf(`--set-json=deviceClasses=[{"name":%q,"config":{"tokenLifetime":"10m","resourceQuota":{"hard":{"pods":"4"}},"copyFrom":{"namespace":%q,"secrets":[{"name":%q}]}}}]`,
			soakClass, r.originals, secret),
	}
	if err := r.upgrade(ctx); err != nil {
		return err
	}
	return env.AwaitRollout(ctx)
}

// upgrade upgrades the driver to the values, and more flags. An API server that is killed meanwhile
// would make helm refuse all later upgrades.
func (r *run) upgrade(ctx context.Context, more ...string) error {
	r.apiServer.Lock()
	defer r.apiServer.Unlock()
	flags := slices.Concat(r.flags, more)
	for _, name := range slices.Sorted(maps.Keys(r.values)) {
		flags = append(flags, "--set="+name+"="+r.values[name])
	}
	return env.UpgradeDriver(ctx, flags...)
}

// changeValues changes values that apply to later spaces, or to the driver's pods.
func (r *run) changeValues(ctx context.Context, rng *rand.Rand) error {
	for _, value := range [][]string{
		{"commonLabels.soak", "a", "b"},
		{"controller.replicas", "1", "2", "3"},
		{"controller.resyncPeriod", "20s", "30s"},
		{"controller.stuckTerminatingAfter", "30s", "5m"},
		{"logVerbosity", "0", "1", "2"},
		{"poolDefaults.dedicatedDeviceCount", "128", "256"},
		{"space.clusterRole", "edit", "view"},
		{"space.networkMode", "Isolated", "Open"},
		{"space.podSecurity", "baseline", "restricted"},
	} {
		r.values[value[0]] = value[1+rng.IntN(len(value)-1)]
	}
	return r.upgrade(ctx)
}

func (r *run) rollOut(ctx context.Context, _ *rand.Rand) error {
	return r.kubectl(ctx, "rollout", "restart", "-n", framework.DriverNamespace, "deployment,daemonset")
}

// changeCertificates makes containers trust another CA, too, and reverts that.
func (r *run) changeCertificates(ctx context.Context, _ *rand.Rand) error {
	ca, err := pki.NewCA("another")
	if err != nil {
		return err
	}
	file := filepath.Join(r.t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, slices.Concat(env.Cluster.CA(), ca.Cert()), 0o600); err != nil {
		return err
	}
	return r.applyAndRevert(ctx, "--set-file=space.apiServerCA="+file, "ca.crt", string(ca.Cert()))
}

// changeServer makes containers use another address of the API server, and reverts that.
func (r *run) changeServer(ctx context.Context, _ *rand.Rand) error {
	url := env.Cluster.APIServerURL()
	return r.applyAndRevert(ctx, "--set=space.apiServerURL="+url, "kubeconfig", url)
}

// applyAndRevert upgrades the driver with a flag and then without it. It waits until a file of
// running containers has the text, and then until it does not.
func (r *run) applyAndRevert(ctx context.Context, flag, file, text string) error {
	for _, flags := range [][]string{{flag}, nil} {
		if err := r.upgrade(ctx, flags...); err != nil {
			return err
		}
		for _, pod := range r.longRunning {
			if err := r.retry(ctx, fmt.Sprintf("see the change in %s of pod %s", file, pod.name), never, func(ctx context.Context) error {
				content, err := pod.onNode(ctx, `cat /run/claim-artifacts/*/$1/credentials/$2`, file)
				if err == nil && strings.Contains(content, text) != (flags != nil) {
					err = fmt.Errorf("it is %s", content)
				}
				return err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeFile removes a file that a running container reads.
func (r *run) removeFile(ctx context.Context, rng *rand.Rand) error {
	pod := r.nextLongRunning()
	names := []string{"token", "kubeconfig", "ca.crt", "namespace"}
	name := names[rng.IntN(len(names))]
	r.t.Logf("file %s of pod %s is removed", name, pod.name)
	r.recordDisruption(pod.name)
	_, err := pod.onNode(ctx, `rm /run/claim-artifacts/*/$1/credentials/$2`, name)
	return err
}

// replaceNode deletes a Node, and lets the kubelet create another one before Kubernetes deletes
// its pods, which is after 40 seconds.
func (r *run) replaceNode(ctx context.Context, rng *rand.Rand) error {
	node := env.Cluster.Nodes()[rng.IntN(len(env.Cluster.Nodes()))]
	r.t.Logf("Node %s is replaced", node.Name())
	r.apiServer.Lock()
	defer r.apiServer.Unlock()
	if err := node.Kill(ctx, "kubelet"); err != nil {
		return err
	}
	r.recordDisruption(node.Name())
	if err := r.kubectl(ctx, "delete", "node", node.Name(), "--ignore-not-found"); err != nil {
		return err
	}
	if err := node.Start(ctx, "kubelet"); err != nil {
		return err
	}
	if _, err := framework.Until(ctx, framework.Node(env.Client, node.Name()), framework.NodeReady()); err != nil {
		return err
	}
	// It exits when its Node is deleted (k8s.io/kubernetes, pkg/proxy/node.go).
	if err := node.Kill(ctx, "kube-proxy"); err != nil {
		return err
	}
	return node.Start(ctx, "kube-proxy")
}

// restart kills a process of a node, and starts it again.
func (r *run) restart(process string) func(context.Context, *rand.Rand) error {
	return func(ctx context.Context, rng *rand.Rand) error {
		node, length := env.Cluster.Nodes()[rng.IntN(len(env.Cluster.Nodes()))], randomDuration(rng, 0, longestOutage)
		r.t.Logf("%s on %s is killed for %s", process, node.Name(), length.Round(time.Millisecond))
		if err := node.Kill(ctx, process); err != nil {
			return err
		}
		pause(ctx, length)
		return node.Start(ctx, process)
	}
}

// changeOriginal changes what is copied into spaces, or deletes it and creates it again.
func (r *run) changeOriginal(ctx context.Context, rng *rand.Rand) error {
	value, length := strconv.Itoa(rng.Int()), randomDuration(rng, 0, longestOutage)
	if rng.IntN(2) == 0 {
		r.t.Logf("the original is deleted for %s", length.Round(time.Millisecond))
		if err := r.kubectl(ctx, "delete", "secret", secret, "-n", r.originals, "--ignore-not-found"); err != nil {
			return err
		}
		pause(ctx, length)
	}
	if err := r.writeOriginal(ctx, value); err != nil {
		return err
	}
	return r.awaitCopies(ctx)
}

func (r *run) writeOriginal(ctx context.Context, value string) error {
	r.original = value
	object := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, StringData: map[string]string{"value": value}}
	return r.retry(ctx, "write the original", never, func(ctx context.Context) error {
		_, err := env.Client.CoreV1().Secrets(r.originals).Update(ctx, object, metav1.UpdateOptions{})
		if apierrors.IsNotFound(err) {
			_, err = env.Client.CoreV1().Secrets(r.originals).Create(ctx, object, metav1.CreateOptions{})
		}
		return err
	})
}

// awaitCopies waits until the spaces of long-running pods have copies of the original as it is.
func (r *run) awaitCopies(ctx context.Context) error {
	for _, pod := range r.longRunning {
		if err := r.retry(ctx, "see the copy of pod "+pod.name, never, func(ctx context.Context) error {
			got, err := env.Client.CoreV1().Secrets(pod.space.Name).Get(ctx, secret, metav1.GetOptions{})
			if err == nil && string(got.Data["value"]) != r.original {
				err = fmt.Errorf("it has %q, want %q", got.Data["value"], r.original)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) deleteCopy(ctx context.Context, _ *rand.Rand) error {
	if err := r.kubectl(ctx, "delete", "secret", secret, "-n", r.nextLongRunning().space.Name, "--ignore-not-found"); err != nil {
		return err
	}
	return r.awaitCopies(ctx)
}

// deleteObjects deletes an object of a space again and again, as a tenant can.
func (r *run) deleteObjects(ctx context.Context, rng *rand.Rand) error {
	pod := r.nextLongRunning()
	kinds := []string{"serviceaccount", "rolebinding", "resourcequota", "networkpolicy"}
	kind, times := kinds[rng.IntN(len(kinds))], 1+rng.IntN(3)
	r.t.Logf("the %s of pod %s is deleted %d times", kind, pod.name, times)
	for range times {
		r.recordDisruption(pod.name)
		if err := r.kubectl(ctx, "delete", kind, spaceapi.ObjectName, "-n", pod.space.Name, "--ignore-not-found"); err != nil {
			return err
		}
		pause(ctx, randomDuration(rng, 0, 2*time.Second))
	}
	return r.kubectl(ctx, "get", kind, spaceapi.ObjectName, "-n", pod.space.Name)
}

// addFinalizers adds finalizers to a namespace and to an object in it, deprovisions the space, and removes
// the finalizers after some time.
func (r *run) addFinalizers(ctx context.Context, rng *rand.Rand) error {
	length := randomDuration(rng, 0, time.Minute)
	name := fmt.Sprintf("kept-%d", rng.Uint32())
	pod, err := r.start(ctx, framework.NewPodFromTemplate(name, template))
	if err != nil {
		return err
	}
	setFinalizers := func(kind, object, finalizers string) error {
		return r.retry(ctx, "set the finalizers of "+kind+" "+object, apierrors.IsNotFound, func(ctx context.Context) error {
			out, err := env.TryKubectl(ctx, "patch", kind, object, "-n", pod.space.Name, "--type=merge", `-p={"metadata":{"finalizers":[`+finalizers+`]}}`)
			if strings.Contains(out, "NotFound") {
				return nil
			}
			return errorOf(out, err)
		})
	}
	kept := strconv.Quote(finalizer)
	if err := setFinalizers("configmap", spaceapi.RootCAName, kept); err != nil {
		return err
	}
	if err := setFinalizers("namespace", pod.space.Name, kept); err != nil {
		return err
	}
	if err := r.remove(ctx, name, 1); err != nil {
		return err
	}
	namespace := framework.Namespace(env.Client, pod.space.Name)
	if err := r.withRestartedTimeout(ctx, func(ctx context.Context) error {
		_, err := framework.Until(ctx, namespace, framework.That("Terminating", func(ns *corev1.Namespace) bool { return ns.DeletionTimestamp != nil }))
		return err
	}); err != nil {
		return err
	}
	pause(ctx, length)
	if err := setFinalizers("namespace", pod.space.Name, ""); err != nil {
		return err
	}
	if err := setFinalizers("configmap", spaceapi.RootCAName, ""); err != nil {
		return err
	}
	return r.withRestartedTimeout(ctx, func(ctx context.Context) error { return framework.UntilDeleted[*corev1.Namespace](ctx, namespace) })
}

// mutate installs an admission plugin that changes what the controller writes, and removes it after some time.
func (r *run) mutate(ctx context.Context, rng *rand.Rand) error {
	names := slices.Sorted(maps.Keys(framework.Mutators))
	name, length := names[rng.IntN(len(names))], randomDuration(rng, longestOutage, 3*longestOutage)
	r.t.Logf("the mutator %q is installed for %s", name, length.Round(time.Millisecond))
	if err := r.retry(ctx, "install a mutator", never, func(ctx context.Context) error {
		return env.InstallMutator(ctx, mutator, spaceapi.DefaultNamespacePrefix, framework.Mutators[name])
	}); err != nil {
		return err
	}
	pause(ctx, length)
	return r.retry(ctx, "remove a mutator", never, func(ctx context.Context) error { return env.RemoveMutator(ctx, mutator) })
}

// nextLongRunning returns each of the long-running pods in turn: restores of one space take longer each
// time.
func (r *run) nextLongRunning() probePod {
	r.turn++
	return r.longRunning[r.turn%len(r.longRunning)]
}

// recordDisruption records that the credentials of a pod, or of all pods of a node, become invalid now.
func (r *run) recordDisruption(podOrNode string) {
	r.disruptions[podOrNode] = append(r.disruptions[podOrNode], time.Now())
}

// onNode runs a shell script on the pod's node. $1 is the claim.
func (s probePod) onNode(ctx context.Context, script string, args ...string) (string, error) {
	return framework.OnNode(ctx, env.Cluster.Node(s.node), append([]string{"sh", "-c", script, "sh", string(s.claim)}, args...)...)
}

// kubectl runs kubectl until it succeeds.
func (r *run) kubectl(ctx context.Context, args ...string) error {
	return r.retry(ctx, "kubectl "+strings.Join(args, " "), never, func(ctx context.Context) error {
		return errorOf(env.TryKubectl(ctx, args...))
	})
}

func errorOf(out string, err error) error {
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func never(error) bool { return false }
