// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import "sync"

// steps are the file operations and API calls of a plugin, in order. One of them
// can be made the last.
type steps struct {
	mutex    sync.Mutex
	counting bool
	names    []string
	last     int
	struck   bool
}

// noLast lets a plugin survive all its steps.
const noLast = 0

// count begins to count. The plugin is to be killed instead of the step with the
// number last, the first being 1.
func (s *steps) count(last int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.counting, s.names, s.last, s.struck = true, nil, last, false
}

// stop ends the counting and returns what the steps were, and whether the plugin was killed
// instead of the last.
func (s *steps) stop() (names []string, killed bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.counting = false
	return s.names, s.struck
}

// next reports whether the plugin may take a step.
func (s *steps) next(name string) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if !s.counting {
		return true
	}
	s.names = append(s.names, name)
	if s.last == noLast || len(s.names) < s.last {
		return true
	}
	s.struck = true
	return false
}
