// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"fmt"
	"strings"
	"testing"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// access returns a class whose access has an entry for this subject.
func access(subject string) string {
	return object(spaceapi.SpaceClassConfigKind, `"access":[{"subjects":[`+subject+`],"clusterRole":"view"}]`)
}

func TestValidateAccess_rejectsInvalidEntries(t *testing.T) {
	const jane = `{"kind":"User","name":"jane"}`
	for entry, want := range map[string]string{
		`{"clusterRole":"view"}`:                                                                                          `access[0].subjects: Required value`,
		`{"subjects":[` + jane + `],"clusterRole":""}`:                                                                    `access[0].clusterRole: Required value`,
		`{"subjects":[` + jane + `],"clusterRole":"a/b"}`:                                                                 `access[0].clusterRole: Invalid value: "a/b"`,
		`{"subjects":[` + jane + `],"clusterRole":"a","when":"x"}`:                                                        `access[0].when: Unsupported value: "x": supported values: "Ready", "Retained", "Always"`,
		`{"subjects":[` + jane + strings.Repeat(`,`+jane, 64) + `],"clusterRole":"a"}`:                                    `access[0].subjects: Too many: 65`,
		`{"subjects":[` + jane + `],"clusterRole":"a"}` + strings.Repeat(`,{"subjects":[`+jane+`],"clusterRole":"a"}`, 8): `access: Too many: 9: must have at most 8 items`,
	} {
		t.Run(entry, func(t *testing.T) {
			wantErrors(t, decodeClass(object(spaceapi.SpaceClassConfigKind, `"access":[`+entry+`]`)), want)
		})
	}
}

func TestValidateAccess_rejectsInvalidSubjects(t *testing.T) {
	cases := map[string]string{
		`{"kind":"Role","name":"a"}`:                                                                  `kind: Unsupported value: "Role": supported values: "User", "Group", "ServiceAccount"`,
		`{"kind":"User","name":""}`:                                                                   `name: Required value`,
		`{"kind":"User","name":"a","namespace":"b"}`:                                                  `namespace: Forbidden`,
		`{"kind":"User","name":"a","apiGroup":"b"}`:                                                   `apiGroup: Unsupported value: "b"`,
		`{"kind":"ServiceAccount","name":"a"}`:                                                        `namespace: Invalid value: ""`,
		`{"kind":"ServiceAccount","name":"A","namespace":"b"}`:                                        `name: Invalid value: "A"`,
		`{"kind":"ServiceAccount","name":"a","namespace":"b","apiGroup":"rbac.authorization.k8s.io"}`: `apiGroup: Unsupported value`,
	}
	for _, name := range []string{`a\"b`, `a\\b`, `a\nb`, `a<b`, `a&b`} {
		cases[fmt.Sprintf(`{"kind":"Group","name":"%s"}`, name)] = "name: Invalid value: "
	}
	// Of everyone, of all ServiceAccounts, or of components of Kubernetes.
	for kind, names := range map[string][]string{
		"Group": {"system:masters", "system:authenticated", "system:unauthenticated", "system:serviceaccounts", "system:serviceaccounts:", "system:nodes"},
		"User":  {"system:anonymous", "system:kube-scheduler", "system:serviceaccount:a:b", "system:serviceaccounts:a"},
	} {
		for _, name := range names {
			cases[fmt.Sprintf(`{"kind":%q,"name":%q}`, kind, name)] = fmt.Sprintf("name: Invalid value: %q: must not begin with system:", name)
		}
	}
	for subject, want := range cases {
		t.Run(subject, func(t *testing.T) { wantErrors(t, decodeClass(access(subject)), "access[0].subjects[0]."+want) })
	}
}

func TestValidateAccess_acceptsValidSubjects(t *testing.T) {
	for _, subject := range []string{
		`{"kind":"User","name":"https://idp.example.com#jane"}`, `{"kind":"User","name":"CN=Jané D,OU=r_d","apiGroup":"rbac.authorization.k8s.io"}`,
		`{"kind":"Group","name":"oidc:team-a"}`, `{"kind":"Group","name":"system:serviceaccounts:ci"}`, `{"kind":"ServiceAccount","name":"a.b","namespace":"c"}`,
	} {
		wantErrors(t, decodeClass(access(subject)))
	}
}
