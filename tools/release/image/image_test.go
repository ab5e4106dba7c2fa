// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestArchiveIsReproducible(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	write := func(age time.Duration) {
		if err := os.WriteFile(program, []byte("#!/bin/true"), 0o700); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(program, when, when); err != nil {
			t.Fatal(err)
		}
	}
	spec := Spec{
		Ref: "example.com/test:v1", Architecture: "arm64",
		Files: []File{
			{Path: "/usr/bin/program", Source: program, Mode: 0o755},
			{Path: "/etc/passwd", Content: "root:x:0:0::/:/bin/sh\n", Mode: 0o644},
		},
		Dirs:       []Dir{{Path: "/tmp", Mode: 0o1777}},
		Symlinks:   []Symlink{{Path: "/bin/sh", Target: "busybox"}},
		Entrypoint: []string{"/usr/bin/program"}, Env: []string{"A=b"}, User: "1:2",
	}
	var archives [2][]byte
	for i, age := range []time.Duration{0, time.Hour} {
		write(age)
		file := filepath.Join(dir, "images", "test.tar")
		if err := WriteArchive(file, spec); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		archives[i] = data
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two builds of the same files differ")
	}

	img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archives[0])), nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Architecture != "arm64" || config.OS != "linux" || config.Config.User != "1:2" || config.Config.Entrypoint[0] != "/usr/bin/program" {
		t.Errorf("the configuration is %+v", config)
	}
}

func TestLayer(t *testing.T) {
	content, err := layerTar(Spec{
		Files:    []File{{Path: "/usr/bin/program", Content: "x", Mode: 0o755}},
		Dirs:     []Dir{{Path: "/tmp", Mode: 0o1777}},
		Symlinks: []Symlink{{Path: "/bin/sh", Target: "busybox"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []tar.Header{
		{Name: "bin", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "bin/sh", Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: "busybox"},
		{Name: "tmp", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: "usr", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "usr/bin", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "usr/bin/program", Typeflag: tar.TypeReg, Mode: 0o755, Size: 1},
	}
	r := tar.NewReader(bytes.NewReader(content))
	for _, w := range want {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if h.Name != w.Name || h.Typeflag != w.Typeflag || h.Mode != w.Mode || h.Linkname != w.Linkname || h.Size != w.Size || !h.ModTime.Equal(epoch()) {
			t.Errorf("got %+v, want %+v", h, w)
		}
	}
	if h, err := r.Next(); err != io.EOF {
		t.Errorf("there's more: %+v %v", h, err)
	}
}

func TestSamePathTwice(t *testing.T) {
	_, err := layerTar(Spec{Files: []File{{Path: "/a", Content: "1"}, {Path: "a", Content: "2"}}})
	if err == nil {
		t.Error("a path that's there twice is accepted")
	}
}
