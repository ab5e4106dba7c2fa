// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// TestSpaceMetadata_allKeysAreLookedUp is about namespaces with very many labels or annotations.
// Policy space-metadata does not look at all of them.
func TestSpaceMetadata_allKeysAreLookedUp(t *testing.T) {
	policy := object[admissionv1.ValidatingAdmissionPolicy](t, render(t, nil), "ValidatingAdmissionPolicy/rel-space-dra-driver-space-metadata")
	keys := reflect.ValueOf(spaceapi.KeysFor(spaceapi.DefaultDriverName))
	for i := range keys.NumField() {
		if key := keys.Field(i).String(); !slices.ContainsFunc(policy.Spec.Validations, func(v admissionv1.Validation) bool {
			return strings.Contains(v.Expression, "'"+key+"'")
		}) {
			t.Errorf("%s is not looked up", key)
		}
	}
}
