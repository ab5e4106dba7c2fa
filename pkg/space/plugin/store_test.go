// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

func newStore(t *testing.T) *store {
	t.Helper()
	s, err := openStore(testDriver, filepath.Join(t.TempDir(), "claim-artifacts"), testAPIServer(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// storedClaim returns a claim with a space in each of the directories.
func storedClaim(uid types.UID, dirs ...string) preparedClaim {
	p := preparedClaim{APIVersion: metadataVersion, Namespace: "team", Name: "claim", UID: uid, AllocationID: "allocation-of-" + string(uid)}
	for _, dir := range dirs {
		p.Spaces = append(p.Spaces, preparedSpace{
			Subdir: dir, Pool: "spaces", Device: "space", Namespace: "ns-" + dir, ServiceAccount: "space", ServiceAccountUID: "account-uid",
			TokenLifetime: metav1.Duration{Duration: 90 * time.Minute},
		})
	}
	return p
}

func testAPIServer(t *testing.T) *apiServerWithCA {
	t.Helper()
	s := &apiServerWithCA{APIServer: APIServer{URL: testServer, CA: []byte("its CA")}}
	if _, err := s.load(); err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *store, p preparedClaim, content string) {
	t.Helper()
	if err := s.put(p, tokensFor(p, content)); err != nil {
		t.Fatal(err)
	}
}

// tokensFor returns a token for each space.
func tokensFor(p preparedClaim, content string) []token.Token {
	return slices.Repeat([]token.Token{token.New(content, time.Now(), time.Now().Add(time.Hour))}, len(p.Spaces))
}

func wantContent(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s has %q, error %v, want %q", path, got, err, want)
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

func TestStore_fileModesDoNotDependOnTheUmask(t *testing.T) {
	for name, umask := range map[string]int{"usual umask": 0o022, "strict umask": 0o077, "no umask": 0} {
		for _, existed := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				root := filepath.Join(t.TempDir(), "claim-artifacts")
				defer syscall.Umask(syscall.Umask(umask)) // of the whole process: no parallel tests here
				if existed {
					if err := errors.Join(os.Mkdir(root, 0o755), os.Chmod(root, 0o755)); err != nil {
						t.Fatal(err)
					}
				}
				s, err := openStore(testDriver, root, testAPIServer(t))
				if err != nil {
					t.Fatal(err)
				}
				put(t, s, storedClaim("claim-uid", "main"), "secret")
				if err := s.updateCredentials(storedClaim("claim-uid", "main"), tokensFor(storedClaim("claim-uid", "main"), "newer")); err != nil {
					t.Fatal(err)
				}
				want := map[string]fs.FileMode{
					"": 0o700, "claim-uid": 0o700, "claim-uid/metadata.json": 0o600, "claim-uid/credentials": 0o755, "claim-uid/credentials/main": 0o755,
				}
				for _, file := range []string{"kubeconfig", "token", "ca.crt", "namespace"} {
					want["claim-uid/credentials/main/"+file] = 0o644
				}
				for path, mode := range want {
					info, err := os.Stat(filepath.Join(root, path))
					if err != nil {
						t.Fatal(err)
					}
					if got := info.Mode().Perm(); got != mode {
						t.Errorf("%q has mode %o, want %o", path, got, mode)
					}
				}
			})
		}
	}
}

func TestStore_updatesMountedDirectories(t *testing.T) {
	s := newStore(t)
	put(t, s, storedClaim("claim-uid", ""), "first")
	// Like a mount, a directory that is held open stays what it is.
	mounted, err := os.OpenRoot(s.credentialsPath("claim-uid", ""))
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
	reader, err := mounted.Open("token")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	if err := s.updateCredentials(storedClaim("claim-uid", ""), tokensFor(storedClaim("claim-uid", ""), "renewed")); err != nil {
		t.Fatal(err)
	}
	want("renewed")
	got := make([]byte, 64)
	if n, err := reader.Read(got); err != nil || string(got[:n]) != "first" {
		t.Errorf("a reader that opened the file before reads %q, error %v", got[:n], err)
	}
	again := storedClaim("claim-uid", "", "more")
	again.AllocationID = "another"
	put(t, s, again, "prepared again")
	want("prepared again")
	wantContent(t, filepath.Join(s.credentialsPath("claim-uid", "more"), "token"), "prepared again")
	if got, err := s.get("claim-uid"); err != nil || !reflect.DeepEqual(got, again) {
		t.Errorf("got %+v, error %v, want %+v", got, err, again)
	}
}

func TestStoreRemove_keepsOtherClaims(t *testing.T) {
	s := newStore(t)
	put(t, s, storedClaim("claim-uid", "a", "b"), "secret")
	put(t, s, storedClaim("claim", ""), "other")
	for range 2 {
		if err := s.remove("claim-uid"); err != nil {
			t.Fatal(err)
		}
	}
	removed := storedClaim("claim-uid", "a", "b")
	if err := s.updateCredentials(removed, tokensFor(removed, "late")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a token was written, error %v", err)
	}
	if err := s.updateMetadata(removed); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("metadata were written, error %v", err)
	}
	if _, err := s.get("claim-uid"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got error %v", err)
	}
	if got := names(t, s.root); !slices.Equal(got, []string{".staging", "claim"}) {
		t.Errorf("got %q", got)
	}
	wantContent(t, filepath.Join(s.credentialsPath("claim", ""), "token"), "other")
}

