// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bundle_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/space-dra/space-dra-driver/tools/release/bundle"
	"github.com/space-dra/space-dra-driver/tools/release/driver"
	"github.com/space-dra/space-dra-driver/tools/release/releasetest"
)

// source writes programs that are smaller than the driver's into a new folder.
func source(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{"go.mod": "module " + strings.TrimPrefix(driver.Source, "https://") + "\n\ngo 1.26.0\n"}
	for _, program := range driver.Programs() {
		files["cmd/"+program+"/main.go"] = "package main\n\nvar version = \"dev\"\n\nfunc main() { println(version) }\n"
	}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func options(t *testing.T) bundle.Options {
	return bundle.Options{
		Root: source(t), Out: filepath.Join(t.TempDir(), "release"), Version: "v1.2.3", Revision: strings.Repeat("ab", 20),
		Created: time.Unix(1_700_000_000, 0), Architectures: []string{"amd64", "arm64"}, BuilderID: "https://example.com/builder", Log: t.Logf,
	}
}

func TestTwoReleasesOfTheSameSourceAreTheSame(t *testing.T) {
	first, second := options(t), options(t)
	for _, o := range []bundle.Options{first, second} {
		if _, err := bundle.Write(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	releasetest.SameFiles(t, first.Out, second.Out)
}

func TestAReleaseHasWhatItsImagesAreMadeOfAndWhereTheyComeFrom(t *testing.T) {
	o := options(t)
	digest, err := bundle.Write(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	releasetest.CheckRelease(t, o, digest)
}

func TestAReleaseReplacesAnEarlierOneAndNothingElse(t *testing.T) {
	o := options(t)
	o.Architectures = []string{"amd64"}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(o.Out, "precious")
	if err := os.WriteFile(precious, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Write(t.Context(), o); err == nil {
		t.Error("a folder with files of others was taken for a release")
	}
	if _, err := os.Stat(precious); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(precious); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"v1.2.3", "v1.2.4"} {
		o.Version = version
		if _, err := bundle.Write(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if old, err := filepath.Glob(filepath.Join(o.Out, "*v1.2.3*")); err != nil || len(old) > 0 {
		t.Errorf("there is still %v of the earlier release (%v)", old, err)
	}
}
