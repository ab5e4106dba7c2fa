// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command space-kubeletplugin is the kubelet plugin, which prepares the claims of pods on its node.
package main

import (
	"os"

	"github.com/space-dra/space-dra-driver/pkg/space/command"
	"github.com/space-dra/space-dra-driver/pkg/space/plugin"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(command.Main("space-kubeletplugin", version, &plugin.Options{Version: version}, os.Args[1:], os.Stderr))
}
