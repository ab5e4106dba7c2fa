// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/space-dra/space-dra-driver/tools/release/driver"
)

const (
	// SBOMType is the artifact type of SBOMs.
	SBOMType types.MediaType = "application/vnd.cyclonedx+json"
	// ProvenanceType is the artifact type of the provenance.
	ProvenanceType types.MediaType = "application/vnd.in-toto+json"

	emptyType types.MediaType = "application/vnd.oci.empty.v1+json"
)

const (
	tagKey   = "org.opencontainers.image.ref.name"
	titleKey = "org.opencontainers.image.title"
)

func describe(d partial.Describable) (v1.Descriptor, error) {
	descriptor, err := partial.Descriptor(d)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return *descriptor, nil
}

// index joins the images of all architectures.
func (o Options) index(platforms []platform) (v1.ImageIndex, v1.Descriptor, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range platforms {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: p.image, Descriptor: p.descriptor})
	}
	labels := driver.Build{Version: o.Version, Revision: o.Revision}.Labels()
	labels["org.opencontainers.image.created"] = o.Created.UTC().Format(time.RFC3339)
	index, ok := mutate.Annotations(index, labels).(v1.ImageIndex)
	if !ok {
		return nil, v1.Descriptor{}, fmt.Errorf("an index with annotations is none")
	}
	descriptor, err := describe(index)
	if err != nil {
		return nil, v1.Descriptor{}, fmt.Errorf("describing the index: %w", err)
	}
	return index, descriptor, nil
}

// writeLayout writes the index under the version as its tag, and beside it what
// refers to it or to its images: registries list that as their referrers.
func (o Options) writeLayout(dir string, index v1.ImageIndex, descriptor v1.Descriptor, platforms []platform, provenance []byte) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("beginning the image layout: %w", err)
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{tagKey: o.Version})); err != nil {
		return fmt.Errorf("writing the images: %w", err)
	}
	if err := attach(path, descriptor, ProvenanceType, ProvenanceFile(o.Version), provenance); err != nil {
		return fmt.Errorf("writing the provenance: %w", err)
	}
	for _, p := range platforms {
		if err := attach(path, p.descriptor, SBOMType, p.sbomFile(o.Version), p.sbom); err != nil {
			return fmt.Errorf("writing the SBOM for %s: %w", p.architecture, err)
		}
	}
	return nil
}

// attach writes a document as an artifact that refers to a subject. Some tools find
// it by its subject, others by the tag that the distribution specification has for
// registries without a list of referrers.
func attach(path layout.Path, subject v1.Descriptor, kind types.MediaType, name string, document []byte) error {
	config, err := writeBlob(path, emptyType, []byte("{}"))
	if err != nil {
		return err
	}
	layer, err := writeBlob(path, kind, document)
	if err != nil {
		return err
	}
	layer.Annotations = map[string]string{titleKey: name}
	artifact, err := writeJSON(path, types.OCIManifestSchema1, v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		ArtifactType:  string(kind),
		Config:        config,
		Layers:        []v1.Descriptor{layer},
		Subject:       &v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest},
	})
	if err != nil {
		return err
	}
	artifact.ArtifactType = string(kind)
	if err := path.AppendDescriptor(artifact); err != nil {
		return err
	}
	referrers, err := writeJSON(path, types.OCIImageIndex, v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests:     []v1.Descriptor{artifact},
	})
	if err != nil {
		return err
	}
	referrers.Annotations = map[string]string{tagKey: subject.Digest.Algorithm + "-" + subject.Digest.Hex}
	return path.AppendDescriptor(referrers)
}

func writeJSON(path layout.Path, kind types.MediaType, document any) (v1.Descriptor, error) {
	content, err := json.Marshal(document)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return writeBlob(path, kind, content)
}

func writeBlob(path layout.Path, kind types.MediaType, content []byte) (v1.Descriptor, error) {
	digest, size, err := v1.SHA256(bytes.NewReader(content))
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: kind, Size: size, Digest: digest}, path.WriteBlob(digest, io.NopCloser(bytes.NewReader(content)))
}

// archive writes a folder as a tar file that only depends on the files' content.
// WalkDir goes by name.
func archive(dir, file string) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	files := os.DirFS(dir)
	err = fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(0, 0).UTC(), Format: tar.FormatPAX}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	for _, finish := range []func() error{w.Close, out.Close} {
		if closeErr := finish(); err == nil {
			err = closeErr
		}
	}
	if err != nil {
		return fmt.Errorf("writing archive %s: %w", file, err)
	}
	return nil
}
