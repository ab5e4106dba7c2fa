// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package releasetest checks releases: of small programs in unit tests, and of the
// driver.
package releasetest

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/space-dra/space-dra-driver/tools/release/bundle"
	"github.com/space-dra/space-dra-driver/tools/release/driver"
)

// SameFiles compares two folders, byte by byte.
func SameFiles(t *testing.T, a, b string) {
	t.Helper()
	files := [2]map[string][]byte{}
	for i, dir := range []string{a, b} {
		files[i] = map[string][]byte{}
		tree := os.DirFS(dir)
		err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			files[i][name], err = fs.ReadFile(tree, name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files[0] {
		other, ok := files[1][name]
		if !ok {
			t.Errorf("%s is in %s only", name, a)
		} else if !bytes.Equal(content, other) {
			t.Errorf("%s differs", name)
		}
	}
	for name := range files[1] {
		if _, ok := files[0][name]; !ok {
			t.Errorf("%s is in %s only", name, b)
		}
	}
}

// CheckRelease pushes a release to a registry and looks at what comes from there.
func CheckRelease(t *testing.T, o bundle.Options, digest v1.Hash) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	repository, err := name.NewRepository(strings.TrimPrefix(server.URL, "http://") + "/" + driver.Name)
	if err != nil {
		t.Fatal(err)
	}
	push(t, repository, filepath.Join(o.Out, bundle.Layout))

	index, err := remote.Index(repository.Tag(o.Version), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := index.Digest(); err != nil || got != digest {
		t.Errorf("%s is %s (%v), want %s", o.Version, got, err, digest)
	}
	if err := validate.Index(index); err != nil {
		t.Errorf("the index is not valid: %v", err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.Annotations["org.opencontainers.image.revision"] != o.Revision {
		t.Errorf("the index's annotations are %v", manifest.Annotations)
	}
	subjects := []v1.Hash{digest}
	for i, architecture := range o.Architectures {
		if i >= len(manifest.Manifests) || manifest.Manifests[i].Platform.String() != "linux/"+architecture {
			t.Fatalf("the index has no image %d for %s: %+v", i, architecture, manifest.Manifests)
		}
		d := manifest.Manifests[i].Digest
		subjects = append(subjects, d)
		img, err := index.Image(d)
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, o, architecture, img)
		checkSBOM(t, o, architecture, d, referrer(t, repository, d, string(bundle.SBOMType)))
	}
	checkProvenance(t, o, subjects, referrer(t, repository, digest, string(bundle.ProvenanceType)))
	if content, err := os.ReadFile(filepath.Join(o.Out, bundle.DigestFile)); err != nil || strings.TrimSpace(string(content)) != digest.String() {
		t.Errorf("the digest is written as %q (%v)", content, err)
	}
	checkArchive(t, o)
}

// push does with a layout what tools for registries do.
func push(t *testing.T, repository name.Repository, dir string) {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range manifest.Manifests {
		var err error
		if tag := d.Annotations["org.opencontainers.image.ref.name"]; tag != "" {
			var child v1.ImageIndex
			if child, err = index.ImageIndex(d.Digest); err == nil {
				err = remote.WriteIndex(repository.Tag(tag), child)
			}
		} else {
			var child v1.Image
			if child, err = index.Image(d.Digest); err == nil {
				err = remote.Write(repository.Digest(d.Digest.String()), child)
			}
		}
		if err != nil {
			t.Fatalf("pushing %s: %v", d.Digest, err)
		}
	}
}

func checkImage(t *testing.T, o bundle.Options, architecture string, img v1.Image) {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != architecture || config.Config.User != "65532:65532" || !config.Created.Equal(o.Created) {
		t.Errorf("the image for %s says %+v", architecture, config)
	}
	for label, want := range map[string]string{
		"source": driver.Source, "revision": o.Revision, "version": o.Version, "licenses": "Apache-2.0",
	} {
		if got := config.Config.Labels["org.opencontainers.image."+label]; got != want {
			t.Errorf("label %s is %q, want %q", label, got, want)
		}
	}
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[architecture]
	var programs []string
	content := mutate.Extract(img)
	defer content.Close()
	for r := tar.NewReader(content); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 || header.Uname != "" || header.ModTime.Unix() != 0 {
			t.Errorf("%s is of %d:%d (%q), %s", header.Name, header.Uid, header.Gid, header.Uname, header.ModTime)
		}
		if header.Typeflag == tar.TypeDir {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		programs = append(programs, "/"+header.Name)
		checkProgram(t, o, header.Name, machine, data)
	}
	var want []string
	for _, program := range driver.Programs() {
		want = append(want, driver.ImagePath(program))
	}
	if !slices.Equal(programs, want) {
		t.Errorf("the image for %s has %v, want %v", architecture, programs, want)
	}
}

func checkProgram(t *testing.T, o bundle.Options, name string, machine elf.Machine, data []byte) {
	t.Helper()
	program, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if program.Machine != machine {
		t.Errorf("%s is for %s, want %s", name, program.Machine, machine)
	}
	if slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Errorf("%s needs a C library", name)
	}
	if bytes.Contains(data, []byte(o.Root)) {
		t.Errorf("%s has the path of its source in it", name)
	}
	if !bytes.Contains(data, []byte(o.Version)) {
		t.Errorf("%s does not have its version", name)
	}
}

// referrer returns the only document of its type that refers to a digest.
func referrer(t *testing.T, repository name.Repository, digest v1.Hash, kind string) []byte {
	t.Helper()
	index, err := remote.Referrers(repository.Digest(digest.String()), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("%+v refers to %s, want one %s", manifest.Manifests, digest, kind)
	}
	data, err := document(t.Context(), repository.Digest(manifest.Manifests[0].Digest.String()), kind)
	if err != nil {
		t.Fatalf("reading the %s of %s: %v", kind, digest, err)
	}
	return data
}

func document(ctx context.Context, ref name.Digest, kind string) ([]byte, error) {
	img, err := remote.Image(ref, remote.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	if manifest.ArtifactType != kind || len(manifest.Layers) != 1 {
		return nil, fmt.Errorf("it is a %s of %d documents", manifest.ArtifactType, len(manifest.Layers))
	}
	layer, err := remote.Layer(ref.Context().Digest(manifest.Layers[0].Digest.String()), remote.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	content, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	defer content.Close()
	return io.ReadAll(content)
}

func checkSBOM(t *testing.T, o bundle.Options, architecture string, digest v1.Hash, data []byte) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(o.Out, fmt.Sprintf("%s-%s-linux-%s.cdx.json", driver.Name, o.Version, architecture)))
	if err != nil || !bytes.Equal(file, data) {
		t.Errorf("the SBOM's file is not what refers to the image (%v)", err)
	}
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(data), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(bom.Metadata.Component.PackageURL, digest.Hex) {
		t.Errorf("the SBOM is of %s, want %s", bom.Metadata.Component.PackageURL, digest)
	}
	known := map[string]bool{bom.Metadata.Component.BOMRef: true}
	names := map[string]bool{}
	for _, c := range *bom.Components {
		if known[c.BOMRef] {
			t.Errorf("%s is listed twice", c.BOMRef)
		}
		known[c.BOMRef], names[c.Name] = true, true
	}
	for _, name := range append(driver.Programs(), "stdlib") {
		if !names[name] {
			t.Errorf("the SBOM does not list %s", name)
		}
	}
	for _, d := range *bom.Dependencies {
		for _, ref := range append([]string{d.Ref}, *d.Dependencies...) {
			if !known[ref] {
				t.Errorf("the SBOM speaks of %s and does not list it", ref)
			}
		}
	}
}

func checkProvenance(t *testing.T, o bundle.Options, subjects []v1.Hash, data []byte) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(o.Out, bundle.ProvenanceFile(o.Version)))
	if err != nil || !bytes.Equal(file, data) {
		t.Errorf("the provenance's file is not what refers to the index (%v)", err)
	}
	var statement intoto.Statement
	if err := protojson.Unmarshal(data, &statement); err != nil {
		t.Fatal(err)
	}
	if err := statement.Validate(); err != nil {
		t.Errorf("the provenance is not valid: %v", err)
	}
	var got []v1.Hash
	for _, s := range statement.Subject {
		got = append(got, v1.Hash{Algorithm: "sha256", Hex: s.Digest["sha256"]})
	}
	if !slices.Equal(got, subjects) {
		t.Errorf("the provenance is of %v, want %v", got, subjects)
	}
	predicate, err := json.Marshal(statement.Predicate.AsMap())
	if err != nil {
		t.Fatal(err)
	}
	var provenance slsa.Provenance
	if err := protojson.Unmarshal(predicate, &provenance); err != nil {
		t.Fatal(err)
	}
	if err := provenance.Validate(); err != nil {
		t.Errorf("the provenance is not valid: %v", err)
	}
	if source := provenance.BuildDefinition.ResolvedDependencies[0]; source.Digest["gitCommit"] != o.Revision {
		t.Errorf("the source is %v, want commit %s", source, o.Revision)
	}
	if id := provenance.RunDetails.Builder.Id; id != o.BuilderID {
		t.Errorf("the builder is %s, want %s", id, o.BuilderID)
	}
}

// checkArchive sees that the archive is the layout.
func checkArchive(t *testing.T, o bundle.Options) {
	t.Helper()
	f, err := os.Open(filepath.Join(o.Out, bundle.ArchiveFile(o.Version)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Clean("/"+header.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	SameFiles(t, filepath.Join(o.Out, bundle.Layout), dir)
}
