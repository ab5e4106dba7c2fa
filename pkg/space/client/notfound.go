// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IsNotFound returns whether the API server knows that an object does not exist. An API server
// also answers 404 when it does not serve the kind at all, for example during an upgrade, and so
// does a load balancer that has no API server: that says nothing about the object.
func IsNotFound(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// IgnoreNotFound returns nil if IsNotFound is true for the error, and otherwise the error.
func IgnoreNotFound(err error) error {
	if IsNotFound(err) {
		return nil
	}
	return err
}
