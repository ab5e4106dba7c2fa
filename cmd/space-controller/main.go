// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command space-controller makes and ends the namespaces of spaces.
package main

import (
	"os"

	"github.com/space-dra/space-dra-driver/pkg/space/command"
	"github.com/space-dra/space-dra-driver/pkg/space/controller"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(command.Main("space-controller", version, &controller.Options{Version: version}, os.Args[1:], os.Stderr))
}
