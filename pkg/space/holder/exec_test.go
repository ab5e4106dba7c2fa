// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"crypto/rand"
	"io"
	"testing"
)

func TestLimitedBuffer_keepsNoMoreThanAToken(t *testing.T) {
	for length, want := range map[int64]bool{maxTokenText: false, maxTokenText + 1: true, 1 << 20: true} {
		exceeded := false
		b := &limitedBuffer{exceeded: func() { exceeded = true }}
		// As client-go does with what a container prints.
		if n, err := io.Copy(b, io.LimitReader(rand.Reader, length)); n != length || err != nil || exceeded != want || b.text.Len() > maxTokenText {
			t.Errorf("of %d bytes, %d were read and %d kept, error %v, exceeded: %t, want %t", length, n, b.text.Len(), err, exceeded, want)
		}
	}
}
