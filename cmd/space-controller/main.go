// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command space-controller makes and ends the namespaces of spaces.
package main

import (
	"os"
	"runtime/debug"

	"github.com/space-dra/space-dra-driver/pkg/space/command"
	"github.com/space-dra/space-dra-driver/pkg/space/controller"
)

// version is set by the linker.
var version = "dev"

// garbage is how much of it may come together before it is collected, in percent of
// what is in use. Nearly all that the controller has in memory are caches without
// pointers, so that collecting costs little, and half as much garbage is a smaller peak.
const garbage = 50

func main() {
	// Who runs it may know better.
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(garbage)
	}
	os.Exit(command.Main("space-controller", version, &controller.Options{Version: version}, os.Args[1:], os.Stderr))
}
