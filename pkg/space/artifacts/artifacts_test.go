// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package artifacts_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/pkg/space/artifacts"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

const claim = types.UID("claim-uid")

func newStore(t *testing.T) (*artifacts.Store, string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "claim-artifacts")
	store, err := artifacts.NewStore(root)
	if err != nil {
		t.Fatal(err)
	}
	return store, root
}

func files(t *testing.T, tok string) artifacts.Files {
	return artifacts.Files{Kubeconfig: []byte("kubeconfig of it"), CA: []byte("its CA"), Namespace: "ephemeral-ns-x", Token: token.New(tok, time.Now(), time.Now().Add(time.Hour))}
}

func write(t *testing.T, store *artifacts.Store, slot, tok string) {
	t.Helper()
	if err := store.Write(claim, slot, files(t, tok)); err != nil {
		t.Fatal(err)
	}
}

func wantContent(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s has %q, error %v, want %q", path, got, err, want)
	}
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %o, want %o", path, got, want)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestWritePutsAllFilesWhereDirSays(t *testing.T) {
	for name, slot := range map[string]string{"a claim with one space": "", "a space of several": "main"} {
		t.Run(name, func(t *testing.T) {
			store, root := newStore(t)
			write(t, store, slot, "secret")
			dir := store.Dir(claim, slot)
			if want := filepath.Join(root, "claim-uid", slot); dir != want {
				t.Errorf("the directory is %s, want %s", dir, want)
			}
			wantContent(t, filepath.Join(dir, "kubeconfig"), "kubeconfig of it")
			wantContent(t, filepath.Join(dir, "token"), "secret")
			wantContent(t, filepath.Join(dir, "ca.crt"), "its CA")
			wantContent(t, filepath.Join(dir, "namespace"), "ephemeral-ns-x")
			if got := names(t, dir); !slices.Equal(got, []string{"ca.crt", "kubeconfig", "namespace", "token"}) {
				t.Errorf("the directory has %q", got)
			}
		})
	}
}

func TestContainersCanReadAndTheHostsUsersCannot(t *testing.T) {
	for name, umask := range map[string]int{"usual umask": 0o022, "strict umask": 0o077, "no umask": 0} {
		for _, existed := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				root := filepath.Join(t.TempDir(), "claim-artifacts")
				defer syscall.Umask(syscall.Umask(umask)) // of the whole process: no parallel tests here
				if existed {
					if err := os.Mkdir(root, 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.Chmod(root, 0o755); err != nil {
						t.Fatal(err)
					}
				}
				store, err := artifacts.NewStore(root)
				if err != nil {
					t.Fatal(err)
				}
				write(t, store, "main", "secret")
				if err := store.WriteToken(claim, "main", token.New("newer", time.Now(), time.Now().Add(time.Hour))); err != nil {
					t.Fatal(err)
				}
				wantMode(t, root, 0o700)
				wantMode(t, store.Dir(claim, ""), 0o755)
				dir := store.Dir(claim, "main")
				wantMode(t, dir, 0o755)
				for _, file := range names(t, dir) {
					wantMode(t, filepath.Join(dir, file), 0o644)
				}
			})
		}
	}
}

