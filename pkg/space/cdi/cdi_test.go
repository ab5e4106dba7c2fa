// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cdi_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	oci "github.com/opencontainers/runtime-spec/specs-go"
	"k8s.io/apimachinery/pkg/types"
	cdilib "tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/pkg/parser"
	"tags.cncf.io/container-device-interface/specs-go"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/cdi"
)

const driver = spaceapi.DefaultDriverName

func newStore(t *testing.T) (*cdi.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run", "cdi")
	store, err := cdi.NewStore(driver, dir)
	if err != nil {
		t.Fatal(err)
	}
	return store, dir
}

func device(name string) cdi.Device {
	return cdi.Device{
		Name:          name,
		Env:           []string{"X_NAMESPACE=of-" + name, "X_CLUSTER=https://10.96.0.1:443"},
		HostDir:       "/var/run/claim-artifacts/" + name,
		ContainerDirs: []string{"/var/run/claim-artifacts/x", "/etc/x"},
	}
}

func write(t *testing.T, store *cdi.Store, devices ...cdi.Device) {
	t.Helper()
	if err := store.Write("claim-uid", devices); err != nil {
		t.Fatal(err)
	}
}

// devices reads the directory as a container runtime does.
func devices(t *testing.T, dir string) map[string]specs.ContainerEdits {
	t.Helper()
	cache, err := cdilib.NewCache(cdilib.WithSpecDirs(dir), cdilib.WithAutoRefresh(false))
	if err != nil {
		t.Fatal(err)
	}
	if err := cache.Refresh(); err != nil {
		t.Fatalf("a runtime refuses what was written: %v", err)
	}
	out := map[string]specs.ContainerEdits{}
	for _, id := range cache.ListDevices() {
		out[id] = cache.GetDevice(id).ContainerEdits
	}
	return out
}

func TestARuntimeFindsTheDevicesByTheirIDs(t *testing.T) {
	store, dir := newStore(t)
	write(t, store, device("claim-uid-a"), device("claim-uid-b"))
	got := devices(t, dir)
	if want := []string{driver + "/space=claim-uid-a", driver + "/space=claim-uid-b"}; !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
		t.Fatalf("got devices %q, want %q", slices.Sorted(maps.Keys(got)), want)
	}
	for _, name := range []string{"claim-uid-a", "claim-uid-b"} {
		id := store.ID(name)
		if !parser.IsQualifiedName(id) {
			t.Errorf("ID %q is not qualified", id)
		}
		edits, want := got[id], device(name)
		if !slices.Equal(edits.Env, want.Env) {
			t.Errorf("%s: got environment %q, want %q", id, edits.Env, want.Env)
		}
		var dirs []string
		for _, mount := range edits.Mounts {
			dirs = append(dirs, mount.ContainerPath)
			if mount.HostPath != want.HostDir {
				t.Errorf("%s: mounts %s, want %s", id, mount.HostPath, want.HostDir)
			}
			for _, option := range []string{"ro", "bind"} {
				if !slices.Contains(mount.Options, option) {
					t.Errorf("%s: the mount at %s is not %q: %q", id, mount.ContainerPath, option, mount.Options)
				}
			}
		}
		if !slices.Equal(dirs, want.ContainerDirs) {
			t.Errorf("%s: mounted at %q, want %q", id, dirs, want.ContainerDirs)
		}
	}
}

func TestValuesArriveAsTheyAre(t *testing.T) {
	want := []string{
		"EMPTY=", "SPACES=  a  b  ", `QUOTES="it's" \"`, "EQUALS==a=b=", "UTF8=äöü – 空間 🚀", "NEWLINE=a\nb\n", "TAB=\ta",
		"YAML=- a: {b: [c, *d]} # e", "SHELL=$(id) ${HOME} $HOME `id`", "NUMBER=0x10", "BOOL=yes", "NULL=~", "TIME=12:30:45", "CR=a\r\nb",
	}
	store, dir := newStore(t)
	a, b := device("a"), device("b")
	a.Env, b.Env = want, []string{"OTHER=x"}
	write(t, store, a, b)
	got := devices(t, dir)
	if !slices.Equal(got[store.ID("a")].Env, want) || !slices.Equal(got[store.ID("b")].Env, b.Env) {
		t.Errorf("got %q and %q, want %q", got[store.ID("a")].Env, got[store.ID("b")].Env, want)
	}
	// What ends up in the process of a container in which there is something already.
	cache, err := cdilib.NewCache(cdilib.WithSpecDirs(dir))
	if err != nil {
		t.Fatal(err)
	}
	container := &oci.Spec{Process: &oci.Process{Env: []string{"EMPTY=not", "MINE=1"}}, Mounts: []oci.Mount{{Source: "/own", Destination: "/etc/x"}}}
	if _, err := cache.InjectDevices(container, store.ID("a"), store.ID("b")); err != nil {
		t.Fatal(err)
	}
	for _, v := range append(want, "OTHER=x", "MINE=1") {
		if !slices.Contains(container.Process.Env, v) {
			t.Errorf("the container lacks %q: %q", v, container.Process.Env)
		}
	}
	if len(container.Process.Env) != len(want)+2 {
		t.Errorf("the container has %q", container.Process.Env)
	}
	for _, m := range container.Mounts {
		if m.Source == "/own" {
			t.Errorf("the container's own mount at %s is still there beside the space's", m.Destination)
		}
	}
}

