// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package clients tests programs and libraries that others have written, in spaces. Its pods use Python, Node.js
// and the libraries of the machine.
package clients

import (
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// env is the cluster of all tests.
var env *framework.Env

func TestMain(m *testing.M) { framework.Suite{Cluster: "space-clients"}.Run(m, &env) }
