// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package record_test

import (
	_ "embed"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/record"
)

// v1 is a record as v0.1.0 wrote it. Nodes have such files when the plugin is
// updated: it stays as it is, whatever later versions write.
//
//go:embed testdata/v1.json
var v1 []byte

func ofV1() record.Prepared {
	return record.Prepared{
		APIVersion: "plugin.space.resource.example.com/v1", Kind: "PreparedClaim",
		Namespace: "team", Name: "test-claim", UID: "7791ecd8-b343-4545-821c-d5b05db2d590", AllocationID: "5h57rgwvpj",
		Spaces: []record.Space{
			{
				Slot: "first", Namespace: "ephemeral-ns-5h57rgwvpj", ServiceAccount: "space",
				ServiceAccountUID: "1f0c9a52-6f7e-4c55-9d0f-2a3c1b7d8e90", TokenLifetime: metav1.Duration{Duration: 30 * time.Minute},
			},
			{Namespace: "ephemeral-ns-x2m8q4tzkd", ServiceAccount: "space", ServiceAccountUID: "c3b7e2d4-08a1-4f6b-8e5d-9f1a2b3c4d5e"},
		},
	}
}

func TestRecordsOfTheFirstVersionAreRead(t *testing.T) {
	store, dir := newStore(t)
	write(t, filepath.Join(dir, string(ofV1().UID)+".json"), string(v1))
	if got := list(t, store); !reflect.DeepEqual(got, record.Listing{Prepared: []record.Prepared{ofV1()}}) {
		t.Errorf("got  %+v\nwant %+v", got, ofV1())
	}
	if got, err := store.Get(ofV1().UID); err != nil || !reflect.DeepEqual(got, ofV1()) {
		t.Errorf("got %+v, error %v", got, err)
	}
}

// After a rollback, the first version finds what this one has written.
func TestTheFirstVersionCanReadWhatIsWrittenNow(t *testing.T) {
	store, dir := newStore(t)
	save(t, store, ofV1())
	raw, err := os.ReadFile(filepath.Join(dir, string(ofV1().UID)+".json"))
	if err != nil || string(raw) != string(v1) {
		t.Errorf("error %v, got\n%s\nwant\n%s", err, raw, v1)
	}
}
