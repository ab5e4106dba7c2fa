// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package image builds container images from files, without a container engine or a base image. The
// images are reproducible.
package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"testing/fstest"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Config is the configuration of containers.
type Config = v1.Config

// Spec describes an image. Paths in it are relative to the image's root.
type Spec struct {
	Architecture string
	// Created is the time of the image. Images for tests have none.
	Created time.Time
	// Programs are executable files of this machine, by their paths in the image.
	Programs map[string]string
	// Files are other files, directories with a mode that is not 0755, and symbolic
	// links, whose data is their target.
	Files  fstest.MapFS
	Config Config
	// Small selects the best compression, which takes longer.
	Small bool
}

// Build creates the image.
func Build(spec Spec) (v1.Image, error) {
	content, err := layerTar(spec)
	if err != nil {
		return nil, err
	}
	level := gzip.BestSpeed
	if spec.Small {
		level = gzip.BestCompression
	}
	layer, err := tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithCompressionLevel(level), tarball.WithCompressedCaching, tarball.WithMediaType(types.OCILayer),
	)
	if err != nil {
		return nil, fmt.Errorf("create the layer: %w", err)
	}
	base, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: spec.Architecture, Created: v1.Time{Time: spec.Created}, Config: spec.Config, RootFS: v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, fmt.Errorf("set the configuration: %w", err)
	}
	base = mutate.ConfigMediaType(mutate.MediaType(base, types.OCIManifestSchema1), types.OCIConfigJSON)
	return mutate.AppendLayers(base, layer)
}

// WriteArchive builds the image and writes it to a file as a docker-archive, which
// `ctr images import` and `kind load image-archive` load with the name and tag of ref.
func WriteArchive(file, ref string, spec Spec) error {
	tag, err := name.NewTag(ref, name.StrictValidation)
	if err != nil {
		return err
	}
	img, err := Build(spec)
	if err != nil {
		return fmt.Errorf("build image %s: %w", ref, err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	// The rename makes the file visible when it is complete.
	partial := file + ".partial"
	if err := tarball.WriteToFile(partial, tag, img); err != nil {
		return fmt.Errorf("write image %s to %s: %w", ref, partial, err)
	}
	return os.Rename(partial, file)
}

// layerTar returns the image's only layer. All files have the same time, so that it is reproducible.
func layerTar(spec Spec) ([]byte, error) {
	files := fstest.MapFS{}
	maps.Copy(files, spec.Files)
	for name, source := range spec.Programs {
		content, err := os.ReadFile(source)
		if err != nil {
			return nil, fmt.Errorf("add %s: %w", name, err)
		}
		files[name] = &fstest.MapFile{Data: content, Mode: 0o755}
	}
	for name := range maps.Clone(files) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if files[dir] == nil {
				files[dir] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
			}
		}
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.AddFS(files); err != nil {
		return nil, fmt.Errorf("add files: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("close the layer: %w", err)
	}
	return out.Bytes(), nil
}
