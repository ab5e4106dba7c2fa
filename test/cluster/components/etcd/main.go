// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command etcd is etcd's own server: its main package is in a module that
// cannot be required (it has replace directives), the library behind it can.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
