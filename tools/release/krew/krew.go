// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package krew makes archives of kubectl's plugin, and the manifest by which krew
// installs it. The same source and the same Go give the same files, byte by byte.
package krew

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/space-dra/space-dra-driver/tools/release/driver"
)

const (
	// ManifestFile is the name of the manifest: krew wants it to be the plugin's.
	ManifestFile = "space.yaml"

	program = "kubectl-space"
	license = "LICENSE"
	// head is the manifest without what is known only when the archives are made.
	head = "deployments/krew/space.yaml"
)

// Options say what is made.
type Options struct {
	// Root is the folder with the source.
	Root string
	// Out is the folder that is written; it has to exist.
	Out     string
	Version string
	// Created is the time that the files in the archives have.
	Created time.Time
	// Platforms are those to build for, as in "linux/amd64".
	Platforms []string
	// Log is told about progress.
	Log func(format string, args ...any)
}

// Platforms are those that a release is for.
func Platforms() []string {
	return []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64"}
}

// ArchiveFile is the name of the archive for a platform.
func ArchiveFile(platform string) string {
	return program + "-" + strings.ReplaceAll(platform, "/", "-") + ".tar.gz"
}

// Write makes an archive for each platform, and the manifest.
func Write(ctx context.Context, o Options) error {
	if err := o.write(ctx); err != nil {
		return fmt.Errorf("making kubectl's plugin %s in %s: %w", o.Version, o.Out, err)
	}
	return nil
}

func (o Options) write(ctx context.Context) error {
	terms, err := os.ReadFile(filepath.Join(o.Root, license))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "space-plugin-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var archives []archive
	for _, platform := range o.Platforms {
		system, architecture, ok := strings.Cut(platform, "/")
		if !ok {
			return fmt.Errorf("platform %q is not as in linux/amd64", platform)
		}
		o.Log("building kubectl's plugin for %s", platform)
		build := driver.Build{Root: o.Root, Dir: filepath.Join(dir, system, architecture), Version: o.Version, OS: system, Architecture: architecture}
		if err := build.Compile(ctx, program); err != nil {
			return err
		}
		binary, err := os.ReadFile(build.Program(program))
		if err != nil {
			return err
		}
		a := archive{system: system, architecture: architecture, program: program}
		if system == "windows" {
			a.program += ".exe"
		}
		content, err := pack(o.Created, file{a.program, 0o755, binary}, file{license, 0o644, terms})
		if err != nil {
			return fmt.Errorf("packing for %s: %w", platform, err)
		}
		sum := sha256.Sum256(content)
		a.sha256 = hex.EncodeToString(sum[:])
		if err := os.WriteFile(filepath.Join(o.Out, ArchiveFile(platform)), content, 0o644); err != nil {
			return err
		}
		archives = append(archives, a)
	}
	raw, err := os.ReadFile(filepath.Join(o.Root, head))
	if err != nil {
		return err
	}
	manifest, err := manifest(raw, o.Version, archives)
	if err != nil {
		return fmt.Errorf("completing %s: %w", head, err)
	}
	return os.WriteFile(filepath.Join(o.Out, ManifestFile), manifest, 0o644) //nolint:gosec // the caller chooses the path
}

type file struct {
	name    string
	mode    int64
	content []byte
}

// pack makes an archive that says nothing of who made it and where.
func pack(created time.Time, files ...file) ([]byte, error) {
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	archive := tar.NewWriter(compressed)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: created.UTC().Truncate(time.Second), Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := compressed.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
