// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestStuckTerminating_namesPodsAndFinalizersOfTheNamespace has causes without a condition of Kubernetes.
func TestStuckTerminating_namesPodsAndFinalizersOfTheNamespace(t *testing.T) {
	const driver = "stuck.example.com"
	i := install(t, driver, "--stuck-terminating-after=2s")
	i.start(t)
	newNode(t, env, "stuck-node", nil)
	stuck := func(ns, space, words string) {
		t.Helper()
		deallocate(t, env, ns, "claim")
		awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonStuckTerminating, words)
		awaitEvent(t, metav1.NamespaceDefault, "Namespace", space, spaceapi.ReasonStuckTerminating, words)
	}

	t.Run("finalizers in its metadata", func(t *testing.T) {
		ns := env.Namespace(t)
		space := provision(t, driver, ns, "claim")
		namespaces := env.Client.CoreV1().RESTClient()
		framework.SetFinalizers(t, namespaces, "namespaces", "", space, "example.com/hold")
		stuck(ns, space, "the metadata of the Namespace has the finalizers example.com/hold")
		framework.SetFinalizers(t, namespaces, "namespaces", "", space)
		env.AwaitNamespaceDeleted(t, space)
	})
	t.Run("a pod in its grace period", func(t *testing.T) {
		ns := env.Namespace(t)
		space := provision(t, driver, ns, "claim")
		pod := framework.NewPod("slow")
		pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](300)
		bind(t, createPod(t, space, pod), "stuck-node")
		stuck(ns, space, "whose termination grace periods can last until")
		if err := env.ForceDelete(t.Context(), space, "slow"); err != nil {
			t.Fatal(err)
		}
		// Kubernetes retries the deletion after its own estimate, or after a change.
		env.Kubectl(t, "annotate", "namespace", space, "example.com/retry=now")
		framework.AwaitDeleted[*corev1.Namespace](t, framework.Namespace(env.Client, space))
	})
}
