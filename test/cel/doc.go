// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cel tries the admission policies on parameters without an API server, as
// API servers evaluate them. It is a module of its own, so that nothing else depends
// on their libraries.
package cel
