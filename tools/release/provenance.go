// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/space-dra/space-dra-driver/tools/release/driver"
)

// object is a JSON object. Its fields are written in the order of their names.
type object = map[string]any

// provenance describes how the images were built from which commit, as an in-toto statement with SLSA's
// predicate. It contains neither the time nor the number of the build, so that it is reproducible.
func (r release) provenance(index v1.Hash, platforms []platform) ([]byte, error) {
	subjects := []object{resource(driver.Name, index)}
	var names []string
	for _, p := range platforms {
		names = append(names, "linux/"+p.Architecture)
		subjects = append(subjects, resource(driver.Name+"-linux-"+p.Architecture, p.digest))
	}
	program := platforms[0].Program(driver.Programs()[0])
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("read the version of Go that built %s: %w", program, err)
	}
	statement := object{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       subjects,
		"predicateType": "https://slsa.dev/provenance/v1",
		"predicate": object{
			"buildDefinition": object{
				// The page describes the parameters.
				"buildType":          driver.Source + "/blob/main/docs/release.md#provenance",
				"externalParameters": object{"source": driver.Source, "revision": r.revision, "version": r.version, "platforms": names},
				"internalParameters": object{"ldflags": driver.LDFlags + r.version, "sourceDateEpoch": r.created.Unix()},
				"resolvedDependencies": []object{{
					"uri": "git+" + driver.Source + "@" + r.revision, "digest": object{"gitCommit": r.revision},
				}},
			},
			"runDetails": object{"builder": object{"id": r.builderID, "version": object{"go": info.GoVersion}}},
		},
	}
	document, err := json.MarshalIndent(statement, "", "  ")
	return append(document, '\n'), err
}

func resource(name string, digest v1.Hash) object {
	return object{"name": name, "digest": object{digest.Algorithm: digest.Hex}}
}
