// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// TestWriteArchive_containsTheFiles also checks that times and owners do not depend on the machine.
func TestWriteArchive_containsTheFiles(t *testing.T) {
	dir := t.TempDir()
	program, archive := filepath.Join(dir, "program"), filepath.Join(dir, "images", "test.tar")
	if err := os.WriteFile(program, []byte("#!/bin/true"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteArchive(archive, "example.com/test:v1", Spec{
		Architecture: "arm64",
		Programs:     map[string]string{"usr/bin/program": program},
		Files: fstest.MapFS{
			"etc/passwd": {Data: []byte("root"), Mode: 0o644},
			"tmp":        {Mode: fs.ModeDir | fs.ModeSticky | 0o777},
			"bin/sh":     {Data: []byte("busybox"), Mode: fs.ModeSymlink | 0o777},
		},
		Config: Config{Entrypoint: []string{"/usr/bin/program"}, User: "1:2"},
	}); err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Architecture != "arm64" || config.OS != "linux" || config.Config.User != "1:2" || config.Config.Entrypoint[0] != "/usr/bin/program" {
		t.Errorf("configuration = %+v", config)
	}
	list := exec.CommandContext(t.Context(), "tar", "--list", "--verbose", "--numeric-owner", "--utc", "--full-time")
	list.Stdin = mutate.Extract(img)
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := `
drwxr-xr-x 0/0 0 1970-01-01 00:00:00 bin
lrwxrwxrwx 0/0 0 1970-01-01 00:00:00 bin/sh -> busybox
drwxr-xr-x 0/0 0 1970-01-01 00:00:00 etc
-rw-r--r-- 0/0 4 1970-01-01 00:00:00 etc/passwd
drwxrwxrwt 0/0 0 1970-01-01 00:00:00 tmp
drwxr-xr-x 0/0 0 1970-01-01 00:00:00 usr
drwxr-xr-x 0/0 0 1970-01-01 00:00:00 usr/bin
-rwxr-xr-x 0/0 11 1970-01-01 00:00:00 usr/bin/program
`
	if !slices.Equal(strings.Fields(string(out)), strings.Fields(want)) {
		t.Errorf("the image contains\n%s\nwant%s", out, want)
	}
}
