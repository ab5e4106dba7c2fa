// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IsNotFound reports whether an error means that an object does not exist. An API server also
// responds with 404 if it does not serve the kind, for example during an upgrade, and so does a
// load balancer without a backend. In these cases, the object may exist.
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
