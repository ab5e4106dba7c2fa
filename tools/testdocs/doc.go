// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package testdocs checks that the pages which name tests name tests that exist.
package testdocs
