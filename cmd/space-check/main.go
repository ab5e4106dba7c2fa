// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command space-check uses the space of the pod that it runs in, for helm test, or checks that there
// are no spaces, for helm uninstall.
package main

import (
	"os"

	"github.com/space-dra/space-dra-driver/pkg/space/check"
	"github.com/space-dra/space-dra-driver/pkg/space/command"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(command.Main("space-check", version, &check.Options{Version: version}, os.Args[1:], os.Stderr))
}
