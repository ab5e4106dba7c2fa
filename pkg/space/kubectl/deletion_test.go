// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWhyRemaining_suggestsWhatToDo(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.Namespace)
		// pods are in the namespace.
		pods []*corev1.Pod
		want []string
	}{
		"content with finalizers": {func(ns *corev1.Namespace) {
			ns.Status.Conditions = []corev1.NamespaceCondition{{Type: corev1.NamespaceFinalizersRemaining, Status: corev1.ConditionTrue, Message: "example.com/hold in 1 resource instances"}}
		}, nil, []string{"example.com/hold in 1", "has no permissions any more"}},
		"an APIService": {func(ns *corev1.Namespace) {
			ns.Status.Conditions = []corev1.NamespaceCondition{{Type: corev1.NamespaceDeletionDiscoveryFailure, Status: corev1.ConditionTrue, Message: "unable to retrieve v1.gone.example.com"}}
		}, nil, []string{"v1.gone.example.com", "APIServices"}},
		"its own finalizers": {func(ns *corev1.Namespace) {
			ns.Spec.Finalizers, ns.Finalizers = nil, []string{"example.com/hold"}
		}, nil, []string{"metadata of the Namespace has the finalizers example.com/hold", "kubectl edit namespace"}},
		"a pod in its grace period": {nil, []*corev1.Pod{terminatingPod("slow", now.Add(time.Minute))},
			[]string{"Kubernetes first deletes its pods", "Pod slow has a termination grace period until 2026-03-01T12:01:00Z."}},
		"a pod with a finalizer": {nil, []*corev1.Pod{terminatingPod("held", now.Add(-time.Minute), "example.com/hold")},
			[]string{"Pod held has finalizers: example.com/hold."}},
		"a pod of a lost node": {nil, []*corev1.Pod{terminatingPod("lost", now.Add(-time.Minute))},
			[]string{"The termination grace period of pod lost has ended: check its node n,"}},
		"many pods": {nil, []*corev1.Pod{terminatingPod("a", now), terminatingPod("b", now), terminatingPod("c", now), terminatingPod("d", now), terminatingPod("e", now)},
			[]string{"of pod c has ended", "There are 2 more pods."}},
	} {
		ns := namespace(ready(t, "c", "p"))
		ns.DeletionTimestamp = &metav1.Time{Time: now.Add(-time.Hour)}
		ns.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
		if test.change != nil {
			test.change(ns)
		}
		objects := []any{ns}
		for _, pod := range test.pods {
			pod.Namespace = ns.Name
			objects = append(objects, pod)
		}
		got := snapshotOf(objects...).whyRemaining("team", "c", ns.Name)
		for _, want := range append(test.want, fmt.Sprintf("Its namespace %s still exists: ", ns.Name)) {
			if !strings.Contains(got, want) || strings.Contains(got, "..") {
				t.Errorf("%s: got %s\nwant %s", name, got, want)
			}
		}
	}
}

// terminatingPod returns a pod whose grace period ends at a time.
func terminatingPod(name string, end time.Time, finalizers ...string) *corev1.Pod {
	p := running(name)
	p.DeletionTimestamp, p.Finalizers = &metav1.Time{Time: end}, finalizers
	return p
}