func TestStore_rejectsInvalidNames(t *testing.T) {
	for _, test := range []struct {
		claim types.UID
		dir   string
	}{
		{"", ""}, {"", "a"}, {"..", ""}, {".", ""}, {"a/b", ""}, {"/etc", ""}, {"a/", ""}, {".staging", ""},
		{"claim-uid", ".."}, {"claim-uid", "."}, {"claim-uid", "a/b"}, {"claim-uid", "../x"}, {"claim-uid", "/etc"},
	} {
		s := newStore(t)
		p := storedClaim(test.claim, test.dir)
		if err := s.put(p, tokensFor(p, "x")); err == nil {
			t.Errorf("claim %q, directory %q was written", test.claim, test.dir)
		}
		if test.dir == "" {
			if err := s.remove(test.claim); err == nil {
				t.Errorf("claim %q was removed", test.claim)
			}
		}
		if got := names(t, filepath.Dir(s.root)); !slices.Equal(got, []string{"claim-artifacts"}) {
			t.Errorf("claim %q, directory %q: the root's parent now contains %q", test.claim, test.dir, got)
		}
		if got := names(t, s.root); len(got) > 0 {
			t.Errorf("claim %q, directory %q: there is now %q", test.claim, test.dir, got)
		}
	}
}

func TestStorePut_cleansUpAfterAFailure(t *testing.T) {
	s := newStore(t)
	put(t, s, storedClaim("claim-uid", ""), "old")
	// A directory cannot be replaced by a file, even by root.
	path := filepath.Join(s.credentialsPath("claim-uid", ""), "token")
	if err := errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "x"), 0o755)); err != nil {
		t.Fatal(err)
	}
	p := storedClaim("claim-uid", "")
	if err := s.put(p, tokensFor(p, "secret")); err == nil {
		t.Error("put did not fail")
	}
	if err := s.updateCredentials(p, tokensFor(p, "secret")); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("updateCredentials: got error %v", err)
	}
	if files, err := filepath.Glob(filepath.Join(s.root, ".staging", "*")); err != nil || len(files) > 0 {
		t.Errorf("got staged files %q, error %v", files, err)
	}
}

