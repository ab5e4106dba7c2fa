// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/space-dra/space-dra-driver/tools/release/driver"
)

// sbom lists what an image is made of, as Go wrote it into the programs, and says
// which Go built them.
func sbom(build driver.Build, digest v1.Hash) ([]byte, string, error) {
	imageRef := packageURL("oci", driver.Name, digest.String(), "arch", build.Architecture)
	libraries := map[string]cdx.Component{}
	var components []cdx.Component
	var dependencies []cdx.Dependency
	var programRefs []string
	var goVersion string
	for _, program := range driver.Programs() {
		info, err := buildinfo.ReadFile(build.Program(program))
		if err != nil {
			return nil, "", fmt.Errorf("reading what %s is made of: %w", program, err)
		}
		sum, err := sum(build.Program(program))
		if err != nil {
			return nil, "", err
		}
		goVersion = info.GoVersion
		refs := []string{}
		for _, m := range modules(info) {
			c := library(m)
			libraries[c.BOMRef] = c
			refs = append(refs, c.BOMRef)
		}
		slices.Sort(refs)
		purl := packageURL("golang", info.Main.Path, build.Version, "", "") + "#cmd/" + program
		components = append(components, cdx.Component{
			BOMRef: purl, Type: cdx.ComponentTypeApplication, Name: program, Version: build.Version, PackageURL: purl,
			Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum.Hex}},
			Properties: &[]cdx.Property{{Name: "space-dra-driver:path", Value: driver.ImagePath(program)}},
		})
		programRefs = append(programRefs, purl)
		dependencies = append(dependencies, cdx.Dependency{Ref: purl, Dependencies: &refs})
	}
	names := make([]string, 0, len(libraries))
	for name := range libraries {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		components = append(components, libraries[name])
	}

	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{
		Timestamp: build.Created.UTC().Format("2006-01-02T15:04:05Z"),
		Component: &cdx.Component{
			BOMRef: imageRef, Type: cdx.ComponentTypeContainer, Name: driver.Name, Version: build.Version, PackageURL: imageRef,
			ExternalReferences: &[]cdx.ExternalReference{{Type: cdx.ERTypeVCS, URL: driver.Source, Comment: "commit " + build.Revision}},
		},
	}
	bom.Components = &components
	all := append([]cdx.Dependency{{Ref: imageRef, Dependencies: &programRefs}}, dependencies...)
	bom.Dependencies = &all
	var out bytes.Buffer
	if err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return nil, "", fmt.Errorf("writing the SBOM: %w", err)
	}
	return out.Bytes(), goVersion, nil
}

// modules are a program's dependencies and Go's library.
func modules(info *debug.BuildInfo) []*debug.Module {
	// Experiments of the toolchain follow its version.
	version, _, _ := strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), " ")
	all := []*debug.Module{{Path: "stdlib", Version: version}}
	for _, m := range info.Deps {
		for m.Replace != nil {
			m = m.Replace
		}
		all = append(all, m)
	}
	return all
}

func library(m *debug.Module) cdx.Component {
	purl := packageURL("golang", m.Path, m.Version, "", "")
	c := cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: purl}
	if m.Sum != "" {
		c.Properties = &[]cdx.Property{{Name: "go:sum", Value: m.Sum}}
	}
	return c
}

// packageURL writes a purl; Go's modules keep their slashes.
func packageURL(kind, name, version, key, value string) string {
	purl := "pkg:" + kind + "/" + name + "@" + url.QueryEscape(version)
	if key != "" {
		purl += "?" + key + "=" + url.QueryEscape(value)
	}
	return purl
}

func sum(file string) (v1.Hash, error) {
	f, err := os.Open(file)
	if err != nil {
		return v1.Hash{}, err
	}
	defer f.Close()
	digest, _, err := v1.SHA256(f)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("reading %s: %w", file, err)
	}
	return digest, nil
}
