// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import "testing"

func TestHasPrefix_tellsRoundsApart(t *testing.T) {
	if !hasPrefix("t1-0-5", "t1-0") || hasPrefix("t1-05", "t1-0") || hasPrefix("t1-0", "t1-0") {
		t.Error("a claim is taken for another round's")
	}
}