func TestAMountedDirectoryShowsWhatIsWrittenLater(t *testing.T) {
	store, _ := newStore(t)
	write(t, store, "", "first")
	// Like a mount, a directory that is held open stays what it is.
	mounted, err := os.OpenRoot(store.Dir(claim, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mounted.Close() }()
	want := func(content string) {
		t.Helper()
		if got, err := mounted.ReadFile("token"); err != nil || string(got) != content {
			t.Errorf("the container reads %q, error %v, want %q", got, err, content)
		}
	}
	want("first")
	if err := store.WriteToken(claim, "", token.New("renewed", time.Now(), time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	want("renewed")
	write(t, store, "", "prepared again")
	want("prepared again")
}

func TestAFileIsReplacedAndNotRewritten(t *testing.T) {
	store, _ := newStore(t)
	write(t, store, "", "a first and longer token")
	reader, err := os.Open(filepath.Join(store.Dir(claim, ""), "token"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	if err := store.WriteToken(claim, "", token.New("second", time.Now(), time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 64)
	n, err := reader.Read(got)
	if err != nil || string(got[:n]) != "a first and longer token" {
		t.Errorf("a reader that had begun reads %q, error %v", got[:n], err)
	}
}

func TestRemovedArtifactsStayRemoved(t *testing.T) {
	store, root := newStore(t)
	write(t, store, "a", "secret")
	write(t, store, "b", "secret")
	for range 2 {
		if err := store.Remove(claim); err != nil {
			t.Fatal(err)
		}
	}
	for _, slot := range []string{"", "a"} {
		if err := store.WriteToken(claim, slot, token.New("late", time.Now(), time.Now().Add(time.Hour))); !errors.Is(err, artifacts.ErrGone) {
			t.Errorf("slot %q: got error %v, want ErrGone", slot, err)
		}
	}
	if got := names(t, root); !slices.Equal(got, []string{".staging"}) {
		t.Errorf("left: %q", got)
	}
}

func TestRemoveLeavesOtherClaimsAlone(t *testing.T) {
	store, _ := newStore(t)
	write(t, store, "", "secret")
	if err := store.Write("claim", "", files(t, "other")); err != nil {
		t.Fatal(err)
	}
	if err := store.Remove(claim); err != nil {
		t.Fatal(err)
	}
	wantContent(t, filepath.Join(store.Dir("claim", ""), "token"), "other")
}

func TestNamesThatLeadElsewhereAreRefused(t *testing.T) {
	for _, test := range []struct {
		claim types.UID
		slot  string
	}{{"", ""}, {"", "a"}, {"..", ""}, {".", ""}, {"a/b", ""}, {"/etc", ""}, {"a/", ""}, {claim, ".."}, {claim, "."}, {claim, "a/b"}, {claim, "../x"}, {claim, "/etc"}} {
		store, root := newStore(t)
		keep := filepath.Join(root, "keep")
		if err := os.WriteFile(keep, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := store.Write(test.claim, test.slot, files(t, "x")); err == nil {
			t.Errorf("claim %q, slot %q was written", test.claim, test.slot)
		}
		if err := store.WriteToken(test.claim, test.slot, token.New("x", time.Now(), time.Now().Add(time.Hour))); err == nil || errors.Is(err, artifacts.ErrGone) {
			t.Errorf("claim %q, slot %q: got error %v for the token", test.claim, test.slot, err)
		}
		if test.slot == "" {
			if err := store.Remove(test.claim); err == nil {
				t.Errorf("claim %q was removed", test.claim)
			}
		}
		if got := names(t, filepath.Dir(root)); !slices.Equal(got, []string{"claim-artifacts"}) {
			t.Errorf("claim %q, slot %q: there is now %q beside the root", test.claim, test.slot, got)
		}
		wantContent(t, keep, "")
	}
}

func TestAFailureLeavesNoPartOfATokenBehind(t *testing.T) {
	store, _ := newStore(t)
	dir := store.Dir(claim, "")
	// A directory in the file's place can't be replaced by a file, by root neither.
	if err := os.MkdirAll(filepath.Join(dir, "token", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := store.Write(claim, "", files(t, "secret")); err == nil {
		t.Error("Write has not failed")
	}
	if err := store.WriteToken(claim, "", token.New("secret", time.Now(), time.Now().Add(time.Hour))); err == nil || errors.Is(err, artifacts.ErrGone) {
		t.Errorf("WriteToken: got error %v", err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"token"}) {
		t.Errorf("left: %q", got)
	}
}

func TestTheStoreKnowsWhatItHas(t *testing.T) {
	store, root := newStore(t)
	write(t, store, "", "secret")
	if err := store.Write("other", "slot", files(t, "x")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := store.List()
	if want := []types.UID{claim, "other"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, error %v, want %q", got, err, want)
	}
	if ns, err := store.Namespace("other", "slot"); ns != "ephemeral-ns-x" || err != nil {
		t.Errorf("got namespace %q, error %v", ns, err)
	}
	if _, err := store.Namespace(claim, "slot"); !errors.Is(err, artifacts.ErrGone) {
		t.Errorf("got error %v, want %v", err, artifacts.ErrGone)
	}
	if _, err := store.Namespace("..", ""); err == nil || errors.Is(err, artifacts.ErrGone) {
		t.Errorf("got error %v for a path", err)
	}
}
