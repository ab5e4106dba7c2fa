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

// A StatefulSet of one pod uses a standing claim. The pod does not stop until it is killed.
const (
	movingSet   = "moving"
	movingPod   = movingSet + "-0"
	movingGrace = 20
)

func (r *run) startMoving(ctx context.Context) error {
	// The name of the claim is in the paths of containers, as that of a template is.
	claim, err := env.Client.ResourceV1().ResourceClaims(r.namespace).Create(ctx, framework.OfClass(soakClass, framework.NewClaim(template)), metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create the claim of the StatefulSet: %w", err)
	}
	r.moving.claim = claim.UID
	pod := framework.WithScript(asks, framework.NewPod(movingSet, template))
	pod.Labels = map[string]string{"app": movingSet, drained: "true"}
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](movingGrace)
	if _, err := env.Client.AppsV1().StatefulSets(r.namespace).Create(ctx, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: movingSet},
		Spec: appsv1.StatefulSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": movingSet}},
			Template: corev1.PodTemplateSpec{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec},
		},
	}, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the StatefulSet: %w", err)
	}
	return r.arrive(ctx)
}

// arrive waits until the pod of the StatefulSet works in a space.
func (r *run) arrive(ctx context.Context) error {
	if err := r.persist(ctx, "see pod "+movingPod+" at work", never, func(ctx context.Context) error {
		now, err := r.movingNow(ctx)
		if err != nil {
			return err
		}
		log, err := env.Client.CoreV1().Pods(r.namespace).GetLogs(movingPod, &corev1.PodLogOptions{}).DoRaw(ctx)
		if err == nil && !strings.Contains(string(log), " ok\n") {
			err = fmt.Errorf("it has printed %.1000s", log)
		}
		if err == nil {
			r.moving = now
		}
		return err
	}); err != nil {
		return err
	}
	// It may have begun with the credentials of the earlier allocation, which have stopped to work.
	const before = 30 * time.Second
	r.disturbances[movingPod] = append(r.disturbances[movingPod], time.Now().Add(-before))
	return nil
}

// movingNow returns the pod of the StatefulSet.
func (r *run) movingNow(ctx context.Context) (standingPod, error) {
	pod, err := env.Client.CoreV1().Pods(r.namespace).Get(ctx, movingPod, metav1.GetOptions{})
	switch {
	case err != nil:
		return standingPod{}, err
	case pod.DeletionTimestamp != nil || !framework.PodReady().Holds(pod):
		return standingPod{}, fmt.Errorf("pod %s is not ready", movingPod)
	}
	now := standingPod{name: movingPod, uid: pod.UID, node: pod.Spec.NodeName, claim: r.moving.claim}
	claim, err := env.Client.ResourceV1().ResourceClaims(r.namespace).Get(ctx, template, metav1.GetOptions{})
	if err != nil {
		return standingPod{}, err
	}
	now.space, err = spaceOf(ctx, now.claim)
	a := allocation.FromClaim(claim, spaceapi.DefaultDriverName)
	if err == nil && (a == nil || a.Results[0].NamespaceName(spaceapi.DefaultNamespacePrefix) != now.space.Name) {
		err = fmt.Errorf("space %s is that of an earlier allocation", now.space.Name)
	}
	return now, err
}

// leave fails unless the pod of the StatefulSet has the space that it had when it arrived, and keeps
// what it has seen.
func (r *run) leave(ctx context.Context) error {
	if err := r.persist(ctx, "find pod "+movingPod, never, func(ctx context.Context) error {
		now, err := r.movingNow(ctx)
		if err == nil && now != r.moving {
			err = fmt.Errorf("it is %+v, was %+v", now, r.moving)
		}
		return err
	}); err != nil {
		return err
	}
	return r.collect(ctx, r.moving, true)
}

// deleteByForce makes the StatefulSet start a pod before the former one has ended.
func (r *run) deleteByForce(ctx context.Context, _ *rand.Rand) error {
	if err := r.leave(ctx); err != nil {
		return err
	}
	r.t.Logf("pod %s is deleted by force", movingPod)
	if err := r.deleteMoving(ctx, 0); err != nil {
		return err
	}
	return r.arrive(ctx)
}

// deleteMoving deletes the pod of the StatefulSet, and waits until its object is gone.
func (r *run) deleteMoving(ctx context.Context, grace int64) error {
	uid := r.moving.uid
	return r.persist(ctx, "delete pod "+movingPod, never, func(ctx context.Context) error {
		err := env.Client.CoreV1().Pods(r.namespace).Delete(ctx, movingPod, metav1.DeleteOptions{GracePeriodSeconds: &grace, Preconditions: &metav1.Preconditions{UID: &uid}})
		switch {
		case apierrors.IsNotFound(err), apierrors.IsConflict(err): // it is another pod
			return nil
		case err == nil:
			err = errors.New("it is there")
		}
		return err
	})
}

// damage damages what is on the node for a standing claim. Its next pod works.
func (r *run) damage(ctx context.Context, rng *rand.Rand) error {
	scripts := []string{
		`rm -r /run/claim-artifacts/*/$1`,
		`find /run/cdi -name "*$1*" -delete`,
		`for file in /run/claim-artifacts/*/$1/metadata.json; do echo damaged >$file; done`,
	}
	script, length := scripts[rng.IntN(len(scripts))], between(rng, 0, longestOutage)
	if err := r.leave(ctx); err != nil {
		return err
	}
	r.t.Logf("on the node of pod %s: %s", movingPod, script)
	if _, err := r.moving.onNode(ctx, script); err != nil {
		return err
	}
	pause(ctx, length)
	if err := r.deleteMoving(ctx, movingGrace); err != nil {
		return err
	}
	return r.arrive(ctx)
}

// drain drains the node of the pod of the StatefulSet. Standing pods and those that come and go
// stay: they belong to no controller.
func (r *run) drain(ctx context.Context, rng *rand.Rand) error {
	length := between(rng, 0, longestOutage)
	if err := r.leave(ctx); err != nil {
		return err
	}
	r.t.Logf("node %s is drained", r.moving.node)
	if err := r.kubectl(ctx, "drain", r.moving.node, "--pod-selector="+drained+"=true", "--ignore-daemonsets", "--delete-emptydir-data"); err != nil {
		return err
	}
	pause(ctx, length)
	if err := r.kubectl(ctx, "uncordon", r.moving.node); err != nil {
		return err
	}
	return r.arrive(ctx)
}

// stopMoving deletes the StatefulSet and its claim.
func (r *run) stopMoving(ctx context.Context) error {
	if err := r.leave(ctx); err != nil {
		return err
	}
	return r.kubectl(ctx, "delete", "statefulset/"+movingSet, "resourceclaim/"+template, "-n", r.namespace, "--ignore-not-found", "--wait=false")
}

// stay lets a pod work in its space for some time.
func (r *run) stay(ctx context.Context, rng *rand.Rand, name string) error {
	length := between(rng, 20*time.Second, 2*time.Minute)
	pod, err := r.start(ctx, framework.WithScript(asks, framework.NewPodFromTemplate(name, template)))
	if err != nil {
		return err
	}
	pause(ctx, length)
	if err := r.collect(ctx, pod, false); err != nil {
		return err
	}
	if err := r.remove(ctx, name, 1); err != nil {
		return err
	}
	return r.patiently(ctx, func(ctx context.Context) error {
		return framework.UntilDeleted[*corev1.Pod](ctx, framework.Pod(env.Client, r.namespace, name))
	})
}
