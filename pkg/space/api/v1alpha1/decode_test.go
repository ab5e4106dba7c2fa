// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// object returns an object of a kind with these fields, written as in JSON.
func object(kind, fields string) string {
	if fields != "" {
		fields = "," + fields
	}
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q%s}`, spaceapi.APIVersion, kind, fields)
}

func decodeClass(raw string) field.ErrorList {
	_, errs := spaceapi.DecodeSpaceClassConfig([]byte(raw), spaceapi.DefaultDriverName)
	return errs
}

func decodeClaim(raw string) field.ErrorList {
	_, errs := spaceapi.DecodeSpaceClaimConfig([]byte(raw), spaceapi.DefaultDriverName)
	return errs
}

// wantErrors checks that the errors are these, each of which has such a prefix.
func wantErrors(t *testing.T, got field.ErrorList, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("got %d errors, want %d: %v", len(got), len(want), got)
		return
	}
	for i, err := range got {
		if !strings.HasPrefix(err.Error(), want[i]) {
			t.Errorf("error %d: got  %s\nwant %s", i, err, want[i])
		}
	}
}

func TestDecode_rejectsUnreadableParameters(t *testing.T) {
	for raw, want := range map[string]string{
		`{"kind":`:                            "<nil>: Invalid value: unexpected end of JSON input",
		`[]`:                                  "<nil>: Invalid value: ",
		`null`:                                `apiVersion: Unsupported value: ""`,
		`{}`:                                  `apiVersion: Unsupported value: ""`,
		`{"kind":7}`:                          "<nil>: Invalid value: ",
		object("SpaceClaimConfig", "") + `{}`: "<nil>: Invalid value: ",
		object("Mystery", ""):                 `kind: Unsupported value: "Mystery": supported values: "SpaceClaimConfig"`,
		object("SpaceClassConfig", ""):        `kind: Unsupported value: "SpaceClassConfig": supported values: "SpaceClaimConfig"`,
		strings.Replace(object("SpaceClaimConfig", ""), "kind", "Kind", 1):          `kind: Unsupported value: ""`,
		strings.Replace(object("SpaceClaimConfig", ""), "v1alpha1", "v9", 1):        `apiVersion: Unsupported value: "space.resource.example.com/v9"`,
		strings.Replace(object("SpaceClaimConfig", `"maxLifetime":7`), "v1", "", 1): `apiVersion: Unsupported value`,
	} {
		t.Run(raw, func(t *testing.T) {
			errs := decodeClaim(raw)
			if len(errs) == 0 || !strings.HasPrefix(errs[0].Error(), want) {
				t.Errorf("got %v, want %s", errs, want)
			}
		})
	}
}

func TestDecode_rejectsUnknownAndDuplicateFields(t *testing.T) {
	for fields, want := range map[string][]string{
		`"maxLivetime":"8h"`: {`maxLivetime: Forbidden: unknown field`},
		`"MaxLifetime":"8h"`: {`MaxLifetime: Forbidden: unknown field`},
		`"inCluster":true`:   {`inCluster: Forbidden: unknown field`},
		`"retention":{"period":"8h"},"retention":{"period":"9h"}`:                        {`retention: Forbidden: duplicate field`},
		`"kind":"SpaceClassConfig"`:                                                      {`kind: Forbidden: duplicate field`},
		`"labels":{"a":"b","a":"c"}`:                                                     {`labels.a: Forbidden: duplicate field`},
		`"copyFrom":{"namespace":"a","secrets":[{"name":"b"}],"Secrets":[{"name":"c"}]}`: {`copyFrom.Secrets: Forbidden: unknown field`},
		`"limitRange":{"limits":[{"type":"Pod","Max":{"cpu":"1"}}]}`:                     {`limitRange.limits[0].Max: Forbidden: unknown field`},
		`"allowNestedSpaces":"yes"`:                                                      {`allowNestedSpaces: Invalid value: `},
		`"namespacePrefix":7`:                                                            {`namespacePrefix: Invalid value: `},
		`"clusterWideRoles":"view"`:                                                      {`clusterWideRoles: Invalid value: `},
		`"labels":["a"]`:                                                                 {`labels: Invalid value: `},
		`"labels":{"a":7}`:                                                               {`labels: Invalid value: `},
		`"podSecurity":{"enforce":true}`:                                                 {`podSecurity.enforce: Invalid value: `},
		`"maxLifetime":"soon"`:                                                           {`maxLifetime: Invalid value: time: invalid duration "soon"`},
		`"maxLifetime":60`:                                                               {`maxLifetime: Invalid value: `},
		`"resourceQuota":{"hard":{"cpu":"lots"}}`:                                        {`resourceQuota: Invalid value: quantities must match`},
		`"exclusive":1,"network":{"mode":"Closed"},"retention":{"period":"0s"},"unknown":null`: {`exclusive: Invalid value`, `unknown: Forbidden`, `network.mode: Unsupported value`, `retention.period: Invalid value`},
		// A field that could not be decoded is not validated.
		`"copyFrom":{"namespace":7}`: {`copyFrom.namespace: Invalid value: `},
	} {
		t.Run(fields, func(t *testing.T) { wantErrors(t, decodeClass(object(spaceapi.SpaceClassConfigKind, fields)), want...) })
	}
}

// It takes minutes and gigabytes to parse such quantities or to compare them.
func TestDecode_rejectsHugeQuantities(t *testing.T) {
	for _, quantity := range []string{`"1e1000000000"`, `1e300`, `"-1E+00999999999"`, `"1.5e-1000000000"`, `"1\u00651000000000"`, `"12345678901234567890123e1000000000"`} {
		quota := `"resourceQuota":{"hard":{"pods":"1","cpu":` + quantity + `}}`
		for _, errs := range []field.ErrorList{
			decodeClass(object(spaceapi.SpaceClassConfigKind, quota)),
			decodeClaim(object(spaceapi.SpaceClaimConfigKind, quota)),
			decodeClass(object(spaceapi.SpaceClassConfigKind, `"limitRange":{"limits":[{"type":"Pod","max":{"cpu":`+quantity+`}}]}`)),
		} {
			if len(errs) != 1 || errs[0].Detail != "an exponent has at most two digits" {
				t.Errorf("%s: got %v", quantity, errs)
			}
		}
		wantErrors(t, decodeClass(object(spaceapi.SpaceClassConfigKind, quota+`,"resourceQuota":{"hard":{}}`)), "resourceQuota: Forbidden: duplicate field")
	}
	wantErrors(t, decodeClass(object(spaceapi.SpaceClassConfigKind, `"annotations":{"a":"1e1000000000"},"env":{"resourceQuota":"1e1000000000"}`)))
}
