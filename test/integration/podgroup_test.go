// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// The scheduler reserves the claim of a PodGroup for the group, and not for its pods.
func TestPodGroup_getsNoSpace(t *testing.T) {
	t.Parallel()
	env.Requires(t, "1.37", "a PodGroup with claims")
	e := schedulingCluster(t, "space-podgroup", map[string]bool{"GenericWorkload": true, "DRAWorkloadResourceClaims": true},
		"--runtime-config=scheduling.k8s.io/v1beta1=true")
	startController(t, e)

	ns := e.Namespace(t)
	e.CreateTemplate(t, ns, "my-space")
	group := &schedulingv1beta1.PodGroup{ObjectMeta: metav1.ObjectMeta{Name: "group"}, Spec: schedulingv1beta1.PodGroupSpec{
		SchedulingPolicy: schedulingv1beta1.PodGroupSchedulingPolicy{Basic: &schedulingv1beta1.BasicSchedulingPolicy{}},
		ResourceClaims:   []schedulingv1beta1.PodGroupResourceClaim{{Name: "my-space", ResourceClaimTemplateName: ptr.To("my-space")}},
	}}
	groups := e.Client.SchedulingV1beta1().PodGroups(ns)
	if _, err := groups.Create(t.Context(), group, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := framework.NewPodFromTemplate("member", "my-space")
	pod.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: ptr.To("group")}
	pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} // there is no kubelet
	e.StartPod(t, ns, pod)

	const words = "the claim is reserved for podgroups.scheduling.k8s.io group"
	claim := framework.AwaitAny(t, e.Client.ResourceV1().RESTClient(), "resourceclaims", ns, framework.NotReadyBecause(spaceapi.ReasonUnsupportedConsumer, words))
	framework.AwaitAny(t, e.Client.CoreV1().RESTClient(), "events", ns, framework.EventAbout("ResourceClaim", claim.Name, spaceapi.ReasonUnsupportedConsumer, words))
	framework.Await(t, framework.Pod(e.Client, ns, pod.Name), framework.That("bound", func(p *corev1.Pod) bool { return p.Spec.NodeName == "node" }))
	e.CheckNoSpaceOf(t, claim.UID)

	if err := e.ForceDelete(t.Context(), ns, pod.Name); err != nil {
		t.Fatal(err)
	}
	if err := groups.Delete(t.Context(), group.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	framework.AwaitDeleted[*resourceapi.ResourceClaim](t, framework.Claim(e.Client, ns, claim.Name))
}

// schedulingCluster returns a control plane of its own with feature gates, a node and the driver's class.
func schedulingCluster(t *testing.T, name string, gates map[string]bool, apiServerFlags ...string) *framework.Env {
	t.Helper()
	e, err := framework.NewControlPlane(t.Context(), name, gates, apiServerFlags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Cluster.Delete(context.Background()); err != nil {
			t.Error(err)
		}
	})
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}, Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{"pods": resource.MustParse("10")}}}
	if _, err := e.Client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	class := &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: spaceapi.DefaultDriverName}}
	class.Spec.Selectors = []resourceapi.DeviceSelector{{CEL: &resourceapi.CELDeviceSelector{Expression: fmt.Sprintf("device.driver == %q", spaceapi.DefaultDriverName)}}}
	if _, err := e.Client.ResourceV1().DeviceClasses().Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return e
}
