// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package selftest makes a release of the driver.
package selftest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/space-dra/space-dra-driver/tools/release/bundle"
	"github.com/space-dra/space-dra-driver/tools/release/releasetest"
)

func TestTheDriverBuiltInTwoPlacesIsTheSameRelease(t *testing.T) {
	here, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	for _, part := range []string{"cmd", "pkg"} {
		if err := os.CopyFS(filepath.Join(elsewhere, part), os.DirFS(filepath.Join(here, part))); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(here, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(elsewhere, file), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var outs []string
	for _, root := range []string{here, elsewhere} {
		o := bundle.Options{
			Root: root, Out: filepath.Join(t.TempDir(), "release"), Version: "v0.1.0", Revision: strings.Repeat("ab", 20),
			Created: time.Unix(1_700_000_000, 0), Architectures: []string{"amd64", "arm64"}, BuilderID: "https://example.com/builder", Log: t.Logf,
		}
		digest, err := bundle.Write(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		releasetest.CheckRelease(t, o, digest)
		outs = append(outs, o.Out)
	}
	releasetest.SameFiles(t, outs[0], outs[1])
}
