// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"fmt"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/space-dra/space-dra-driver/tools/release/driver"
)

// sbom lists the programs of an image, and the modules in their build information. It has no serial
// number, so that it is reproducible.
func sbom(build driver.Build, digest v1.Hash) ([]byte, error) {
	image := component(cdx.ComponentTypeContainer, driver.Name, build.Version,
		"pkg:oci/"+driver.Name+"@"+url.QueryEscape(digest.String())+"?arch="+build.Architecture)
	image.ExternalReferences = &[]cdx.ExternalReference{{Type: cdx.ERTypeVCS, URL: driver.Source, Comment: "commit " + build.Revision}}

	var programs, libraries []cdx.Component
	var dependencies []cdx.Dependency
	for _, name := range driver.Programs() {
		content, err := os.ReadFile(build.Program(name))
		if err != nil {
			return nil, err
		}
		info, err := buildinfo.Read(bytes.NewReader(content))
		if err != nil {
			return nil, fmt.Errorf("read the modules of %s: %w", name, err)
		}
		program := component(cdx.ComponentTypeApplication, name, build.Version, modulePURL(info.Main.Path, build.Version)+"#cmd/"+name)
		program.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: fmt.Sprintf("%x", sha256.Sum256(content))}}
		programs = append(programs, program)

		modules := modules(info)
		libraries = append(libraries, modules...)
		dependencies = append(dependencies, dependency(program, modules))
	}
	byRef := func(a, b cdx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) }
	slices.SortFunc(libraries, byRef)
	libraries = slices.CompactFunc(libraries, func(a, b cdx.Component) bool { return byRef(a, b) == 0 })
	components := slices.Concat(programs, libraries)
	dependencies = append(dependencies, dependency(image, programs))

	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Timestamp: build.Created.Format(time.RFC3339), Component: &image}
	bom.Components, bom.Dependencies = &components, &dependencies
	var out bytes.Buffer
	if err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// modules returns a program's dependencies and the standard library.
func modules(info *debug.BuildInfo) []cdx.Component {
	// Names of experiments can follow the version of Go.
	version, _, _ := strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), " ")
	var all []cdx.Component
	for _, m := range append(info.Deps, &debug.Module{Path: "stdlib", Version: version}) {
		if m.Replace != nil {
			m = m.Replace
		}
		all = append(all, component(cdx.ComponentTypeLibrary, m.Path, m.Version, modulePURL(m.Path, m.Version)))
	}
	return all
}

func component(kind cdx.ComponentType, name, version, purl string) cdx.Component {
	return cdx.Component{BOMRef: purl, Type: kind, Name: name, Version: version, PackageURL: purl}
}

func dependency(of cdx.Component, on []cdx.Component) cdx.Dependency {
	var refs []string
	for _, c := range on {
		refs = append(refs, c.BOMRef)
	}
	return cdx.Dependency{Ref: of.BOMRef, Dependencies: &refs}
}

func modulePURL(path, version string) string {
	return "pkg:golang/" + path + "@" + url.QueryEscape(version)
}
