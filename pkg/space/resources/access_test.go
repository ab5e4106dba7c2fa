// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package resources_test

import (
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

func TestAccessBindings_dependOnTheTime(t *testing.T) {
	recorded := config.Recorded{}
	for _, when := range []spaceapi.AccessTime{spaceapi.AccessReady, spaceapi.AccessRetained, spaceapi.AccessAlways} {
		recorded.Access = append(recorded.Access, spaceapi.Access{Subjects: []rbacv1.Subject{{Kind: "Group", Name: string(when)}}, ClusterRole: "view", When: when})
	}
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "ns", Name: name} }
	for at, want := range map[spaceapi.AccessTime][]string{
		spaceapi.AccessReady:    {"space-access-1 view Ready", "space-access-3 view Always"},
		spaceapi.AccessRetained: {"space-access-2 view Retained", "space-access-3 view Always"},
	} {
		var got []string
		for _, binding := range resources.AccessBindings(meta, recorded, at) {
			got = append(got, binding.Name+" "+binding.RoleRef.Name+" "+binding.Subjects[0].Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", at, got, want)
		}
	}
}
