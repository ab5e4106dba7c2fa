// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/space-dra/space-dra-driver/tools/release/driver"
)

// newRelease returns a release with programs that are smaller than the driver's.
func newRelease(t *testing.T) release {
	t.Helper()
	root := t.TempDir()
	files := fstest.MapFS{"go.mod": {Data: []byte("module example.com/small\n\ngo 1.26.0\n")}}
	for _, program := range driver.Programs() {
		files["cmd/"+program+"/main.go"] = &fstest.MapFile{Data: []byte("package main\n\nvar version = \"dev\"\n\nfunc main() { println(version) }\n")}
	}
	if err := os.CopyFS(root, files); err != nil {
		t.Fatal(err)
	}
	return release{
		root: root, out: filepath.Join(t.TempDir(), "release"), version: "v1.2.3", revision: strings.Repeat("ab", 20),
		created: time.Unix(1_700_000_000, 0).UTC(), builderID: "https://example.com/builder",
	}
}

// must returns a value, or ends the test with an error.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestRelease_isReproducibleAndPushedWithItsReferrers(t *testing.T) {
	r, again := newRelease(t), newRelease(t)
	digest := must(r.write(t.Context()))(t)
	if got := read(t, r, digestFile); strings.TrimSpace(string(got)) != digest.String() {
		t.Errorf("%s contains %s, want %s", digestFile, got, digest)
	}
	must(again.write(t.Context()))(t)
	if out, err := exec.CommandContext(t.Context(), "diff", "--recursive", r.out, again.out).CombinedOutput(); err != nil {
		t.Errorf("two releases of the same source differ: %v\n%s", err, out)
	}
	repository := push(t, filepath.Join(r.out, layoutDir))
	index := must(remote.Index(repository.Tag(r.version)))(t)
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	manifest := must(index.IndexManifest())(t)
	if got := manifest.Annotations["org.opencontainers.image.revision"]; got != r.revision {
		t.Errorf("revision = %q, want %q", got, r.revision)
	}
	subjects := []v1.Hash{digest}
	for i, d := range manifest.Manifests {
		if i >= len(architectures()) || d.Platform == nil || d.Platform.Architecture != architectures()[i] {
			t.Fatalf("image %d is of platform %v, want %v", i, d.Platform, architectures())
		}
		checkImage(t, r, architectures()[i], must(index.Image(d.Digest))(t))
		file := r.sbomFile(architectures()[i])
		checkSBOM(t, d.Digest, read(t, r, file))
		checkReferrer(t, repository.Digest(d.Digest.String()), sbomType, read(t, r, file))
		subjects = append(subjects, d.Digest)
	}
	provenance := read(t, r, r.provenanceFile())
	checkProvenance(t, r, subjects, provenance)
	checkReferrer(t, repository.Digest(digest.String()), provenanceType, provenance)
}

func read(t *testing.T, r release, name string) []byte {
	t.Helper()
	return must(os.ReadFile(filepath.Join(r.out, name)))(t)
}

// push copies a layout with its referrers to a registry.
func push(t *testing.T, dir string) name.Repository {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	repository := must(name.NewRepository(strings.TrimPrefix(server.URL, "http://") + "/" + driver.Name))(t)
	tags := must(layout.ImageIndexFromPath(dir))(t)
	manifest := must(tags.IndexManifest())(t)
	for _, d := range manifest.Manifests {
		index := must(tags.ImageIndex(d.Digest))(t)
		if err := remote.WriteIndex(repository.Tag(d.Annotations[tagKey]), index); err != nil {
			t.Fatal(err)
		}
	}
	return repository
}

