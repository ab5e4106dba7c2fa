// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package churn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/space-dra/space-dra-driver/test/e2e/churn/availability"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// probeScript is the script of probe pods. It sends a request about the space to the API server about
// once a second, and prints the time at which it began and the result.
const probeScript = `
cd /etc/` + template + `
while :; do
  begin=$(date +%s)
  if error=$(kubectl --kubeconfig=kubeconfig --request-timeout=5s get --raw "/api/v1/namespaces/$(cat namespace 2>/dev/null)/configmaps" 2>&1 >/dev/null); then
    echo "$begin ok"
  else
    echo "$begin failed" $error
  fi
  sleep 1
done`

// probePod is a pod that uses its space all the time.
type probePod struct {
	name, node string
	uid, claim types.UID
	space      spaceID
}

// spaceID is the name and the UID of a space's namespace.
type spaceID struct {
	Name string
	UID  types.UID
}

// record has the attempts of a pod to use its credentials.
type record struct {
	probePod
	attempts []availability.Attempt
	// replaced means that the claim may have had another allocation when the pod started.
	replaced bool
}

// startLongRunning starts the long-running pods, distributed over the nodes.
func (r *run) startLongRunning(ctx context.Context) error {
	for i := range longRunningPods {
		node := env.Cluster.Nodes()[i%len(env.Cluster.Nodes())]
		pod, err := r.start(ctx, framework.On(node.Name(), framework.WithScript(probeScript, framework.NewPodFromTemplate(fmt.Sprintf("long-running-%d", i), template))))
		if err != nil {
			return err
		}
		r.longRunning = append(r.longRunning, pod)
	}
	return nil
}

// start starts a pod with a claim from the template.
func (r *run) start(ctx context.Context, pod *corev1.Pod) (probePod, error) {
	// Its log must not contain lines of a restarted container.
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	if err := r.retry(ctx, "create pod "+pod.Name, apierrors.IsAlreadyExists, func(ctx context.Context) error {
		_, err := env.Client.CoreV1().Pods(r.namespace).Create(ctx, pod, metav1.CreateOptions{})
		return err
	}); err != nil {
		return probePod{}, err
	}
	var started probePod
	err := r.withRestartedTimeout(ctx, func(ctx context.Context) error {
		ready, err := framework.Until(ctx, framework.Pod(env.Client, r.namespace, pod.Name), framework.PodReady())
		if err == nil {
			started = probePod{name: pod.Name, node: ready.Spec.NodeName, uid: ready.UID}
			pod = ready
		}
		return err
	})
	if err != nil {
		return probePod{}, err
	}
	err = r.retry(ctx, "look up the space of pod "+pod.Name, never, func(ctx context.Context) error {
		claim, err := env.Client.ResourceV1().ResourceClaims(r.namespace).Get(ctx, *pod.Status.ResourceClaimStatuses[0].ResourceClaimName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		started.claim = claim.UID
		started.space, err = spaceOf(ctx, claim.UID)
		return err
	})
	return started, err
}

// checkProbes checks that the credentials of all probe pods worked.
func (r *run) checkProbes(ctx context.Context) error {
	var errs []error
	for _, pod := range r.longRunning {
		errs = append(errs, r.addRecord(ctx, pod, false))
	}
	for _, pod := range r.records {
		disruptions := slices.Concat(r.disruptions[pod.name], r.disruptions[pod.node])
		if pod.replaced {
			disruptions = append(disruptions, pod.attempts[0].Begin())
		}
		result := availability.Check(pod.attempts, r.outages, disruptions)
		r.longest = max(r.longest, result.LongestUp)
		r.t.Logf("pod %s: %s", pod.name, result)
		if err := result.Err(); err != nil {
			errs = append(errs, fmt.Errorf("pod %s: %w", pod.name, err))
		}
	}
	return errors.Join(errs...)
}

// addRecord adds the record of a pod.
func (r *run) addRecord(ctx context.Context, pod probePod, replaced bool) error {
	attempts, err := r.readAttempts(ctx, pod.name)
	if err != nil {
		return fmt.Errorf("read the attempts of pod %s: %w", pod.name, err)
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.records = append(r.records, record{pod, attempts, replaced})
	return nil
}

// readAttempts reads the attempts from the log of a pod, until the last of them succeeded or until a
// timeout.
func (r *run) readAttempts(ctx context.Context, pod string) ([]availability.Attempt, error) {
	var attempts []availability.Attempt
	var last error
	err := wait.PollUntilContextTimeout(ctx, time.Second, framework.Timeout, true, func(ctx context.Context) (bool, error) {
		log, err := env.Client.CoreV1().Pods(r.namespace).GetLogs(pod, &corev1.PodLogOptions{Timestamps: true}).DoRaw(ctx)
		if err == nil {
			attempts, err = availability.Parse(string(log))
		}
		if ctx.Err() == nil {
			last = err
		}
		return err == nil && attempts[len(attempts)-1].Worked(), nil
	})
	if attempts == nil || last != nil {
		return nil, errors.Join(last, err)
	}
	return attempts, nil
}

func (r *run) stopLongRunning(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	var errs []error
	for _, pod := range r.longRunning {
		errs = append(errs, r.remove(ctx, pod.name, 1))
	}
	for _, pod := range r.longRunning {
		errs = append(errs, framework.UntilDeleted[*corev1.Pod](ctx, framework.Pod(env.Client, r.namespace, pod.name)))
	}
	return errors.Join(errs...)
}
