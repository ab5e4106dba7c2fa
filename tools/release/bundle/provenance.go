// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/space-dra/space-dra-driver/tools/release/driver"
)

const (
	predicateType = "https://slsa.dev/provenance/v1"
	// buildType is where it is written what the parameters mean.
	buildType = driver.Source + "/blob/main/docs/release.md#provenance"
)

// provenance says, as an in-toto statement with SLSA's predicate, of which commit
// the images were made and how. It has no time of the build and no number of it: two
// builds of one commit say the same.
func (o Options) provenance(index v1.Descriptor, platforms []platform) ([]byte, error) {
	var architectures []any
	subject := []*intoto.ResourceDescriptor{{Name: driver.Name, Digest: digestSet(index.Digest)}}
	var byproducts []*intoto.ResourceDescriptor
	for _, p := range platforms {
		architectures = append(architectures, "linux/"+p.architecture)
		subject = append(subject, &intoto.ResourceDescriptor{Name: driver.Name + "-linux-" + p.architecture, Digest: digestSet(p.descriptor.Digest)})
		digest, _, err := v1.SHA256(bytes.NewReader(p.sbom))
		if err != nil {
			return nil, fmt.Errorf("writing the provenance: %w", err)
		}
		byproducts = append(byproducts, &intoto.ResourceDescriptor{
			Name: p.sbomFile(o.Version), MediaType: string(SBOMType), Digest: digestSet(digest),
		})
	}
	external, err := structpb.NewStruct(map[string]any{
		"source": driver.Source, "revision": o.Revision, "version": o.Version, "platforms": architectures,
	})
	if err != nil {
		return nil, fmt.Errorf("writing the provenance: %w", err)
	}
	internal, err := structpb.NewStruct(map[string]any{
		"ldflags": driver.LDFlags + o.Version, "sourceDateEpoch": float64(o.Created.Unix()),
	})
	if err != nil {
		return nil, fmt.Errorf("writing the provenance: %w", err)
	}
	goVersion := platforms[0].goVersion
	predicate := &slsa.Provenance{
		BuildDefinition: &slsa.BuildDefinition{
			BuildType:          buildType,
			ExternalParameters: external,
			InternalParameters: internal,
			ResolvedDependencies: []*intoto.ResourceDescriptor{{
				Uri:    "git+" + driver.Source + "@" + o.Revision,
				Digest: map[string]string{"gitCommit": o.Revision},
			}},
		},
		RunDetails: &slsa.RunDetails{
			Builder:    &slsa.Builder{Id: o.BuilderID, Version: map[string]string{"go": goVersion}},
			Byproducts: byproducts,
		},
	}
	if err := predicate.Validate(); err != nil {
		return nil, fmt.Errorf("checking the provenance: %w", err)
	}
	data, err := protojson.Marshal(predicate)
	if err != nil {
		return nil, fmt.Errorf("writing the provenance: %w", err)
	}
	statement := &intoto.Statement{Type: intoto.StatementTypeUri, Subject: subject, PredicateType: predicateType, Predicate: &structpb.Struct{}}
	if err := protojson.Unmarshal(data, statement.Predicate); err != nil {
		return nil, fmt.Errorf("writing the provenance: %w", err)
	}
	if err := statement.Validate(); err != nil {
		return nil, fmt.Errorf("checking the provenance: %w", err)
	}
	if data, err = protojson.Marshal(statement); err != nil {
		return nil, fmt.Errorf("writing the provenance: %w", err)
	}
	return normal(data)
}

func digestSet(h v1.Hash) map[string]string { return map[string]string{h.Algorithm: h.Hex} }

// normal sorts the keys and sets the white space, which protojson varies on purpose.
func normal(data []byte) ([]byte, error) {
	var document any
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("writing the provenance: %w", err)
	}
	data, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the provenance: %w", err)
	}
	return append(data, '\n'), nil
}
