// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package resources_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

func TestObjects_copiesWhatTheClassNames(t *testing.T) {
	if space := spaceWith(t, environment, unchanged); space.Copies != nil || space.ServiceAccount.ImagePullSecrets != nil || space.DefaultServiceAccount.ImagePullSecrets != nil {
		t.Errorf("by default: %+v", space)
	}
	space := spaceWith(t, environment, func(s *config.SpaceConfig) {
		s.CopyFrom = &spaceapi.CopyFrom{
			Namespace: "templates", Secrets: []spaceapi.CopySource{{Name: "token"}, {Name: "pull"}}, ConfigMaps: []spaceapi.CopySource{{Name: "config"}},
			ImagePullSecrets: []spaceapi.CopySource{{Name: "pull"}, {Name: "more"}},
		}
	})
	var names []string
	for _, c := range space.Copies {
		if c.From != "templates" || c.Namespace != space.Namespace.Name {
			t.Errorf("got a copy of %s from %s to %s", c.Name, c.From, c.Namespace)
		}
		kind := "configmap "
		if c.Secret {
			kind = "secret "
		}
		names = append(names, kind+c.Name)
	}
	if want := []string{"secret more", "secret pull", "secret token", "configmap config"}; !slices.Equal(names, want) {
		t.Errorf("got copies %q, want %q", names, want)
	}
	pull := []corev1.LocalObjectReference{{Name: "more"}, {Name: "pull"}}
	for _, account := range []*corev1.ServiceAccount{space.ServiceAccount, space.DefaultServiceAccount} {
		if !slices.Equal(account.ImagePullSecrets, pull) {
			t.Errorf("ServiceAccount %s has imagePullSecrets %v", account.Name, account.ImagePullSecrets)
		}
	}
	meta := metav1.ObjectMeta{
		Name: "original", Namespace: "templates", UID: "uid", ResourceVersion: "1", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"a": "b"},
		OwnerReferences: []metav1.OwnerReference{{Name: "owner"}}, Finalizers: []string{"x/y"},
	}
	data := map[string][]byte{"k": []byte("v")}
	secret := space.Copies[0].SecretOf(&corev1.Secret{ObjectMeta: meta, Type: "example.com/x", Data: data})
	if want := (&corev1.Secret{ObjectMeta: space.Copies[0].ObjectMeta, Type: "example.com/x", Data: data}); !equality.Semantic.DeepEqual(secret, want) {
		t.Errorf("got Secret %+v", secret)
	}
	configMap := space.Copies[3].ConfigMapOf(&corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"k": "v"}, BinaryData: data})
	if want := (&corev1.ConfigMap{ObjectMeta: space.Copies[3].ObjectMeta, Data: map[string]string{"k": "v"}, BinaryData: data}); !equality.Semantic.DeepEqual(configMap, want) {
		t.Errorf("got ConfigMap %+v", configMap)
	}
}
