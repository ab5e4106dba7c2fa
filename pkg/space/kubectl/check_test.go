// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"
)

func TestCheck_findsWhatDoesNotRun(t *testing.T) {
	release := func(component string) map[string]string {
		return map[string]string{nameLabel: "space-dra-driver", instanceLabel: "space", componentLabel: component}
	}
	installed := class(driver, "")
	installed.Labels, installed.Annotations = release(""), map[string]string{releaseNamespace: "space-system"}
	installed.Labels[versionLabel] = "v1.2.3"
	component := func(name, namespace string, ready corev1.ConditionStatus) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: release(name)},
			Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
		}
	}
	controller, plugin := component("controller", "space-system", corev1.ConditionTrue), component("kubeletplugin", "space-system", corev1.ConditionTrue)
	for name, test := range map[string]struct {
		objects []runtime.Object
		denied  string
		failed  bool
		want    []string
	}{
		"all": {[]runtime.Object{installed, controller, plugin, slice("spaces", 0, 0)}, "", false, []string{
			"API yes", "DeviceClass yes " + driver + " exists, version v1.2.3", "Controller yes 1 of 1 pods are ready", "Kubelet plugin yes", "Pools yes 1 ResourceSlices",
		}},
		"no driver":                   {nil, "", true, []string{"DeviceClass no DeviceClass " + driver + " does not exist"}},
		"no plugin":                   {[]runtime.Object{installed, controller, slice("spaces", 0, 0)}, "", true, []string{"Kubelet plugin no 0 of 0 pods"}},
		"a controller that fails":     {[]runtime.Object{installed, component("controller", "space-system", corev1.ConditionFalse), plugin}, "", true, []string{"Controller no 0 of 1 pods"}},
		"a pod of a tenant":           {[]runtime.Object{installed, component("controller", "tenant", corev1.ConditionTrue), plugin}, "", true, []string{"Controller no 0 of 0 pods"}},
		"no pool":                     {[]runtime.Object{installed, controller, plugin}, "", true, []string{"Pools no 0 ResourceSlices"}},
		"no permission for pods":      {[]runtime.Object{installed, slice("spaces", 0, 0)}, "pods", false, []string{"Controller <unknown> you do not have permission to list pods"}},
		"no permission for the class": {[]runtime.Object{slice("spaces", 0, 0)}, "deviceclasses", false, []string{"DeviceClass <unknown>", "Kubelet plugin <unknown>"}},
	} {
		client := fake.NewClientset(test.objects...)
		client.Resources = []*metav1.APIResourceList{{GroupVersion: resourceapi.SchemeGroupVersion.String()}}
		client.PrependReactor("*", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
			if resource := action.GetResource(); resource.Resource == test.denied {
				return true, nil, apierrors.NewForbidden(resource.GroupResource(), "", nil)
			}
			return false, nil, nil
		})
		got, err := (&reader{client: client, driver: driver, clock: clock.RealClock{}}).check(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		text := strings.Join(strings.Fields(got.String()), " ")
		for _, want := range test.want {
			if got.failed() != test.failed || !strings.Contains(text, want) {
				t.Errorf("%s: failed %t, and got\n%s\nwant %t and %q", name, got.failed(), got, test.failed, want)
			}
		}
	}
}
