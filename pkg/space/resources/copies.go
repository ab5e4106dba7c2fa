// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// Copy is a copy of a Secret or ConfigMap in a space.
type Copy struct {
	// ObjectMeta is the metadata of the copy.
	metav1.ObjectMeta
	// From is the namespace of the original, which has the same name.
	From string
	// Secret is set for a copy of a Secret. Otherwise, it is a copy of a ConfigMap.
	Secret bool
}

// SecretOf returns the copy of a Secret, without the labels, annotations and owners of the
// original.
func (c Copy) SecretOf(original *corev1.Secret) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: c.ObjectMeta, Type: original.Type, Data: original.Data}
}

// ConfigMapOf returns the copy of a ConfigMap.
func (c Copy) ConfigMapOf(original *corev1.ConfigMap) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: c.ObjectMeta, Data: original.Data, BinaryData: original.BinaryData}
}

func copies(from spaceapi.CopyFrom, namespace string, labels map[string]string) []Copy {
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: maps.Clone(labels)}
	}
	var out []Copy
	for _, name := range unique(from.Secrets, from.ImagePullSecrets) {
		out = append(out, Copy{ObjectMeta: meta(name), From: from.Namespace, Secret: true})
	}
	for _, name := range unique(from.ConfigMaps) {
		out = append(out, Copy{ObjectMeta: meta(name), From: from.Namespace})
	}
	return out
}

func pullSecrets(from spaceapi.CopyFrom) []corev1.LocalObjectReference {
	var out []corev1.LocalObjectReference
	for _, name := range unique(from.ImagePullSecrets) {
		out = append(out, corev1.LocalObjectReference{Name: name})
	}
	return out
}

// unique returns the sorted names of objects, without duplicates.
func unique(lists ...[]spaceapi.CopySource) []string {
	var names []string
	for _, source := range slices.Concat(lists...) {
		names = append(names, source.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
