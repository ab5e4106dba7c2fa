// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSorted_sortsByAJSONPath(t *testing.T) {
	old, young := ready(t, "old"), ready(t, "young")
	young.CreationTimestamp = metav1.NewTime(now.Add(-time.Minute))
	s := of(old, young, quota(nameOf(young)))
	for by, want := range map[string]string{"": "young", ".metadata.creationTimestamp": "old", "{.metadata.name}": "old", ".quota[*].percent": "old"} {
		spaces := s.spaces("")
		slices.Reverse(spaces)
		if spaces, err := sorted(spaces, by); err != nil || spaces[0].Metadata.Name != want {
			t.Errorf("by %q, %s comes first, want %s; error %v", by, spaces[0].Metadata.Name, want, err)
		}
	}
	for _, by := range []string{".colour", "{"} {
		if _, err := sorted(s.spaces(""), by); err == nil || !strings.Contains(err.Error(), by) {
			t.Errorf("by %q: error %v", by, err)
		}
	}
}

func TestTable_namesAllPodsIfWide(t *testing.T) {
	s := of(ready(t, "used", "a", "b", "c", "d", "e"))
	for wide, want := range map[bool]string{false: "a,b,c + 2 more...", true: "a,b,c,d,e"} {
		if got := s.table(s.spaces(""), false, wide).Rows[0].Cells[3]; got != want {
			t.Errorf("wide %t: got %v, want %s", wide, got, want)
		}
	}
}

func TestNamedBy_namesEachClaimOnce(t *testing.T) {
	names := namedBy([]spaceSummary{{Metadata: claimMetadata{Name: "a"}}, {Metadata: claimMetadata{Name: "a", UID: "former"}}, {Metadata: claimMetadata{Name: "b"}}}).Items
	if len(names) != 2 || names[0].GetName() != "a" || names[1].GetName() != "b" || names[0].GetKind() != "ResourceClaim" {
		t.Errorf("got %v, want the ResourceClaims a and b", names)
	}
}
