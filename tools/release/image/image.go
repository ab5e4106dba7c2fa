// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package image builds container images from files, without a container engine
// or a base image. The same files give the same image, byte by byte.
package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// File is a file of an image: Source on this machine, or Content.
type File struct {
	Path    string
	Source  string
	Content string
	Mode    os.FileMode
}

// Dir is a directory with a mode that isn't 0755.
type Dir struct {
	Path string
	Mode os.FileMode
}

// Symlink is a symbolic link of an image.
type Symlink struct {
	Path   string
	Target string
}

// Spec says what an image holds.
type Spec struct {
	// Ref is the name and tag that an archive is loaded under.
	Ref          string
	Architecture string
	// Created is the time of the image; zero is the start of Unix time.
	Created    time.Time
	Files      []File
	Dirs       []Dir
	Symlinks   []Symlink
	Entrypoint []string
	Env        []string
	User       string
	Labels     map[string]string
	// Small takes the time to make the image small.
	Small bool
}

// Build creates the image.
func Build(spec Spec) (v1.Image, error) {
	content, err := layerTar(spec)
	if err != nil {
		return nil, fmt.Errorf("building image %s: %w", spec.Ref, err)
	}
	// Archives are loaded on this machine, so speed is worth more than size.
	level := gzip.BestSpeed
	if spec.Small {
		level = gzip.BestCompression
	}
	layer, err := tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithCompressionLevel(level), tarball.WithCompressedCaching, tarball.WithMediaType(types.OCILayer),
	)
	if err != nil {
		return nil, fmt.Errorf("building image %s: creating its layer: %w", spec.Ref, err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, fmt.Errorf("building image %s: appending its layer: %w", spec.Ref, err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("building image %s: reading its configuration: %w", spec.Ref, err)
	}
	config = config.DeepCopy()
	config.OS = "linux"
	config.Architecture = spec.Architecture
	config.Created = v1.Time{Time: epoch()}
	if !spec.Created.IsZero() {
		config.Created = v1.Time{Time: spec.Created.UTC()}
	}
	config.Config = v1.Config{Entrypoint: spec.Entrypoint, Env: spec.Env, User: spec.User, WorkingDir: "/", Labels: spec.Labels}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, fmt.Errorf("building image %s: setting its configuration: %w", spec.Ref, err)
	}
	return img, nil
}

// WriteArchive builds the image and writes it as a docker-archive, which
// `ctr images import` and `kind load image-archive` read.
func WriteArchive(file string, spec Spec) error {
	ref, err := name.NewTag(spec.Ref, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("building image %q: %w", spec.Ref, err)
	}
	img, err := Build(spec)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("writing image archive %s: %w", file, err)
	}
	// A reader sees the whole file or none.
	partial := file + ".partial"
	if err := tarball.WriteToFile(partial, ref, img); err != nil {
		return fmt.Errorf("writing image archive %s: %w", file, err)
	}
	if err := os.Rename(partial, file); err != nil {
		return fmt.Errorf("writing image archive %s: %w", file, err)
	}
	return nil
}

// epoch is the time of every file, so that builds can be reproduced and the same
// files are the same layer, whenever the image was made.
func epoch() time.Time { return time.Unix(0, 0).UTC() }

// layerTar writes the image's only layer.
func layerTar(spec Spec) ([]byte, error) {
	entries := map[string]*tar.Header{}
	sources := map[string]File{}
	add := func(p string, h tar.Header) error {
		p = strings.Trim(path.Clean(p), "/")
		if previous := entries[p]; previous != nil && previous.Typeflag != tar.TypeDir {
			return fmt.Errorf("/%s is there twice", p)
		}
		h.Name, h.ModTime, h.Format = p, epoch(), tar.FormatPAX
		entries[p] = &h
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			if entries[dir] == nil {
				entries[dir] = &tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: epoch(), Format: tar.FormatPAX}
			}
		}
		return nil
	}
	for _, d := range spec.Dirs {
		if err := add(d.Path, tar.Header{Typeflag: tar.TypeDir, Mode: int64(d.Mode)}); err != nil {
			return nil, err
		}
	}
	for _, l := range spec.Symlinks {
		if err := add(l.Path, tar.Header{Typeflag: tar.TypeSymlink, Linkname: l.Target, Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	for _, f := range spec.Files {
		size := int64(len(f.Content))
		if f.Source != "" {
			info, err := os.Stat(f.Source)
			if err != nil {
				return nil, fmt.Errorf("adding %s: %w", f.Path, err)
			}
			size = info.Size()
		}
		if err := add(f.Path, tar.Header{Typeflag: tar.TypeReg, Mode: int64(f.Mode), Size: size}); err != nil {
			return nil, err
		}
		sources[strings.Trim(path.Clean(f.Path), "/")] = f
	}

	names := make([]string, 0, len(entries))
	for n := range entries {
		names = append(names, n)
	}
	slices.Sort(names)
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, n := range names {
		if err := w.WriteHeader(entries[n]); err != nil {
			return nil, fmt.Errorf("adding /%s: %w", n, err)
		}
		if f, ok := sources[n]; ok {
			if err := f.copyTo(w); err != nil {
				return nil, fmt.Errorf("adding /%s: %w", n, err)
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("closing the layer: %w", err)
	}
	return out.Bytes(), nil
}

func (f File) copyTo(w io.Writer) error {
	if f.Source == "" {
		_, err := io.WriteString(w, f.Content)
		return err
	}
	source, err := os.Open(f.Source)
	if err != nil {
		return err
	}
	defer source.Close()
	_, err = io.Copy(w, source)
	return err
}
