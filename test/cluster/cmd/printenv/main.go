// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command printenv prints the environment, or the variables that are named. It
// is for the toolbox image: not every busybox has one.
package main

import (
	"fmt"
	"os"
)

func main() {
	names := os.Args[1:]
	if len(names) == 0 {
		for _, variable := range os.Environ() {
			fmt.Println(variable)
		}
		return
	}
	for _, name := range names {
		value, ok := os.LookupEnv(name)
		if !ok {
			os.Exit(1)
		}
		fmt.Println(value)
	}
}
