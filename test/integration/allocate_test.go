// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import "github.com/space-dra/space-dra-driver/test/framework"

// The scheduler's part, by the names that the tests use.
var (
	modify          = framework.Modify
	allocate        = framework.Allocate
	allocatedLater  = framework.AllocatedLater
	deallocate      = framework.Deallocate
	standing        = framework.Standing
	spacesOf        = framework.SpacesOf
	startController = framework.StartController
)
