// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-space is kubectl space, a kubectl plugin.
package main

import (
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/space-dra/space-dra-driver/pkg/space/kubectl"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(kubectl.Main(version, os.Args, genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}))
}
