// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command space-controller provisions and deprovisions the namespaces of spaces.
package main

import (
	"os"
	"runtime/debug"

	"github.com/space-dra/space-dra-driver/pkg/space/command"
	"github.com/space-dra/space-dra-driver/pkg/space/controller"
)

// version is set by the linker.
var version = "dev"

// gcPercent is the value of GOGC if the environment does not set it. The caches are large and
// change slowly, so that a lower peak of memory costs little CPU.
const gcPercent = 25

func main() {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(command.Main("space-controller", version, &controller.Options{Version: version}, os.Args[1:], os.Stderr))
}
