// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the public vocabulary of the Space DRA driver: the names
// that users, administrators and other programs meet in API objects.
package v1alpha1
