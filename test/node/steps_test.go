// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import "sync"

// steps records the file operations and API requests of the kubelet plugin, and can kill it at one.
type steps struct {
	mutex    sync.Mutex
	counting bool
	names    []string
	last     int
	killed   bool
}

// noLimit does not kill the kubelet plugin at any step.
const noLimit = 0

// count starts to record. The kubelet plugin is killed before step number last, counted from 1.
func (s *steps) count(last int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.counting, s.names, s.last, s.killed = true, nil, last, false
}

// stop stops recording. It returns the steps, and whether the kubelet plugin was killed.
func (s *steps) stop() (names []string, killed bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.counting = false
	return s.names, s.killed
}

// next records a step, and reports whether the kubelet plugin may take it.
func (s *steps) next(name string) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if !s.counting {
		return true
	}
	s.names = append(s.names, name)
	if s.last == noLimit || len(s.names) < s.last {
		return true
	}
	s.killed = true
	return false
}
