// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package churn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// A StatefulSet of one pod uses a ResourceClaim, not a template. The pod does not stop until it is killed.
const (
	statefulSet            = "stateful"
	statefulPod            = statefulSet + "-0"
	statefulPodGracePeriod = 20
)

func (r *run) startStatefulSet(ctx context.Context) error {
	// The name of the claim is in the paths of containers, as that of a template is.
	claim, err := env.Client.ResourceV1().ResourceClaims(r.namespace).Create(ctx, framework.OfClass(soakClass, framework.NewClaim(template)), metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create the claim of the StatefulSet: %w", err)
	}
	r.statefulPod.claim = claim.UID
	pod := framework.WithScript(probeScript, framework.NewPod(statefulSet, template))
	pod.Labels = map[string]string{"app": statefulSet, drainLabel: "true"}
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](statefulPodGracePeriod)
	if _, err := env.Client.AppsV1().StatefulSets(r.namespace).Create(ctx, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: statefulSet},
		Spec: appsv1.StatefulSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": statefulSet}},
			Template: corev1.PodTemplateSpec{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec},
		},
	}, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the StatefulSet: %w", err)
	}
	return r.awaitStatefulPod(ctx)
}

// awaitStatefulPod waits until the pod of the StatefulSet has used its space.
func (r *run) awaitStatefulPod(ctx context.Context) error {
	if err := r.retry(ctx, "see that pod "+statefulPod+" uses its space", never, func(ctx context.Context) error {
		now, err := r.getStatefulPod(ctx)
		if err != nil {
			return err
		}
		log, err := env.Client.CoreV1().Pods(r.namespace).GetLogs(statefulPod, &corev1.PodLogOptions{}).DoRaw(ctx)
		if err == nil && !strings.Contains(string(log), " ok\n") {
			err = fmt.Errorf("it has printed %.1000s", log)
		}
		if err == nil {
			r.statefulPod = now
		}
		return err
	}); err != nil {
		return err
	}
	// It may have started with the credentials of the earlier allocation, which are revoked.
	const before = 30 * time.Second
	r.disruptions[statefulPod] = append(r.disruptions[statefulPod], time.Now().Add(-before))
	return nil
}

// getStatefulPod returns the pod of the StatefulSet.
func (r *run) getStatefulPod(ctx context.Context) (probePod, error) {
	pod, err := env.Client.CoreV1().Pods(r.namespace).Get(ctx, statefulPod, metav1.GetOptions{})
	switch {
	case err != nil:
		return probePod{}, err
	case pod.DeletionTimestamp != nil || !framework.PodReady().Holds(pod):
		return probePod{}, fmt.Errorf("pod %s is not ready", statefulPod)
	}
	now := probePod{name: statefulPod, uid: pod.UID, node: pod.Spec.NodeName, claim: r.statefulPod.claim}
	claim, err := env.Client.ResourceV1().ResourceClaims(r.namespace).Get(ctx, template, metav1.GetOptions{})
	if err != nil {
		return probePod{}, err
	}
	now.space, err = spaceOf(ctx, now.claim)
	a := allocation.FromClaim(claim, spaceapi.DefaultDriverName)
	if err == nil && (a == nil || a.Results[0].NamespaceName(spaceapi.DefaultNamespacePrefix) != now.space.Name) {
		err = fmt.Errorf("space %s is that of an earlier allocation", now.space.Name)
	}
	return now, err
}

// recordStatefulPod fails unless the pod of the StatefulSet still has the space that awaitStatefulPod found, and adds
// its record.
func (r *run) recordStatefulPod(ctx context.Context) error {
	if err := r.retry(ctx, "find pod "+statefulPod, never, func(ctx context.Context) error {
		now, err := r.getStatefulPod(ctx)
		if err == nil && now != r.statefulPod {
			err = fmt.Errorf("it is %+v, was %+v", now, r.statefulPod)
		}
		return err
	}); err != nil {
		return err
	}
	return r.addRecord(ctx, r.statefulPod, true)
}

