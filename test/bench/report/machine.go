// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Machine is where a benchmark ran.
type Machine struct {
	Cores int `json:"cores"`
	// Load is /proc/loadavg at the beginning: what else the machine had to do.
	Load string `json:"load,omitempty"`
	Go   string `json:"go"`
}

// ThisMachine describes the machine as it is now.
func ThisMachine() Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version()}
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		if fields := strings.Fields(string(data)); len(fields) >= 3 {
			m.Load = strings.Join(fields[:3], " ")
		}
	}
	return m
}

// String describes it to people.
func (m Machine) String() string {
	return fmt.Sprintf("%d cores, load before: %s, %s", m.Cores, m.Load, m.Go)
}
