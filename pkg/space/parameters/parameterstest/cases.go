// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package parameterstest has parameters that the driver takes and such that it
// refuses, for all tests that are about what users can say.
package parameterstest

import (
	"fmt"
	"strings"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// Case is what a DeviceClass and a ResourceClaim have for opaque parameters.
type Case struct {
	// Name says what is special about it.
	Name string
	// Class and Claim are JSON. Empty: none.
	Class, Claim string
	// Words are in the error that the case is refused with. None: it is accepted.
	Words []string
}

// Class returns a SpaceClassConfig with these fields, written as in a JSON object.
func Class(fields string) string { return object(spaceapi.SpaceClassConfigKind, fields) }

// Claim returns a SpaceClaimConfig with these fields, written as in a JSON object.
func Claim(fields string) string { return object(spaceapi.SpaceClaimConfigKind, fields) }

func object(kind, fields string) string {
	if fields != "" {
		fields = "," + fields
	}
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q%s}`, spaceapi.APIVersion, kind, fields)
}

// Refused returns cases that are refused, with the driver under its default name.
func Refused() []Case {
	var out []Case
	for _, refused := range [][]Case{unreadable(), classes(), limits(), claims(), mountPaths(), pairs()} {
		out = append(out, refused...)
	}
	return out
}

func class(name, fields string, words ...string) Case {
	return Case{Name: "class: " + name, Class: Class(fields), Words: append([]string{"the DeviceClass has parameters for driver " + spaceapi.DefaultDriverName}, words...)}
}

func claim(name, fields string, words ...string) Case {
	return Case{Name: "claim: " + name, Claim: Claim(fields), Words: append([]string{"the ResourceClaim has parameters for driver " + spaceapi.DefaultDriverName}, words...)}
}

// either makes a case for each kind, for fields that both have.
func either(name, fields string, words ...string) []Case {
	return []Case{class(name, fields, words...), claim(name, fields, words...)}
}

// many are fields of a map, one more than it may have.
func many(value string) string {
	var out []string
	for i := range 65 {
		out = append(out, fmt.Sprintf(`"k%d":%s`, i, value))
	}
	return "{" + strings.Join(out, ",") + "}"
}

func unreadable() []Case {
	const inClass, inClaim = "the DeviceClass has", "the ResourceClaim has"
	foreign := `{"apiVersion":"example.com/v1","kind":"Mystery","colour":"red"}`
	other := strings.Replace(Claim(""), "v1alpha1", "v9", 1)
	out := []Case{
		{"class: no JSON", `{"kind":`, "", []string{inClass, "cannot be read"}},
		{"claim: no JSON", "", `{"kind":`, []string{inClaim, "cannot be read"}},
		{"class: a list", `[]`, "", []string{inClass, "cannot be read"}},
		{"claim: a kind that is a number", "", `{"kind":7}`, []string{inClaim, `of unknown kind 7, apiVersion ""`}},
		{"claim: something after the object", "", Claim("") + `{}`, []string{inClaim, "cannot be read"}},
		{"class: an empty object", `{}`, "", []string{inClass, `of unknown kind "", apiVersion ""`}},
		{"claim: null", "", `null`, []string{inClaim, `of unknown kind "", apiVersion ""`}},
		{"class: of unknown kind", foreign, "", []string{inClass, `of unknown kind "Mystery", apiVersion "example.com/v1"`, "SpaceClassConfig", "SpaceClaimConfig"}},
		{"claim: of unknown kind", "", foreign, []string{inClaim, `of unknown kind "Mystery", apiVersion "example.com/v1"`}},
		{"claim: of another version", "", other, []string{inClaim, `of unknown kind "SpaceClaimConfig", apiVersion "space.resource.example.com/v9"`}},
		{"claim: the kind in other case", "", strings.Replace(Claim(""), `"kind"`, `"Kind"`, 1), []string{inClaim, `of unknown kind ""`}},
		{"class: a claim's kind", Claim(""), "", []string{inClass, "of kind SpaceClaimConfig, which only a ResourceClaim can have"}},
		{"claim: a class's kind", "", Class(""), []string{inClaim, "of kind SpaceClassConfig, which only a DeviceClass can have"}},
		class("a field of the claim's kind", `"inCluster":true`, `unknown field "inCluster"`),
		claim("a field of the class's kind", `"retain":"1h"`, `unknown field "retain"`),
		class("a field twice", `"retain":"8h","retain":"9h"`, `duplicate field "retain"`),
		claim("a field twice", `"inCluster":true,"inCluster":false`, `duplicate field "inCluster"`),
		class("the kind twice", `"kind":"SpaceClassConfig"`, `duplicate field "kind"`),
		class("an unknown field in a field", `"copy":{"namespace":"a","secrets":["b"],"Secrets":["c"]}`, `unknown field "copy.Secrets"`),
		class("a limit's field in other case", `"limitRange":[{"type":"Pod","Max":{"cpu":"1"}}]`, `unknown field "limitRange[0].Max"`),
		class("many unknown fields with long names", fmt.Sprintf(`"a%[1]s":1,"b%[1]s":2,"c%[1]s":3,"d%[1]s":4`, strings.Repeat("x", 2000)), `unknown field "axxx`, "; and 1 more"),
		class("text for a truth", `"nestedSpaces":"yes"`, `nestedSpaces: Invalid value: "yes"`),
		claim("a number for a text", `"clusterRole":7`, `clusterRole: Invalid value: 7: must be a string`),
		class("a quota of text", `"resourceQuota":{"pods":"1","cpu":"lots"}`, `resourceQuota[cpu]: Invalid value: "lots"`),
		claim("a quota of text", `"resourceQuota":{"pods":"1","cpu":"lots"}`, `resourceQuota[cpu]: Invalid value: "lots"`),
		class("a text for a list", `"clusterWideRoles":"view"`, `clusterWideRoles: Invalid value: "view"`),
	}
	out = append(out, either("an unknown field", `"maxLivetime":"8h"`, `unknown field "maxLivetime"`)...)
	out = append(out, either("a field in other case", `"MaxLifetime":"8h"`, `unknown field "MaxLifetime"`)...)
	out = append(out, either("no duration", `"maxLifetime":"soon"`, `maxLifetime: Invalid value: "soon"`)...)
	out = append(out, either("a number for a duration", `"maxLifetime":60`, `maxLifetime: Invalid value: 60: must be a duration`)...)
	out = append(out, either("a label that is a number", `"labels":{"a":"b","c":7}`, `labels[c]: Invalid value: 7: must be a string`)...)
	out = append(out, either("a label without a value", `"labels":{"a":null}`, `labels[a]: Invalid value: null: must be a string`)...)
	out = append(out, either("a quota without a value", `"resourceQuota":{"pods":null}`, `resourceQuota[pods]: Invalid value: null: must be a quantity`)...)
	for _, value := range []string{`"1e1000000000"`, `1e300`, `"-1E+00999999999"`, `"1.5e-1000000000"`} {
		out = append(out, either("a quantity too large to compare: "+value, `"resourceQuota":{"cpu":`+value+`}`, "resourceQuota[cpu]: Invalid value: ", "must be a quantity, such as 500m, 2 or 8Gi; an exponent has at most two digits")...)
	}
	return append(out,
		class("a limit too large to compare", `"limitRange":[{"type":"Pod","max":{"cpu":"1e1000000000"}}]`, "limitRange[0].max[cpu]: Invalid value: ", "exponent"),
		class("a quantity too large to compare, and another", `"resourceQuota":{"cpu":"1e1000000000"},"resourceQuota":{}`, `duplicate field "resourceQuota"`))
}
