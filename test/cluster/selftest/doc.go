// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package selftest holds the test that the cluster itself works: it has its
// own package because it needs root and takes minutes.
package selftest
