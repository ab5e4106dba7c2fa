// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command space-holder runs in a pod that keeps a space. It waits until it is terminated. As "space-holder
// token FILE", it prints the file with the token of the space, because its image has no other program that
// prints a file. It uses no library, so that it needs little memory.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	switch {
	case len(args) == 0:
		terminated := make(chan os.Signal, 1)
		signal.Notify(terminated, syscall.SIGTERM, syscall.SIGINT)
		<-terminated
		return 0
	case len(args) == 2 && args[0] == "token":
		token, err := os.ReadFile(args[1]) //nolint:gosec // those who run it can read all files of the container
		if err == nil {
			_, err = stdout.Write(token)
		}
		if err != nil {
			fmt.Fprintf(stderr, "space-holder: %v\n", err)
			return 1
		}
		return 0
	default:
		fmt.Fprintf(stderr, "space-holder: takes no arguments, or token FILE, but got %q\n", args)
		return 2
	}
}
