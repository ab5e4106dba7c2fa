// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package record_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/pkg/space/record"
)

func newStore(t *testing.T) (*record.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "plugin", "claims")
	store, err := record.NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	return store, dir
}

func prepared(uid types.UID) record.Prepared {
	return record.Prepared{
		APIVersion: record.APIVersion, Kind: record.Kind,
		Namespace: "team", Name: "claim", UID: uid, AllocationID: "allocation-of-" + string(uid),
		Spaces: []record.Space{
			{Slot: "a", Namespace: "ns-a", ServiceAccount: "space", ServiceAccountUID: "account-a"},
			{Namespace: "ns-b", ServiceAccount: "space", ServiceAccountUID: "account-b"},
		},
	}
}

func save(t *testing.T, store *record.Store, p record.Prepared) {
	t.Helper()
	if err := store.Save(p); err != nil {
		t.Fatal(err)
	}
}

func wantUIDs(t *testing.T, got []record.Prepared, want ...types.UID) {
	t.Helper()
	var uids []types.UID
	for _, p := range got {
		uids = append(uids, p.UID)
	}
	slices.Sort(uids)
	if !slices.Equal(uids, want) {
		t.Errorf("got the records of %q, want %q", uids, want)
	}
}

func TestARestartedPluginFindsWhatWasSaved(t *testing.T) {
	store, dir := newStore(t)
	first := prepared("one")
	first.AllocationID = "earlier"
	for _, p := range []record.Prepared{first, prepared("two"), prepared("one")} {
		p.APIVersion, p.Kind = "", "" // the store knows them
		save(t, store, p)
	}
	restarted, err := record.NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := restarted.List()
	if err != nil {
		t.Fatal(err)
	}
	if want := []record.Prepared{prepared("one"), prepared("two")}; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestRemoveTakesOneRecordAndCanBeRepeated(t *testing.T) {
	store, dir := newStore(t)
	save(t, store, prepared("one"))
	save(t, store, prepared("two"))
	for range 2 {
		if err := store.Remove("one"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := store.List()
	if err != nil {
		t.Fatal(err)
	}
	wantUIDs(t, got, "two")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the directory has %v, error %v", entries, err)
	}
}

func TestAnEmptyDirectoryHasNoRecords(t *testing.T) {
	store, _ := newStore(t)
	if got, err := store.List(); len(got) > 0 || err != nil {
		t.Errorf("got %v, error %v", got, err)
	}
}

func TestFilesThatCannotBeReadAreSetAside(t *testing.T) {
	whole, err := json.Marshal(prepared("bad"))
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) string {
		edited := strings.Replace(string(whole), old, new, 1)
		if edited == string(whole) {
			t.Fatalf("%s is not in %s", old, whole)
		}
		return edited
	}
	for name, test := range map[string]struct{ content, want string }{
		"truncated":             {string(whole[:len(whole)/2]), "unexpected end"},
		"empty":                 {"", "unexpected end"},
		"of a newer version":    {edit(record.APIVersion, "plugin.space.resource.example.com/v2"), `"plugin.space.resource.example.com/v2"`},
		"of another kind":       {edit(record.Kind, "Other"), `"Other"`},
		"about another claim":   {edit(`"uid":"bad"`, `"uid":"good"`), `"good"`},
		"about a path":          {edit(`"uid":"bad"`, `"uid":"../bad"`), `"../bad"`},
		"not about anything":    {"{}", "is not known"},
		"with other types":      {edit(`"uid":"bad"`, `"uid":7`), "uid"},
		"with something behind": {string(whole) + "x", "after top-level value"},
	} {
		t.Run(name, func(t *testing.T) {
			store, dir := newStore(t)
			save(t, store, prepared("good"))
			path := filepath.Join(dir, "bad.json")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := store.List()
			wantUIDs(t, got, "good")
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one that names %s and says %q", err, path, test.want)
			}
			if kept, err := os.ReadFile(path + ".unreadable"); err != nil || string(kept) != test.content {
				t.Errorf("what was set aside is %q, error %v", kept, err)
			}
			got, err = store.List()
			wantUIDs(t, got, "good")
			if err != nil {
				t.Errorf("it is met again: %v", err)
			}
			// The claim can be prepared anew.
			save(t, store, prepared("bad"))
			got, err = store.List()
			wantUIDs(t, got, "bad", "good")
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatIsNoRecordIsLeftAlone(t *testing.T) {
	store, dir := newStore(t)
	if err := os.Mkdir(filepath.Join(dir, "directory.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	// What a crash in the middle of Save leaves.
	if err := os.WriteFile(filepath.Join(dir, ".one.json-1234"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := store.List(); len(got) > 0 || err != nil {
		t.Errorf("got %v, error %v", got, err)
	}
}

func TestUIDsThatArePathsAreRefused(t *testing.T) {
	store, dir := newStore(t)
	outside := filepath.Join(filepath.Dir(dir), "x.json")
	if err := os.WriteFile(outside, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, uid := range []types.UID{"", "../x", "a/b", "/x"} {
		if err := store.Save(prepared(uid)); err == nil {
			t.Errorf("a record of claim %q was saved", uid)
		}
		if err := store.Remove(uid); err == nil {
			t.Errorf("a record of claim %q was removed", uid)
		}
	}
	if content, err := os.ReadFile(outside); err != nil || string(content) != "keep" {
		t.Errorf("the file outside now has %q, error %v", content, err)
	}
}

func TestAFailedSaveLeavesNothingBehind(t *testing.T) {
	store, dir := newStore(t)
	if err := os.MkdirAll(filepath.Join(dir, "one.json", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := store.Save(prepared("one")); err == nil {
		t.Error("Save has not failed")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the directory has %v, error %v", entries, err)
	}
}

// Records are on disk, and disks are kept. Whoever adds a field adds it here, and
// thinks about whether it belongs on a disk.
func TestARecordHasNoFieldForASecret(t *testing.T) {
	want := map[string][]string{
		"Prepared": {"APIVersion", "Kind", "Namespace", "Name", "UID", "AllocationID", "Spaces"},
		"Space":    {"Slot", "Namespace", "ServiceAccount", "ServiceAccountUID"},
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[record.Prepared](), reflect.TypeFor[record.Space]()} {
		var got []string
		for i := range typ.NumField() {
			got = append(got, typ.Field(i).Name)
		}
		if !slices.Equal(got, want[typ.Name()]) {
			t.Errorf("%s has the fields %q, want %q", typ.Name(), got, want[typ.Name()])
		}
	}
	store, dir := newStore(t)
	save(t, store, prepared("one"))
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "one.json"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: got %v, error %v, want mode %o", path, info, err, want)
		}
	}
}
