// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/space-dra/space-dra-driver/tools/release/driver"
	"github.com/space-dra/space-dra-driver/tools/release/image"
)

const (
	// layoutDir is the directory with the OCI image layout.
	layoutDir = "image"
	// digestFile contains the digest of the index of all architectures.
	digestFile = "image.digest"

	sbomType       types.MediaType = "application/vnd.cyclonedx+json"
	provenanceType types.MediaType = "application/vnd.in-toto+json"

	tagKey = "org.opencontainers.image.ref.name"
)

// release describes a release. Its files are reproducible with the same version of Go.
type release struct {
	// root is the directory with the source.
	root      string
	out       string
	version   string
	revision  string
	created   time.Time
	builderID string
}

// architectures returns the architectures of the images.
func architectures() []string { return []string{"amd64", "arm64"} }

// platform is the image for one architecture.
type platform struct {
	driver.Build
	image  v1.Image
	digest v1.Hash
}

func (r release) sbomFile(architecture string) string {
	return fmt.Sprintf("%s-%s-linux-%s.cdx.json", driver.Name, r.version, architecture)
}

func (r release) provenanceFile() string { return driver.Name + "-" + r.version + ".provenance.json" }

// document is written to a file, and attached to an image or an index.
type document struct {
	file    string
	kind    types.MediaType
	content []byte
	subject partial.Describable
}

// write builds the release and returns the digest of the index of all architectures.
func (r release) write(ctx context.Context) (v1.Hash, error) {
	programs, err := os.MkdirTemp("", "space-release-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer func() { _ = os.RemoveAll(programs) }()
	var platforms []platform
	var documents []document
	for _, architecture := range architectures() {
		p, err := r.platform(ctx, architecture, filepath.Join(programs, architecture))
		if err != nil {
			return v1.Hash{}, err
		}
		sbom, err := sbom(p.Build, p.digest)
		if err != nil {
			return v1.Hash{}, fmt.Errorf("describe the contents of the image for %s: %w", architecture, err)
		}
		platforms, documents = append(platforms, p), append(documents, document{r.sbomFile(architecture), sbomType, sbom, p.image})
	}
	index := r.index(platforms)
	digest, err := index.Digest()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("compute the digest of the images: %w", err)
	}
	provenance, err := r.provenance(digest, platforms)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("describe the provenance: %w", err)
	}
	documents = append(documents, document{r.provenanceFile(), provenanceType, provenance, index})

	// The directory must not exist, so that it contains only this release.
	if err := os.Mkdir(r.out, 0o755); err != nil {
		return v1.Hash{}, err
	}
	path, err := layout.Write(filepath.Join(r.out, layoutDir), empty.Index)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("write the image layout: %w", err)
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{tagKey: r.version})); err != nil {
		return v1.Hash{}, fmt.Errorf("write the images: %w", err)
	}
	for _, d := range documents {
		if err := attach(path, d); err != nil {
			return v1.Hash{}, fmt.Errorf("attach %s: %w", d.file, err)
		}
		if err := os.WriteFile(filepath.Join(r.out, d.file), d.content, 0o644); err != nil {
			return v1.Hash{}, err
		}
	}
	return digest, os.WriteFile(filepath.Join(r.out, digestFile), []byte(digest.String()+"\n"), 0o644)
}

// platform builds the image for an architecture, and its programs in a directory.
func (r release) platform(ctx context.Context, architecture, dir string) (platform, error) {
	p := platform{Build: driver.Build{
		Root: r.root, Dir: dir, Version: r.version, Architecture: architecture, Revision: r.revision, Created: r.created,
	}}
	spec, err := p.Image(ctx)
	if err != nil {
		return platform{}, err
	}
	spec.Small = true
	if p.image, err = image.Build(spec); err != nil {
		return platform{}, fmt.Errorf("build the image for %s: %w", architecture, err)
	}
	if p.digest, err = p.image.Digest(); err != nil {
		return platform{}, fmt.Errorf("compute the digest of the image for %s: %w", architecture, err)
	}
	return p, nil
}

// index returns the index of the images of all architectures.
func (r release) index(platforms []platform) v1.ImageIndex {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range platforms {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: p.image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: p.Architecture}},
		})
	}
	labels := driver.Build{Version: r.version, Revision: r.revision}.Labels()
	labels["org.opencontainers.image.created"] = r.created.Format(time.RFC3339)
	return mutate.Annotations(index, labels).(v1.ImageIndex)
}

// attach writes a document as an artifact that refers to a subject. Its index has the
// tag that the distribution specification defines for registries without a list of
// referrers. In a layout, tools find referrers by this tag, too.
func attach(path layout.Path, d document) error {
	subject, err := partial.Descriptor(d.subject)
	if err != nil {
		return err
	}
	artifact, err := mutate.Append(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), d.kind), mutate.Addendum{
		Layer: static.NewLayer(d.content, d.kind), Annotations: map[string]string{"org.opencontainers.image.title": d.file},
	})
	if err != nil {
		return err
	}
	referrer := mutate.Subject(artifact, v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest}).(v1.Image)
	referrers := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: referrer})
	return path.AppendIndex(referrers, layout.WithAnnotations(map[string]string{
		tagKey: subject.Digest.Algorithm + "-" + subject.Digest.Hex,
	}))
}
