// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestOlderKubernetes_reportsMissingFeatures checks the messages in docs/compatibility.md.
func TestOlderKubernetes_reportsMissingFeatures(t *testing.T) {
	t.Parallel()
	if env.AtLeast("1.37") {
		t.Skip("no feature is missing")
	}
	ns := env.Namespace(t)
	rule := filepath.Join(framework.Root(), "demo/examples/device-taint/taint.yaml")
	if out, err := env.TryKubectl(t.Context(), "apply", "--filename="+rule); err == nil || !strings.Contains(err.Error()+out, `no matches for kind "DeviceTaintRule" in version "resource.k8s.io/v1"`) {
		t.Errorf("a DeviceTaintRule: got error %v and %s", err, out)
	}
	if env.AtLeast("1.36") {
		return
	}
	const extendedResource = "space.resource.example.com/missing-feature"
	class := classOf("missing-feature", spaceapi.DefaultDriverName, "")
	class.Spec.ExtendedResourceName = ptr.To[string](extendedResource)
	createClass(t, class)
	pod := framework.NewPod("pod")
	pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{extendedResource: resource.MustParse("1")}
	env.StartPod(t, ns, pod)
	framework.Await(t, framework.Pod(env.Client, ns, "pod"), framework.That("unschedulable", func(p *corev1.Pod) bool {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && strings.Contains(c.Message, "Insufficient "+extendedResource) {
				return true
			}
		}
		return false
	}))
	env.DeletePod(t, ns, "pod")
}
