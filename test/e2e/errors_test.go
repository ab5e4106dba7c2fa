// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestParametersThatCannotBeAreRefusedWhenTheyAreWritten(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	const mystery = `{"apiVersion": "example.com/v1", "kind": "Mystery", "colour": "red"}`
	words := func(kind string) string {
		return "parameters of driver space.resource.example.com must be a " + kind + " of space.resource.example.com/v1alpha1"
	}
	claim := framework.WithParameters(framework.NewClaim("test-claim"), mystery)
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	awaitDenied(t, words("SpaceClaimConfig"), func(ctx context.Context) error {
		_, err := env.Client.ResourceV1().ResourceClaims(ns).Create(ctx, claim, dry)
		return err
	})
	template := framework.NewTemplate("test-claim")
	template.Spec.Spec = claim.Spec
	awaitDenied(t, words("SpaceClaimConfig"), func(ctx context.Context) error {
		_, err := env.Client.ResourceV1().ResourceClaimTemplates(ns).Create(ctx, template, dry)
		return err
	})
	class := classOf("mystery", spaceapi.DefaultDriverName, "Mystery", "")
	awaitDenied(t, words("SpaceClassConfig"), func(ctx context.Context) error {
		_, err := env.Client.ResourceV1().DeviceClasses().Create(ctx, class, dry)
		return err
	})
}

// awaitDenied repeats a request, of which nothing may be stored, until a policy denies it:
// the API server takes the policies of a release into account a moment after they came.
func awaitDenied(t *testing.T, words string, ask framework.Request) {
	t.Helper()
	var last error
	if err := wait.PollUntilContextTimeout(t.Context(), pause, framework.Patience, true, func(ctx context.Context) (bool, error) {
		last = ask(ctx)
		return apierrors.IsInvalid(last) && strings.Contains(last.Error(), "denied request: "+words), nil
	}); err != nil {
		t.Errorf("got error %v, want it denied with the words %q", last, words)
	}
}

func TestParametersThatAreNotAllowedAreRefusedInTheSameWordsEverywhere(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, choosing(framework.NewClaim("test-claim"), `,"clusterRoles":["cluster-admin"]`))
	if _, err := env.Client.CoreV1().Pods(ns).Create(t.Context(), framework.NewPod("pod", "test-claim"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const words = `the ResourceClaim has parameters that its DeviceClass does not allow: clusterRoles[0]: Invalid value: "cluster-admin": the class allows none`

	framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.NotReadyBecause(spaceapi.ReasonInvalidParameters, words))
	events := env.Client.CoreV1().RESTClient()
	framework.AwaitAny(t, events, "events", ns, framework.About("ResourceClaim", "test-claim", spaceapi.ReasonInvalidParameters, words))
	framework.AwaitAny(t, events, "events", ns, framework.About("Pod", "pod", spaceapi.ReasonInvalidParameters, words))
	// The kubelet's own event, from the plugin's answer.
	framework.AwaitAny(t, events, "events", ns, framework.About("Pod", "pod", "FailedPrepareDynamicResources", words))

	allocated := framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.That("allocated", func(c *resourceapi.ResourceClaim) bool { return c.Status.Allocation != nil }))
	namespaces, err := env.Client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{LabelSelector: "space.resource.example.com/claim-uid=" + string(allocated.UID)})
	if err != nil || len(namespaces.Items) != 0 {
		t.Errorf("a refused claim has namespaces %v (error: %v)", namespaces.Items, err)
	}
	env.DeletePod(t, ns, "pod")
	framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.Deallocated())
}

func TestAPodWaitsForASpaceAndSaysForWhat(t *testing.T) {
	// Not parallel: without a controller, no other test's spaces are made.
	ns := env.Namespace(t)
	deployment := "deployment/space-dra-driver-controller"
	env.Kubectl(t, "scale", "-n", framework.DriverNamespace, deployment, "--replicas=0")
	env.Kubectl(t, "wait", "-n", framework.DriverNamespace, "--for=delete", "pod", "-l", "app.kubernetes.io/component=controller", "--timeout="+framework.Patience.String())
	restored := false
	restore := func() {
		if !restored {
			restored = true
			env.Kubectl(t, "scale", "-n", framework.DriverNamespace, deployment, "--replicas=2")
		}
	}
	defer restore()

	env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	if _, err := env.Client.CoreV1().Pods(ns).Create(t.Context(), framework.NewPod("pod", "test-claim"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("Pod", "pod", "FailedPrepareDynamicResources",
		" for ResourceClaim "+ns+"/test-claim to become ready: request space: no status reported by the controller of driver space.resource.example.com"))

	restore()
	if err := env.AwaitRollout(t.Context()); err != nil {
		t.Fatal(err)
	}
	framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.SpacesReady(1))
	framework.Await[*corev1.Pod](t, framework.Pod(env.Client, ns, "pod"), framework.PodReady())
	env.SpaceOf(t, ns, "pod", "TEST_CLAIM").Usable(t, ns, "pod")
}
