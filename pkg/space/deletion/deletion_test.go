// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package deletion

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

func TestCauses_nameContentPodsAndFinalizers(t *testing.T) {
	keys, now := spaceapi.KeysFor(spaceapi.DefaultDriverName), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	conditions := []corev1.NamespaceCondition{
		{Status: corev1.ConditionFalse, Message: "All content successfully deleted"},
		{Status: corev1.ConditionTrue, Message: "Some content has finalizers remaining: example.com/hold in 1 resource instances."},
	}
	const content, pods, own = "example.com/hold in 1 resource instances", "Kubernetes first deletes its pods", "finalizers example.com/a, example.com/b"
	for name, test := range map[string]struct {
		change func(*corev1.Namespace)
		want   []string
	}{
		"about to be removed": {func(ns *corev1.Namespace) { ns.Spec.Finalizers = nil }, nil},
		"content":             {func(ns *corev1.Namespace) { ns.Status.Conditions = conditions }, []string{content}},
		"pods":                {func(*corev1.Namespace) {}, []string{pods + ", which have finalizers"}},
		"pods in their grace period": {func(ns *corev1.Namespace) {
			ns.Annotations = map[string]string{keys.MaxTerminationGracePeriod: "600"}
		}, []string{pods + ", whose termination grace periods can last until 2026-03-01T12:05:00Z"}},
		"pods after their grace period": {func(ns *corev1.Namespace) {
			ns.Annotations = map[string]string{keys.MaxTerminationGracePeriod: "60"}
		}, []string{pods + ", which have finalizers"}},
		"its own finalizers": {func(ns *corev1.Namespace) {
			ns.Spec.Finalizers, ns.Finalizers = nil, []string{"example.com/a", "example.com/b"}
		}, []string{own}},
		"content, and its own finalizers": {func(ns *corev1.Namespace) {
			ns.Status.Conditions, ns.Finalizers = conditions, []string{"example.com/a", "example.com/b"}
		}, []string{content, own}},
	} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{Time: now.Add(-5 * time.Minute)}}}
		ns.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
		test.change(ns)
		got := Causes(ns, keys, now)
		if len(got) != len(test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
			continue
		}
		for i, words := range test.want {
			if !strings.Contains(got[i], words) || strings.HasSuffix(got[i], ".") {
				t.Errorf("%s: got %q, want %q", name, got[i], words)
			}
		}
	}
}
