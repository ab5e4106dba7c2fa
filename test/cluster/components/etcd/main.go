// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command etcd is the server of etcd. Its main package is in a module that cannot be required, because it
// has replace directives. The package behind it can.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
