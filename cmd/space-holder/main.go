// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command space-holder runs in a pod that keeps a space. It waits until it is terminated. With the
// argument token, it prints the current token of the space, because its image has no other program
// that prints a file. It uses no library, so that it needs little memory.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// tokens matches the token of the pod's claim, which pkg/space/containeredits puts there.
const tokens = "/var/run/claim-artifacts/*/token"

func main() { os.Exit(run(os.Args[1:], tokens, os.Stdout, os.Stderr)) }

func run(args []string, tokens string, stdout, stderr io.Writer) int {
	switch {
	case len(args) == 0:
		terminated := make(chan os.Signal, 1)
		signal.Notify(terminated, syscall.SIGTERM, syscall.SIGINT)
		<-terminated
		return 0
	case len(args) == 1 && args[0] == "token":
		files, _ := filepath.Glob(tokens) // the pattern is valid
		if len(files) != 1 {
			fmt.Fprintf(stderr, "space-holder: %d files match %s, but the pod has one space\n", len(files), tokens)
			return 1
		}
		token, err := os.ReadFile(files[0])
		if err == nil {
			_, err = stdout.Write(token)
		}
		if err != nil {
			fmt.Fprintf(stderr, "space-holder: %v\n", err)
			return 1
		}
		return 0
	default:
		fmt.Fprintf(stderr, "space-holder: takes no argument, or token, but got %q\n", args)
		return 2
	}
}
