// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package krew

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// source is a repository with a program as small as can be.
func source(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	real, err := os.ReadFile(filepath.Join("../../..", head))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"go.mod":                    "module example.com/small\n\ngo 1.25\n",
		"cmd/kubectl-space/main.go": "package main\n\nvar version string\n\nfunc main() { println(version) }\n",
		license:                     "the terms",
		head:                        string(real),
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func release(t *testing.T) string {
	t.Helper()
	o := Options{Root: source(t), Out: t.TempDir(), Version: "v0.1.0", Created: time.Unix(1_700_000_000, 0), Platforms: Platforms(), Log: t.Logf}
	if err := Write(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return o.Out
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// The rules are those of krew's own validation.
func TestTheManifestIsAsKrewWantsItAndFitsTheArchives(t *testing.T) {
	out := release(t)
	var p plugin
	if err := yaml.UnmarshalStrict(read(t, out, ManifestFile), &p); err != nil {
		t.Fatal(err)
	}
	if p.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || p.Kind != "Plugin" || p.Metadata.Name+".yaml" != ManifestFile {
		t.Errorf("it is %s, %s, of %q", p.APIVersion, p.Kind, p.Metadata.Name)
	}
	if p.Spec.Version != "v0.1.0" || p.Spec.ShortDescription == "" || strings.ContainsAny(p.Spec.ShortDescription, "\r\n") ||
		p.Spec.Description == "" || !strings.HasPrefix(p.Spec.Homepage, "https://") {
		t.Errorf("version, descriptions or homepage are not as they should be: %+v", p.Spec)
	}
	if len(p.Spec.Platforms) != len(Platforms()) {
		t.Errorf("it has %d platforms", len(p.Spec.Platforms))
	}
	seen := map[string]bool{}
	for _, platform := range p.Spec.Platforms {
		labels := platform.Selector.MatchLabels
		name := labels["os"] + "/" + labels["arch"]
		if len(labels) != 2 || seen[name] {
			t.Errorf("the platform %v is there twice, or has other labels than os and arch", labels)
		}
		seen[name] = true
		archive := read(t, out, ArchiveFile(name))
		if sum := sha256.Sum256(archive); platform.SHA256 != hex.EncodeToString(sum[:]) || !regexp.MustCompile("^[0-9a-f]{64}$").MatchString(platform.SHA256) {
			t.Errorf("%s: the checksum %s is not the archive's", name, platform.SHA256)
		}
		if !strings.HasSuffix(platform.URI, "/v0.1.0/"+ArchiveFile(name)) {
			t.Errorf("%s: the address is %s", name, platform.URI)
		}
		modes := unpack(t, archive)
		for _, f := range platform.Files {
			if _, packed := modes[f.From]; !packed || f.To != "." {
				t.Errorf("%s: %s is not in the archive, or goes to %q", name, f.From, f.To)
			}
		}
		if modes[platform.Bin] != 0o755 || modes[license] != 0o644 || len(modes) != 2 {
			t.Errorf("%s: program %s, and in the archive are %v", name, platform.Bin, modes)
		}
		if strings.HasSuffix(platform.Bin, ".exe") != (labels["os"] == "windows") {
			t.Errorf("%s: the program is called %s", name, platform.Bin)
		}
	}
}

func TestArchivesMadeInTwoPlacesAreTheSame(t *testing.T) {
	a, b := release(t), release(t)
	for _, platform := range Platforms() {
		if !bytes.Equal(read(t, a, ArchiveFile(platform)), read(t, b, ArchiveFile(platform))) {
			t.Errorf("the archives for %s differ", platform)
		}
	}
	if !bytes.Equal(read(t, a, ManifestFile), read(t, b, ManifestFile)) {
		t.Error("the manifests differ")
	}
}

func TestAManifestThatSaysWhatIsTheReleasesToSayIsRefused(t *testing.T) {
	if _, err := manifest([]byte("spec: {version: v0.0.1}"), "v0.1.0", nil); err == nil {
		t.Error("it was taken")
	}
}

// unpack returns the mode of each file.
func unpack(t *testing.T, archive []byte) map[string]int64 {
	t.Helper()
	compressed, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]int64{}
	for r := tar.NewReader(compressed); ; {
		header, err := r.Next()
		if err == io.EOF {
			return modes
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Uname != "" || !header.ModTime.Equal(time.Unix(1_700_000_000, 0)) {
			t.Errorf("%s tells who packed it, or when: %+v", header.Name, header)
		}
		modes[header.Name] = header.Mode
	}
}