func checkImage(t *testing.T, r release, architecture string, img v1.Image) {
	t.Helper()
	config := must(img.ConfigFile())(t)
	labels := driver.Build{Version: r.version, Revision: r.revision}.Labels()
	if config.OS != "linux" || config.Architecture != architecture || config.Config.User != "65532:65532" || !config.Created.Equal(r.created) ||
		!maps.Equal(config.Config.Labels, labels) {
		t.Errorf("the configuration of the image for %s is %+v", architecture, config)
	}
	root := t.TempDir()
	extract := exec.CommandContext(t.Context(), "tar", "--extract", "--directory", root)
	extract.Stdin = mutate.Extract(img)
	if out, err := extract.CombinedOutput(); err != nil {
		t.Fatalf("extracting the image: %v\n%s", err, out)
	}
	var want []string
	for _, program := range driver.Programs() {
		want = append(want, driver.ImagePath(program))
		info := must(buildinfo.ReadFile(filepath.Join(root, driver.ImagePath(program))))(t)
		for _, setting := range []debug.BuildSetting{{Key: "GOARCH", Value: architecture}, {Key: "CGO_ENABLED", Value: "0"}, {Key: "-trimpath", Value: "true"}} {
			if !slices.Contains(info.Settings, setting) {
				t.Errorf("%s is built with %v, want %v", program, info.Settings, setting)
			}
		}
	}
	got := strings.Fields(string(must(exec.CommandContext(t.Context(), "find", root, "-type", "f", "-printf", "%P\n").Output())(t)))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the image for %s contains %v, want %v", architecture, got, want)
	}
}

// checkReferrer checks that exactly one document refers to an image or an index.
func checkReferrer(t *testing.T, subject name.Digest, kind types.MediaType, want []byte) {
	t.Helper()
	index := must(remote.Referrers(subject))(t)
	manifest := must(index.IndexManifest())(t)
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].ArtifactType != string(kind) {
		t.Fatalf("referrers of %s = %+v, want one %s", subject, manifest.Manifests, kind)
	}
	artifact := must(remote.Image(subject.Context().Digest(manifest.Manifests[0].Digest.String())))(t)
	layers := must(artifact.Layers())(t)
	content := must(layers[0].Compressed())(t)
	defer content.Close()
	if got := must(io.ReadAll(content))(t); !bytes.Equal(got, want) {
		t.Errorf("the %s in the registry is not the one in the file", kind)
	}
}

func checkSBOM(t *testing.T, digest v1.Hash, document []byte) {
	t.Helper()
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(document), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if image := bom.Metadata.Component; !strings.Contains(image.PackageURL, digest.Hex) {
		t.Errorf("the SBOM is of %s, want %s", image.PackageURL, digest)
	}
	refs := []string{bom.Metadata.Component.BOMRef}
	var names []string
	for _, c := range *bom.Components {
		if slices.Contains(refs, c.BOMRef) {
			t.Errorf("the SBOM lists %s twice", c.BOMRef)
		}
		refs, names = append(refs, c.BOMRef), append(names, c.Name)
	}
	if want := append(driver.Programs(), "stdlib"); !slices.Equal(names, want) {
		t.Errorf("the SBOM lists %v, want %v", names, want)
	}
	for _, d := range *bom.Dependencies {
		for _, ref := range append(*d.Dependencies, d.Ref) {
			if !slices.Contains(refs, ref) {
				t.Errorf("the SBOM does not list %s", ref)
			}
		}
	}
}

func checkProvenance(t *testing.T, r release, subjects []v1.Hash, document []byte) {
	t.Helper()
	var statement intoto.Statement
	if err := protojson.Unmarshal(document, &statement); err != nil {
		t.Fatal(err)
	}
	var provenance slsa.Provenance
	predicate := must(protojson.Marshal(statement.GetPredicate()))(t)
	if err := protojson.Unmarshal(predicate, &provenance); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(statement.Validate(), provenance.Validate()); err != nil {
		t.Error(err)
	}
	var got []v1.Hash
	for _, s := range statement.GetSubject() {
		got = append(got, v1.Hash{Algorithm: "sha256", Hex: s.GetDigest()["sha256"]})
	}
	if !slices.Equal(got, subjects) {
		t.Errorf("the provenance is of %v, want %v", got, subjects)
	}
	source, builder := provenance.GetBuildDefinition().GetResolvedDependencies()[0], provenance.GetRunDetails().GetBuilder()
	if source.GetDigest()["gitCommit"] != r.revision || builder.GetId() != r.builderID {
		t.Errorf("the provenance is of source %v and builder %v", source, builder)
	}
}
