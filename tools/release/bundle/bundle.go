// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bundle makes what a release of the driver's image consists of: an OCI
// image layout with an image for each architecture, what each is made of (an SBOM),
// and where all of it comes from (its provenance). The same source and the same Go
// give the same files, byte by byte.
package bundle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/space-dra/space-dra-driver/tools/release/driver"
	"github.com/space-dra/space-dra-driver/tools/release/image"
)

const (
	// Layout is the folder with the image layout.
	Layout = "image"
	// DigestFile holds the digest of the index of all architectures.
	DigestFile = "image.digest"
)

// Options say which release is made.
type Options struct {
	// Root is the folder with the source.
	Root string
	// Out is the folder that is written. An earlier release in it goes.
	Out           string
	Version       string
	Revision      string
	Created       time.Time
	Architectures []string
	// BuilderID is the URI of who builds, for the provenance.
	BuilderID string
	// Log is told about progress.
	Log func(format string, args ...any)
}

// platform is the release for one architecture.
type platform struct {
	architecture string
	image        v1.Image
	descriptor   v1.Descriptor
	sbom         []byte
	goVersion    string
}

func (p platform) sbomFile(version string) string {
	return fmt.Sprintf("%s-%s-linux-%s.cdx.json", driver.Name, version, p.architecture)
}

// ArchiveFile is the name of the layout as one file.
func ArchiveFile(version string) string { return driver.Name + "-" + version + ".oci.tar" }

// ProvenanceFile is the name of the provenance.
func ProvenanceFile(version string) string { return driver.Name + "-" + version + ".provenance.json" }

// Write makes the release and returns the digest of the index of all architectures.
func Write(ctx context.Context, o Options) (v1.Hash, error) {
	digest, err := o.write(ctx)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("making release %s in %s: %w", o.Version, o.Out, err)
	}
	return digest, nil
}

func (o Options) write(ctx context.Context) (v1.Hash, error) {
	programs, err := os.MkdirTemp("", "space-release-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer func() { _ = os.RemoveAll(programs) }()
	if len(o.Architectures) == 0 {
		return v1.Hash{}, errors.New("no architecture is asked for")
	}
	var platforms []platform
	for _, architecture := range o.Architectures {
		o.Log("building for linux/%s", architecture)
		p, err := o.platform(ctx, architecture, filepath.Join(programs, architecture))
		if err != nil {
			return v1.Hash{}, err
		}
		platforms = append(platforms, p)
	}
	index, descriptor, err := o.index(platforms)
	if err != nil {
		return v1.Hash{}, err
	}
	provenance, err := o.provenance(descriptor, platforms)
	if err != nil {
		return v1.Hash{}, err
	}

	if err := clearOut(o.Out); err != nil {
		return v1.Hash{}, err
	}
	dir := filepath.Join(o.Out, Layout)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return v1.Hash{}, err
	}
	// First, so that a release that was not finished is known as one.
	if err := os.WriteFile(filepath.Join(o.Out, DigestFile), []byte(descriptor.Digest.String()+"\n"), 0o644); err != nil {
		return v1.Hash{}, err
	}
	if err := o.writeLayout(dir, index, descriptor, platforms, provenance); err != nil {
		return v1.Hash{}, err
	}
	if err := archive(dir, filepath.Join(o.Out, ArchiveFile(o.Version))); err != nil {
		return v1.Hash{}, err
	}
	files := map[string][]byte{
		ProvenanceFile(o.Version): provenance,
	}
	for _, p := range platforms {
		files[p.sbomFile(o.Version)] = p.sbom
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(o.Out, name), content, 0o644); err != nil {
			return v1.Hash{}, err
		}
	}
	return descriptor.Digest, nil
}

// clearOut removes an earlier release, and nothing that is none.
func clearOut(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("clearing: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, DigestFile)); err != nil {
		return fmt.Errorf("clearing: there are files of others, and no release: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("clearing: %w", err)
	}
	return nil
}

func (o Options) platform(ctx context.Context, architecture, dir string) (platform, error) {
	build := driver.Build{
		Root: o.Root, Dir: dir, Version: o.Version, Architecture: architecture, Revision: o.Revision, Created: o.Created,
	}
	spec, err := build.Image(ctx)
	if err != nil {
		return platform{}, err
	}
	spec.Ref, spec.Small = driver.Name+":"+o.Version, true
	p := platform{architecture: architecture}
	if p.image, err = image.Build(spec); err != nil {
		return platform{}, err
	}
	if p.descriptor, err = describe(p.image); err != nil {
		return platform{}, fmt.Errorf("describing the image for %s: %w", architecture, err)
	}
	p.descriptor.Platform = &v1.Platform{OS: "linux", Architecture: architecture}
	if p.sbom, p.goVersion, err = sbom(build, p.descriptor.Digest); err != nil {
		return platform{}, fmt.Errorf("listing what the image for %s is made of: %w", architecture, err)
	}
	return p, nil
}
