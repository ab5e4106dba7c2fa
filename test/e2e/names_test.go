// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// withPodClaimName changes the name of the first claim in a pod.
func withPodClaimName(name string, pod *corev1.Pod) *corev1.Pod {
	pod.Spec.ResourceClaims[0].Name = name
	pod.Spec.Containers[0].Resources.Claims[0].Name = name
	return pod
}

func TestClaimNames_areRejectedIfContainersNeedThem(t *testing.T) {
	t.Parallel()
	for name, words := range map[string][]string{
		"passwd":             {"/etc/passwd", "set mountPath"},
		"hosts":              {"/etc/hosts", "set mountPath"},
		"ssl":                {"/etc/ssl", "set mountPath"},
		"1abc":               {"1ABC_", "set envPrefix"},
		"kubernetes-service": {"KUBERNETES_SERVICE_", "set envPrefix"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			env.CreateTemplate(t, ns, "template")
			env.StartPod(t, ns, withPodClaimName(name, framework.NewPodFromTemplate("pod", "template")))
			for _, words := range words {
				framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.EventAbout("Pod", "pod", spaceapi.ReasonInvalidParameters, words))
			}
			claim := framework.Await(t, framework.Claim(env.Client, ns, env.GeneratedClaim(t, ns, "pod")), allocated())
			env.CheckNoSpaceOf(t, claim.UID)
		})
	}
}

func TestClaimNames_areAcceptedWithMountPathAndEnvPrefix(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	s := env.Use(t, ns, withClaimConfig(framework.NewClaim("passwd"), `,"mountPath":"/creds"`), framework.NewPod("pod", "passwd"))
	s.CheckUsable(t, ns, "pod")
	env.Exec(t, ns, "pod", "kubectl", "--kubeconfig=/creds/kubeconfig", "get", "configmap", "from-pod")
	env.Exec(t, ns, "pod", "grep", "root", "/etc/passwd")

	env.CreateClaim(t, ns, withClaimConfig(framework.NewClaim("1abc"), `,"envPrefix":"ABC"`))
	env.CreatePod(t, ns, framework.NewPod("pod2", "1abc"))
	env.SpaceOf(t, ns, "pod2", "ABC").CheckUsable(t, ns, "pod2")
	env.Exec(t, ns, "pod2", "cat", "/etc/1abc/namespace")
}

func TestDisableEtcMount_leavesTheImagesFilesVisible(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	createClass(t, classOf("without-etc", spaceapi.DefaultDriverName, `,"disableEtcMount":true`))
	env.CreateClaim(t, ns, claimOf("group", "without-etc"))
	env.CreatePod(t, ns, framework.NewPod("pod", "group"))
	env.SpaceOf(t, ns, "pod", "group").CheckUsable(t, ns, "pod")
	env.Exec(t, ns, "pod", "grep", "nogroup", "/etc/group")
}

func TestClaimCollisions_inAContainerAreRejected(t *testing.T) {
	t.Parallel()
	events := func(ns, words string) {
		framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.EventAbout("Pod", "pod", spaceapi.ReasonInvalidParameters, words))
	}
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("a", "b", "c"))
	env.CreateClaim(t, ns, framework.NewClaim("a-b"))
	env.StartPod(t, ns, framework.NewPod("pod", "a", "a-b"))
	events(ns, "set environment variable A_B_")
	env.DeletePod(t, ns, "pod")

	// One of them has another prefix.
	env.CreateClaim(t, ns, withClaimConfig(framework.NewClaim("apart"), `,"envPrefix":"OTHER"`))
	env.CreatePod(t, ns, framework.NewPod("other-prefix", "a", "apart"))
	if a, other := env.SpaceOf(t, ns, "other-prefix", "A_B"), env.SpaceOf(t, ns, "other-prefix", "OTHER"); a.Namespace == other.Namespace {
		t.Errorf("both have namespace %s", a.Namespace)
	}

	// Each is for another container.
	pod := framework.NewPod("containers", "a", "a-b")
	second := *pod.Spec.Containers[0].DeepCopy()
	second.Name = "second"
	pod.Spec.Containers[0].Resources.Claims, second.Resources.Claims = second.Resources.Claims[:1], second.Resources.Claims[1:]
	pod.Spec.Containers = append(pod.Spec.Containers, second)
	env.CreatePod(t, ns, pod)
	env.SpaceOf(t, ns, "containers/ctr", "A_B").CheckUsable(t, ns, "containers/ctr")
	env.SpaceOf(t, ns, "containers/second", "A_B").CheckUsable(t, ns, "containers/second")
}

func TestClaimCollisions_inEtcAreRejected(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateTemplate(t, ns, "template")
	env.Use(t, ns, framework.NewClaim("a"), framework.NewPod("holder", "a"))
	// The pod calls the claim of the template as another claim is called.
	pod := withPodClaimName("a", framework.NewPodFromTemplate("pod", "template"))
	pod.Spec.ResourceClaims = append(pod.Spec.ResourceClaims, corev1.PodResourceClaim{Name: "shared", ResourceClaimName: ptr.To("a")})
	pod.Spec.Containers[0].Resources.Claims = append(pod.Spec.Containers[0].Resources.Claims, corev1.ResourceClaim{Name: "shared"})
	env.StartPod(t, ns, pod)
	events := env.Client.CoreV1().RESTClient()
	framework.AwaitAny(t, events, "events", ns, framework.EventAbout("Pod", "pod", spaceapi.ReasonInvalidParameters, "give one of them another name in the pod"))
	// The one that is in use stays.
	framework.Await(t, framework.Claim(env.Client, ns, "a"), framework.SpacesReady(1))
	env.Exec(t, ns, "holder", "kubectl", "--kubeconfig=/etc/a/kubeconfig", "get", "configmaps")
}
