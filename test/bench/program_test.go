// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"testing"
	"time"
)

func TestMetricsAreSummedByNameAndLabel(t *testing.T) {
	s := parse(`# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{code="200",path="a b"} 3
requests_total{code="500",path="c"} 4e0
requests_total_more 8
goroutines 12
`)
	for _, c := range []struct {
		name, label string
		want        float64
	}{
		{"requests_total", "", 7},
		{"requests_total", `code="200"`, 3},
		{"goroutines", "", 12},
		{"others", "", 0},
	} {
		if got := s.sum(c.name, c.label); got != c.want {
			t.Errorf("%s with %q: got %v, want %v", c.name, c.label, got, c.want)
		}
	}
}

func TestCPUTimeIsThatOfProcessAndKernel(t *testing.T) {
	got, err := cpuTime("7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 12 3 0 0 20 0 9 0 100")
	if err != nil || got != 150*time.Millisecond {
		t.Errorf("got %v and error %v, want 150ms", got, err)
	}
	if _, err := cpuTime("7 (a) S"); err == nil {
		t.Error("got no error of statistics that are cut off")
	}
}

func TestLiveMemoryIsThatOfTheHeapProfile(t *testing.T) {
	got, err := heapOf("heap profile: 1: 2\n# runtime.MemStats\n# Alloc = 5\n# HeapAlloc = 3145728\n")
	if err != nil || got != 3 {
		t.Errorf("got %v and error %v, want 3", got, err)
	}
	if _, err := heapOf("heap profile"); err == nil {
		t.Error("got no error of a profile without statistics")
	}
}

func TestPrefixesOfRoundsAreNotMistakenForEachOther(t *testing.T) {
	if !hasPrefix("t1-0-5", "t1-0") || hasPrefix("t1-05", "t1-0") || hasPrefix("t1-0", "t1-0") {
		t.Error("a claim is taken for another round's")
	}
}
