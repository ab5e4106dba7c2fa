// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"testing"
)

func TestHeapOf_readsTheProfile(t *testing.T) {
	got, err := heapOf("heap profile: 1: 2\n# runtime.MemStats\n# Alloc = 5\n# HeapAlloc = 3145728\n")
	if err != nil || got != 3 {
		t.Errorf("got %v and error %v, want 3", got, err)
	}
	if _, err := heapOf("heap profile"); err == nil {
		t.Error("got no error of a profile without statistics")
	}
}
