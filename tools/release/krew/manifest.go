// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package krew

import (
	"errors"

	"sigs.k8s.io/yaml"

	"github.com/space-dra/space-dra-driver/tools/release/driver"
)

// plugin is krew's Plugin, as far as ours has it.
type plugin struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
	Spec       spec     `json:"spec"`
}

type metadata struct {
	Name string `json:"name"`
}

type spec struct {
	Version          string     `json:"version,omitempty"`
	Homepage         string     `json:"homepage"`
	ShortDescription string     `json:"shortDescription"`
	Description      string     `json:"description"`
	Caveats          string     `json:"caveats,omitempty"`
	Platforms        []platform `json:"platforms,omitempty"`
}

type platform struct {
	Selector selector    `json:"selector"`
	URI      string      `json:"uri"`
	SHA256   string      `json:"sha256"`
	Bin      string      `json:"bin"`
	Files    []operation `json:"files"`
}

type selector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

type operation struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// archive is one that was made.
type archive struct {
	system, architecture string
	// program is the plugin's file in it.
	program string
	sha256  string
}

// manifest completes the manifest.
func manifest(head []byte, version string, archives []archive) ([]byte, error) {
	var p plugin
	if err := yaml.UnmarshalStrict(head, &p); err != nil {
		return nil, err
	}
	if p.Spec.Version != "" || len(p.Spec.Platforms) > 0 {
		return nil, errors.New("it has a version or platforms, which are for the release to say")
	}
	p.Spec.Version = version
	for _, a := range archives {
		p.Spec.Platforms = append(p.Spec.Platforms, platform{
			Selector: selector{MatchLabels: map[string]string{"os": a.system, "arch": a.architecture}},
			URI:      driver.Source + "/releases/download/" + version + "/" + ArchiveFile(a.system+"/"+a.architecture),
			SHA256:   a.sha256,
			Bin:      a.program,
			Files:    []operation{{From: a.program, To: "."}, {From: license, To: "."}},
		})
	}
	return yaml.Marshal(p)
}
