// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/pkg/parser"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
)

// idOf returns the CDI device ID of a device.
func idOf(device string) string { return parser.QualifiedName(testDriver, cdiClass, device) }

func newSpecs(t *testing.T) (*cdiSpecs, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run", "cdi")
	store, err := openCDISpecs(testDriver, dir)
	if err != nil {
		t.Fatal(err)
	}
	return store, dir
}

func specDevice(name string) specs.Device {
	return deviceSpec(name, containeredits.Edits{
		Env:  []string{"X_NAMESPACE=of-" + name, "X_CLUSTER=https://10.96.0.1:443"},
		Dirs: []string{"/var/run/claim-artifacts/x", "/etc/x"},
	}, "/var/run/claim-artifacts/"+name)
}

func writeSpec(t *testing.T, store *cdiSpecs, devices ...specs.Device) {
	t.Helper()
	if err := store.write("claim-uid", devices); err != nil {
		t.Fatal(err)
	}
}

// readSpecs reads the directory as a container runtime does.
func readSpecs(t *testing.T, dir string) map[string]specs.ContainerEdits {
	t.Helper()
	cache, err := cdi.NewCache(cdi.WithSpecDirs(dir), cdi.WithAutoRefresh(false))
	if err != nil {
		t.Fatal(err)
	}
	if err := cache.Refresh(); err != nil {
		t.Fatalf("a runtime rejects the specs: %v", err)
	}
	out := map[string]specs.ContainerEdits{}
	for _, id := range cache.ListDevices() {
		out[id] = cache.GetDevice(id).ContainerEdits
	}
	return out
}

func TestCDISpecsWrite_isReadByRuntimes(t *testing.T) {
	store, dir := newSpecs(t)
	writeSpec(t, store, specDevice("claim-uid-a"), specDevice("claim-uid-b"))
	got := readSpecs(t, dir)
	if want := []string{testDriver + "/space=claim-uid-a", testDriver + "/space=claim-uid-b"}; !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
		t.Fatalf("got devices %q, want %q", slices.Sorted(maps.Keys(got)), want)
	}
	for _, name := range []string{"claim-uid-a", "claim-uid-b"} {
		id := idOf(name)
		if !parser.IsQualifiedName(id) {
			t.Errorf("ID %q is not qualified", id)
		}
		edits := got[id]
		if want := []string{"X_NAMESPACE=of-" + name, "X_CLUSTER=https://10.96.0.1:443"}; !slices.Equal(edits.Env, want) {
			t.Errorf("%s: got environment %q, want %q", id, edits.Env, want)
		}
		var dirs []string
		for _, mount := range edits.Mounts {
			dirs = append(dirs, mount.ContainerPath)
			if want := "/var/run/claim-artifacts/" + name; mount.HostPath != want {
				t.Errorf("%s: mounts %s, want %s", id, mount.HostPath, want)
			}
			for _, option := range []string{"ro", "bind"} {
				if !slices.Contains(mount.Options, option) {
					t.Errorf("%s: the mount at %s is not %q: %q", id, mount.ContainerPath, option, mount.Options)
				}
			}
		}
		if want := []string{"/var/run/claim-artifacts/x", "/etc/x"}; !slices.Equal(dirs, want) {
			t.Errorf("%s: mounted at %q, want %q", id, dirs, want)
		}
	}
}

func TestCDISpecsWrite_replacesTheSpec(t *testing.T) {
	store, dir := newSpecs(t)
	writeSpec(t, store, specDevice("a"), specDevice("b"))
	changed := specDevice("a")
	changed.ContainerEdits.Env = []string{"X_NAMESPACE=another"}
	writeSpec(t, store, changed)
	got := readSpecs(t, dir)
	if len(got) != 1 || !slices.Equal(got[idOf("a")].Env, changed.ContainerEdits.Env) {
		t.Errorf("got %v, want device a only, with %q", got, changed.ContainerEdits.Env)
	}
}

func TestCDISpecsRemove_keepsOtherSpecs(t *testing.T) {
	store, dir := newSpecs(t)
	writeSpec(t, store, specDevice("a"))
	if err := store.write("other-uid", []specs.Device{specDevice("other")}); err != nil {
		t.Fatal(err)
	}
	again, err := openCDISpecs(testDriver, dir) // after a restart
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if removed, err := again.remove("claim-uid"); removed != want || err != nil {
			t.Fatalf("removed: %t, error %v", removed, err)
		}
	}
	if got := slices.Collect(maps.Keys(readSpecs(t, dir))); !slices.Equal(got, []string{idOf("other")}) {
		t.Errorf("got devices %q, want the other claim's only", got)
	}
}

func TestCDISpecs_ignoreInvalidSpecsOfOtherVendors(t *testing.T) {
	store, dir := newSpecs(t)
	if err := os.WriteFile(filepath.Join(dir, "vendor.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	writeSpec(t, store, specDevice("a"))
	if _, err := store.remove("claim-uid"); err != nil {
		t.Error(err)
	}
}

func TestOpenCDISpecs_rejectsInvalidVendors(t *testing.T) {
	for _, name := range []string{"", "1space.example.com", "space/example", "space example", "-space"} {
		dir := filepath.Join(t.TempDir(), "cdi")
		if _, err := openCDISpecs(name, dir); err == nil {
			t.Errorf("%q: got no error", name)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%q was rejected, but the directory was created", name)
		}
	}
}

func TestCDISpecsList_ignoresOtherVendors(t *testing.T) {
	store, dir := newSpecs(t)
	writeSpec(t, store, specDevice("a"))
	// Other vendors with the same prefix.
	for _, vendor := range []string{testDriver + "-space", "gpu.example.com", testDriver + ".x"} {
		other, err := openCDISpecs(vendor, dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.write("other-uid", []specs.Device{specDevice("b")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, testDriver+"-space_by-hand.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := store.list()
	if want := []types.UID{"claim-uid"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, error %v, want %q", got, err, want)
	}
}
