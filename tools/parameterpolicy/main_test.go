// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"testing"
)

func TestThePoliciesAreUpToDate(t *testing.T) {
	got, err := os.ReadFile("../../" + templates)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, generate()) {
		t.Error(templates + " is not what the rules say: run make generate")
	}
}