func TestStore_canBeUsedByTwoProcesses(t *testing.T) {
	one := newStore(t)
	other, err := openStore(testDriver, one.root, one.server)
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for _, s := range []*store{one, other} {
		writers.Go(func() {
			for i := range 200 {
				p := storedClaim("claim-uid", "a")
				// One can remove what the other is writing; then the kubelet tries again.
				if err := s.put(p, tokensFor(p, "secret")); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
				if i%5 == 0 {
					if err := s.remove("claim-uid"); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	writers.Wait()
	put(t, one, storedClaim("claim-uid", "a"), "secret")
	if got := names(t, other.credentialsPath("claim-uid", "a")); len(got) != 4 {
		t.Errorf("the credentials are %q", got)
	}
}

func TestStoreList_includesDamagedClaims(t *testing.T) {
	s := newStore(t)
	good := storedClaim("good", "a")
	put(t, s, good, "secret")
	edit := func(uid string, change func([]byte) []byte) {
		path := filepath.Join(s.root, uid, metadataFile)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := change(content)
		if bytes.Equal(changed, content) {
			t.Fatalf("nothing has changed in %s", content)
		}
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replace := func(old, new string) func([]byte) []byte {
		return func(content []byte) []byte { return bytes.Replace(content, []byte(old), []byte(new), 1) }
	}
	damages := map[types.UID]struct {
		change func([]byte) []byte
		want   string
	}{
		"truncated":      {func(content []byte) []byte { return content[:len(content)/2] }, "unexpected end"},
		"empty":          {func([]byte) []byte { return nil }, "unexpected end"},
		"newer-version":  {replace(metadataVersion, "plugin.space.resource.example.com/v2"), `"plugin.space.resource.example.com/v2"`},
		"another-claim":  {replace(`"uid": "another-claim"`, `"uid": "good"`), `"good"`},
		"other-types":    {replace(`"uid": "other-types"`, `"uid": 7`), "uid"},
		"path-traversal": {replace(`"subdir": "a"`, `"subdir": "../../good/credentials/a"`), "../../good"},
		"trailing-data":  {func(content []byte) []byte { return append(content, 'x') }, "after top-level value"},
	}
	for uid, damage := range damages {
		put(t, s, storedClaim(uid, "a"), "secret")
		edit(string(uid), damage.change)
	}
	put(t, s, storedClaim("missing"), "secret")
	if err := errors.Join(os.Remove(filepath.Join(s.root, "missing", metadataFile)), os.WriteFile(filepath.Join(s.root, "file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	want := append(slices.Collect(maps.Keys(damages)), "good", "missing")
	if claims, err := s.list(); err != nil || !slices.Equal(claims, slices.Sorted(slices.Values(want))) {
		t.Errorf("got %q, error %v, want %q", claims, err, want)
	}
	if got, err := s.get(good.UID); err != nil || !reflect.DeepEqual(got, good) {
		t.Errorf("got %+v, error %v", got, err)
	}
	if _, err := s.get("missing"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without metadata: error %v", err)
	}
	for uid, damage := range damages {
		if _, err := s.get(uid); err == nil || !strings.Contains(err.Error(), damage.want) {
			t.Errorf("%s: got error %v, want one with %q", uid, err, damage.want)
		}
		// The claim can be prepared again.
		put(t, s, storedClaim(uid, "a"), "secret")
		if got, err := s.get(uid); err != nil || !reflect.DeepEqual(got, storedClaim(uid, "a")) {
			t.Errorf("got %+v, error %v", got, err)
		}
	}
}

// metadataGolden is what version v0.1.0 of the plugin wrote for a claim that was allocated again.
// Later versions read it, too.
const metadataGolden = `{
  "apiVersion": "plugin.space.resource.example.com/v1",
  "namespace": "team",
  "name": "claim",
  "uid": "claim-uid",
  "allocationID": "allocation-of-claim-uid",
  "cdiName": "first-allocation",
  "spaces": [
    {
      "subdir": "a",
      "pool": "spaces",
      "device": "space",
      "namespace": "ns-a",
      "serviceAccount": "space",
      "serviceAccountUID": "account-uid",
      "tokenLifetime": "1h30m0s"
    }
  ]
}`

func TestStore_readsMetadataOfOtherVersions(t *testing.T) {
	s, want := newStore(t), storedClaim("claim-uid", "a")
	want.CDIName = "first-allocation"
	put(t, s, want, "secret")
	path := filepath.Join(s.path(want.UID), metadataFile)
	wantContent(t, path, metadataGolden)
	newer := strings.NewReplacer(`"uid"`, `"newer": {"x": 1}, "uid"`, `"pool"`, `"newer": "x", "pool"`).Replace(metadataGolden)
	for version, content := range map[string]string{"v0.1.0": metadataGolden, "a newer one": newer} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := s.get(want.UID); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, error %v, want %+v", version, got, err, want)
		}
	}
}
