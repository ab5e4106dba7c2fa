// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/space-dra/space-dra-driver/tools/dashboard/board"
)

func TestTheDashboardIsUpToDate(t *testing.T) {
	want, err := board.JSON()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../" + file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error(file + " is not what tools/dashboard makes: run make generate")
	}
}
