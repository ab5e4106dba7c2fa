// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lifecycledocs checks that docs/lifecycle.md names tests that exist.
package lifecycledocs
