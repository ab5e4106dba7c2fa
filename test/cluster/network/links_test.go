// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package network

import "testing"

// Linux limits interface names to 15 bytes.
func TestMachineInterface_isUniqueAndShort(t *testing.T) {
	a, b := MachineInterface("space-dra"), MachineInterface("a-very-long-name-of-a-cluster")
	if len(a) > 15 || len(b) > 15 || a == b {
		t.Errorf("got %q and %q, want two names of at most 15 bytes", a, b)
	}
}
