// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command printenv prints all environment variables, or those named. It is part of the toolbox image,
// because not every busybox has it.
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
