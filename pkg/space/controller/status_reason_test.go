// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

func TestConditionReason_ofErrorsOfTheAPIServer(t *testing.T) {
	invalid := apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Namespace").GroupKind(), "ns",
		field.ErrorList{field.Invalid(field.NewPath("metadata", "labels"), "x", "not a label")})
	// As an admission policy denies it, see k8s.io/apiserver, pkg/admission/plugin/policy/validating.
	denied := apierrors.NewForbidden(corev1.Resource("namespaces"), "ns", errors.New("denied request"))
	denied.ErrStatus.Reason, denied.ErrStatus.Details.Causes = metav1.StatusReasonInvalid, []metav1.StatusCause{{Message: "denied request"}}
	for want, err := range map[string]error{
		spaceapi.ReasonInvalidParameters:  fmt.Errorf("create namespace ns: %w", errors.Join(invalid)),
		spaceapi.ReasonProvisioningFailed: fmt.Errorf("create namespace ns: %w", errors.Join(denied)),
		spaceapi.ReasonExpired:            &reasonError{spaceapi.ReasonExpired, invalid},
	} {
		if got := conditionReason(err); got != want {
			t.Errorf("got %s for %v, want %s", got, err, want)
		}
	}
}
