// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package churn

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/space-dra/space-dra-driver/test/e2e/churn/availability"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// asks is what a standing pod does: it asks the API server for something in its
// space about once a second, and prints when it began to ask and what came of it.
const asks = `
cd /etc/` + template + `
while :; do
  begin=$(date +%s)
  if error=$(kubectl --kubeconfig=kubeconfig --request-timeout=5s get --raw "/api/v1/namespaces/$(cat namespace)/configmaps" 2>&1 >/dev/null); then
    echo "$begin ok"
  else
    echo "$begin failed" $error
  fi
  sleep 1
done`

type standingPod struct {
	name  string
	claim types.UID
}

// startStanding starts the pods that stay, in turns on the nodes.
func (r *run) startStanding(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for i := range standingPods {
		name := fmt.Sprintf("standing-%d", i)
		node := env.Cluster.Nodes()[i%len(env.Cluster.Nodes())]
		pod := framework.On(node.Name(), framework.Runs(asks, framework.NewPodFromTemplate(name, template)))
		// Each of its lines counts: they must not be those of another container.
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
		if err := r.persist(ctx, "create pod "+name, apierrors.IsAlreadyExists, func(ctx context.Context) error {
			_, err := env.Client.CoreV1().Pods(r.namespace).Create(ctx, pod, metav1.CreateOptions{})
			return err
		}); err != nil {
			return err
		}
		ready, err := framework.Until(ctx, framework.Pod(env.Client, r.namespace, name), framework.PodReady())
		if err != nil {
			return err
		}
		claim, err := env.Client.ResourceV1().ResourceClaims(r.namespace).Get(ctx, *ready.Status.ResourceClaimStatuses[0].ResourceClaimName, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("look up the claim of pod %s: %w", name, err)
		}
		r.standing = append(r.standing, standingPod{name: name, claim: claim.UID})
	}
	return nil
}

// checkStanding checks what the standing pods have seen.
func (r *run) checkStanding(ctx context.Context) error {
	var errs []error
	for _, pod := range r.standing {
		attempts, err := r.attemptsOf(ctx, pod.name)
		if err != nil {
			errs = append(errs, fmt.Errorf("read what pod %s has seen: %w", pod.name, err))
			continue
		}
		result := availability.Check(attempts, r.outages)
		r.t.Logf("pod %s: %s", pod.name, result)
		if err := result.Err(); err != nil {
			errs = append(errs, fmt.Errorf("pod %s: %w", pod.name, err))
		}
	}
	return errors.Join(errs...)
}

// attemptsOf reads what a pod has seen. When the last attempt had no answer in time, it
// waits for the next: what never recovers has no other one.
func (r *run) attemptsOf(ctx context.Context, pod string) ([]availability.Attempt, error) {
	var attempts []availability.Attempt
	var last error
	err := wait.PollUntilContextTimeout(ctx, time.Second, framework.Patience, true, func(ctx context.Context) (bool, error) {
		var log []byte
		log, last = env.Client.CoreV1().Pods(r.namespace).GetLogs(pod, &corev1.PodLogOptions{Timestamps: true}).DoRaw(ctx)
		if last == nil {
			attempts, last = availability.Parse(string(log))
		}
		return last == nil && !attempts[len(attempts)-1].Unanswered(), nil
	})
	if last != nil {
		return nil, errors.Join(last, err)
	}
	return attempts, nil
}

func (r *run) stopStanding(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var errs []error
	for _, pod := range r.standing {
		errs = append(errs, r.remove(ctx, pod.name, 1))
	}
	for _, pod := range r.standing {
		errs = append(errs, framework.UntilGone[*corev1.Pod](ctx, framework.Pod(env.Client, r.namespace, pod.name)))
	}
	return errors.Join(errs...)
}