func TestASecondWriteReplacesTheFirst(t *testing.T) {
	store, dir := newStore(t)
	write(t, store, device("a"), device("b"))
	changed := device("a")
	changed.Env = []string{"X_NAMESPACE=another"}
	write(t, store, changed)
	got := devices(t, dir)
	if len(got) != 1 || !slices.Equal(got[store.ID("a")].Env, changed.Env) {
		t.Errorf("got %v, want device a only, with %q", got, changed.Env)
	}
}

func TestRemoveTakesTheClaimsSpecOnly(t *testing.T) {
	store, dir := newStore(t)
	write(t, store, device("a"))
	if err := store.Write("other-uid", []cdi.Device{device("other")}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := store.Remove("claim-uid"); err != nil {
			t.Fatal(err)
		}
	}
	if got := slices.Collect(maps.Keys(devices(t, dir))); !slices.Equal(got, []string{store.ID("other")}) {
		t.Errorf("left: %q, want the other claim's device", got)
	}
}

func TestAnotherStoreOnTheDirectoryRemovesWhatTheFirstWrote(t *testing.T) {
	store, dir := newStore(t)
	write(t, store, device("a"))
	again, err := cdi.NewStore(driver, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Remove("claim-uid"); err != nil {
		t.Fatal(err)
	}
	if entries, err := filepath.Glob(filepath.Join(dir, "[^.]*")); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, error %v", entries, err)
	}
}

func TestBrokenSpecsOfOthersDoNotMatter(t *testing.T) {
	store, dir := newStore(t)
	if err := os.WriteFile(filepath.Join(dir, "vendor.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, store, device("a"))
	if err := store.Remove("claim-uid"); err != nil {
		t.Error(err)
	}
}

func TestWhatARuntimeWouldRefuseIsNotWritten(t *testing.T) {
	store, dir := newStore(t)
	write(t, store, device("good"))
	for name, bad := range map[string][]cdi.Device{
		"two devices of one name": {device("a"), device("a")},
		"no name":                 {device("")},
		"a slash in the name":     {device("a/b")},
		"no devices":              nil,
	} {
		t.Run(name, func(t *testing.T) {
			if err := store.Write("claim-uid", bad); err == nil {
				t.Error("it was written")
			}
			if got := devices(t, dir); len(got) != 1 {
				t.Errorf("what was there before has become %v", got)
			}
		})
	}
}

func TestDriverNamesThatAreNoVendorsAreRefused(t *testing.T) {
	for _, name := range []string{"", "1space.example.com", "space/example", "space example", "-space"} {
		dir := filepath.Join(t.TempDir(), "cdi")
		if _, err := cdi.NewStore(name, dir); err == nil {
			t.Errorf("%q was taken", name)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%q was refused, but the directory made", name)
		}
	}
}

func TestTheStoreListsItsOwnSpecs(t *testing.T) {
	store, dir := newStore(t)
	write(t, store, device("a"))
	// Names that begin alike are another driver's.
	for _, vendor := range []string{driver + "-space", "gpu.example.com", driver + ".x"} {
		other, err := cdi.NewStore(vendor, dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Write("other-uid", []cdi.Device{device("b")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, driver+"-space_by-hand.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := store.List()
	if want := []types.UID{"claim-uid"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, error %v, want %q", got, err, want)
	}
}

func TestTwoProcessesWriteTheSpecOfOneClaimAtOnce(t *testing.T) {
	one, dir := newStore(t)
	other, err := cdi.NewStore(driver, dir)
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for _, store := range []*cdi.Store{one, other} {
		writers.Go(func() {
			for range 200 {
				if err := store.Write("claim-uid", []cdi.Device{device("a")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	if got := devices(t, dir); len(got) != 1 {
		t.Errorf("the runtime knows %v, want one device", got)
	}
}

func TestNothingIsLeftWhereSpecsAreWritten(t *testing.T) {
	store, dir := newStore(t)
	write(t, store, device("a"))
	staged, err := filepath.Glob(filepath.Join(dir, "."+driver, "*", "*"))
	if err != nil || len(staged) > 0 {
		t.Errorf("left: %q, error %v", staged, err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left of a store that was closed: %v, error %v, want the spec", entries, err)
	}
}