// forceDelete makes the StatefulSet start a pod before the previous one has terminated.
func (r *run) forceDelete(ctx context.Context, _ *rand.Rand) error {
	if err := r.recordStatefulPod(ctx); err != nil {
		return err
	}
	r.t.Logf("pod %s is force-deleted", statefulPod)
	if err := r.deleteStatefulPod(ctx, 0); err != nil {
		return err
	}
	return r.awaitStatefulPod(ctx)
}

// deleteStatefulPod deletes the pod of the StatefulSet, and waits until its object no longer exists.
func (r *run) deleteStatefulPod(ctx context.Context, grace int64) error {
	uid := r.statefulPod.uid
	return r.retry(ctx, "delete pod "+statefulPod, never, func(ctx context.Context) error {
		err := env.Client.CoreV1().Pods(r.namespace).Delete(ctx, statefulPod, metav1.DeleteOptions{GracePeriodSeconds: &grace, Preconditions: &metav1.Preconditions{UID: &uid}})
		switch {
		case apierrors.IsNotFound(err), apierrors.IsConflict(err): // it is another pod
			return nil
		case err == nil:
			err = errors.New("it still exists")
		}
		return err
	})
}

// damage damages the files of the StatefulSet's claim on the node. The next pod can use its space.
func (r *run) damage(ctx context.Context, rng *rand.Rand) error {
	scripts := []string{
		`rm -r /run/claim-artifacts/*/$1`,
		`find /run/cdi -name "*$1*" -delete`,
		`for file in /run/claim-artifacts/*/$1/metadata.json; do echo damaged >$file; done`,
	}
	script, length := scripts[rng.IntN(len(scripts))], randomDuration(rng, 0, longestOutage)
	if err := r.recordStatefulPod(ctx); err != nil {
		return err
	}
	r.t.Logf("on the node of pod %s: %s", statefulPod, script)
	if _, err := r.statefulPod.onNode(ctx, script); err != nil {
		return err
	}
	pause(ctx, length)
	if err := r.deleteStatefulPod(ctx, statefulPodGracePeriod); err != nil {
		return err
	}
	return r.awaitStatefulPod(ctx)
}

// drain drains the node of the pod of the StatefulSet. The other pods
// are not evicted: they belong to no controller.
func (r *run) drain(ctx context.Context, rng *rand.Rand) error {
	length := randomDuration(rng, 0, longestOutage)
	if err := r.recordStatefulPod(ctx); err != nil {
		return err
	}
	r.t.Logf("node %s is drained", r.statefulPod.node)
	if err := r.kubectl(ctx, "drain", r.statefulPod.node, "--pod-selector="+drainLabel+"=true", "--ignore-daemonsets", "--delete-emptydir-data"); err != nil {
		return err
	}
	pause(ctx, length)
	if err := r.kubectl(ctx, "uncordon", r.statefulPod.node); err != nil {
		return err
	}
	return r.awaitStatefulPod(ctx)
}

// deleteStatefulSet deletes the StatefulSet and its claim.
func (r *run) deleteStatefulSet(ctx context.Context) error {
	if err := r.recordStatefulPod(ctx); err != nil {
		return err
	}
	return r.kubectl(ctx, "delete", "statefulset/"+statefulSet, "resourceclaim/"+template, "-n", r.namespace, "--ignore-not-found", "--wait=false")
}

// runProbePod runs a probe pod for some time.
func (r *run) runProbePod(ctx context.Context, rng *rand.Rand, name string) error {
	length := randomDuration(rng, 20*time.Second, 2*time.Minute)
	pod, err := r.start(ctx, framework.WithScript(probeScript, framework.NewPodFromTemplate(name, template)))
	if err != nil {
		return err
	}
	pause(ctx, length)
	if err := r.addRecord(ctx, pod, false); err != nil {
		return err
	}
	if err := r.remove(ctx, name, 1); err != nil {
		return err
	}
	return r.withRestartedTimeout(ctx, func(ctx context.Context) error {
		return framework.UntilDeleted[*corev1.Pod](ctx, framework.Pod(env.Client, r.namespace, name))
	})
}
