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
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// files returns what is in the directory, without that in which files are staged.
func files(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "[^.]*"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func list(t *testing.T, store *record.Store) record.Listing {
	t.Helper()
	got, err := store.List()
	if err != nil {
		t.Fatal(err)
	}
	return got
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
	got := list(t, restarted)
	if want := (record.Listing{Prepared: []record.Prepared{prepared("one"), prepared("two")}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// During an update an old and a new plugin read each other's records.
func TestVersionsThatDoNotKnowTheTokensLifetimeReadTheSameRecords(t *testing.T) {
	store, dir := newStore(t)
	with := prepared("with")
	with.Spaces[0].TokenLifetime = metav1.Duration{Duration: 90 * time.Minute}
	save(t, store, with)
	save(t, store, prepared("without"))
	if got := list(t, store).Prepared; !reflect.DeepEqual(got, []record.Prepared{with, prepared("without")}) {
		t.Errorf("got %+v", got)
	}
	for name, want := range map[string]int{"with.json": 1, "without.json": 0} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || strings.Count(string(raw), "tokenLifetime") != want || strings.Count(string(raw), `"tokenLifetime": "1h30m0s"`) != want {
			t.Errorf("%s, error %v, should name a lifetime %d times:\n%s", name, err, want, raw)
		}
	}
	// What comes later is ignored as well.
	raw, err := json.Marshal(prepared("later"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "later.json"), strings.ReplaceAll(string(raw), `"serviceAccount":`, `"later":true,"serviceAccount":`))
	if got, err := store.Get("later"); err != nil || !reflect.DeepEqual(got, prepared("later")) {
		t.Errorf("got %+v, error %v", got, err)
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
	wantUIDs(t, list(t, store).Prepared, "two")
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("the directory has %q", got)
	}
}

func TestAnEmptyDirectoryHasNoRecords(t *testing.T) {
	store, _ := newStore(t)
	if got := list(t, store); len(got.Prepared)+len(got.Unreadable) > 0 {
		t.Errorf("got %+v", got)
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
	for name, test := range map[string]struct {
		content, want string
		// known says that the file still tells whose record it was.
		known bool
	}{
		"truncated":             {string(whole[:len(whole)/2]), "unexpected end", true},
		"empty":                 {"", "unexpected end", false},
		"of a newer version":    {edit(record.APIVersion, "plugin.space.resource.example.com/v2"), `"plugin.space.resource.example.com/v2"`, true},
		"of another kind":       {edit(record.Kind, "Other"), `"Other"`, true},
		"about another claim":   {edit(`"uid":"bad"`, `"uid":"good"`), `"good"`, false},
		"about a path":          {edit(`"uid":"bad"`, `"uid":"../bad"`), `"../bad"`, false},
		"not about anything":    {"{}", "is not known", false},
		"with other types":      {edit(`"uid":"bad"`, `"uid":7`), "uid", false},
		"with something behind": {string(whole) + "x", "after top-level value", true},
	} {
		t.Run(name, func(t *testing.T) {
			store, dir := newStore(t)
			save(t, store, prepared("good"))
			path := filepath.Join(dir, "bad.json")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // it is met again as what it is
				got := list(t, store)
				wantUIDs(t, got.Prepared, "good")
				if len(got.Unreadable) != 1 {
					t.Fatalf("got %+v, want one that can't be read", got.Unreadable)
				}
				u := got.Unreadable[0]
				if u.UID != "bad" || u.Path != path+".unreadable" || u.Err == nil || !strings.Contains(u.Err.Error(), test.want) {
					t.Errorf("got %+v, want one that says %q", u, test.want)
				}
				if known := u.Namespace == "team" && u.Name == "claim"; known != test.known || !known && u.Namespace+u.Name != "" {
					t.Errorf("it is about claim %s/%s; should that be known: %v", u.Namespace, u.Name, test.known)
				}
				if kept, err := os.ReadFile(u.Path); err != nil || string(kept) != test.content {
					t.Errorf("what was set aside is %q, error %v", kept, err)
				}
				if has, err := store.Has("bad"); !has || err != nil {
					t.Errorf("the claim has no file, error %v", err)
				}
				if p, err := store.Get("bad"); err == nil {
					t.Errorf("there is record %+v", p)
				}
			}
			// The claim can be prepared anew.
			save(t, store, prepared("bad"))
			got := list(t, store)
			wantUIDs(t, got.Prepared, "bad", "good")
			if left := files(t, dir); len(got.Unreadable) > 0 || len(left) != 2 {
				t.Errorf("left: %q, and %+v", left, got.Unreadable)
			}
		})
	}
}

func TestRemoveTakesWhatWasSetAside(t *testing.T) {
	store, dir := newStore(t)
	write(t, filepath.Join(dir, "bad.json"), "{")
	list(t, store)
	if err := store.Remove("bad"); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); len(got) > 0 {
		t.Errorf("left: %q", got)
	}
}

func TestWhatAnEarlierVersionSetAsideIsTakenBack(t *testing.T) {
	store, dir := newStore(t)
	save(t, store, prepared("one"))
	path := filepath.Join(dir, "one.json")
	if err := os.Rename(path, path+".unreadable"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got := list(t, store)
		wantUIDs(t, got.Prepared, "one")
		if len(got.Unreadable) > 0 {
			t.Errorf("got %+v", got.Unreadable)
		}
	}
}

func TestAFileThatCannotBeOpenedIsNotSetAside(t *testing.T) {
	store, dir := newStore(t)
	// Root may open every file, but nobody a link to itself.
	path := filepath.Join(dir, "odd.json")
	if err := os.Symlink(path, path); err != nil {
		t.Fatal(err)
	}
	got := list(t, store)
	if len(got.Unreadable) != 1 || got.Unreadable[0].UID != "odd" || got.Unreadable[0].Err == nil {
		t.Errorf("got %+v", got)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("it was moved: %v", err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
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
	if got := list(t, store); len(got.Prepared)+len(got.Unreadable) > 0 {
		t.Errorf("got %+v", got)
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
	if staged, err := filepath.Glob(filepath.Join(dir, ".staging", "*", "*")); err != nil || len(staged) > 0 {
		t.Errorf("left: %q, error %v", staged, err)
	}
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("the directory has %q", got)
	}
}

// Records are on disk, and disks are kept. Whoever adds a field adds it here, and
// thinks about whether it belongs on a disk.
func TestARecordHasNoFieldForASecret(t *testing.T) {
	want := map[string][]string{
		"Prepared": {"APIVersion", "Kind", "Namespace", "Name", "UID", "AllocationID", "Spaces"},
		"Space":    {"Slot", "Pool", "Device", "Namespace", "ServiceAccount", "ServiceAccountUID", "TokenLifetime"},
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
