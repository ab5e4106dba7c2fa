// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package artifacts keeps the files that containers get: kubeconfig, token, CA
// and namespace, one directory per space.
package artifacts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/pkg/space/kubeconfig"
	"github.com/space-dra/space-dra-driver/pkg/space/staging"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// Names of the files in a space's directory. Those that in-cluster clients look
// for are called as in a pod's ServiceAccount volume.
const (
	KubeconfigFile = kubeconfig.File
	TokenFile      = kubeconfig.TokenFile
	CAFile         = "ca.crt"
	NamespaceFile  = "namespace"
)

const (
	// Containers run as any user, and CDI has no equivalent of fsGroup. What keeps
	// the host's other users out is the root directory above.
	fileMode = 0o644
	dirMode  = 0o755
	rootMode = 0o700

	// stagingDir is below the root. No claim is called so.
	stagingDir = ".staging"
)

// ErrGone means that the space's directory has been removed.
var ErrGone = errors.New("the artifacts have been removed")

// Files are the contents for one space.
type Files struct {
	Kubeconfig []byte
	CA         []byte
	Namespace  string
	Token      token.Token
}

// Store is the directory on the host below which all artifacts are. It belongs on
// a file system in memory.
type Store struct {
	root    string
	staging *staging.Dir
}

// NewStore makes the directory if need be, and closes it to other users.
func NewStore(root string) (*Store, error) {
	if err := os.MkdirAll(root, rootMode); err != nil {
		return nil, fmt.Errorf("make the directory for artifacts: %w", err)
	}
	// It may have been made by the kubelet, which lets everybody in.
	if err := os.Chmod(root, rootMode); err != nil {
		return nil, fmt.Errorf("close the directory for artifacts to other users: %w", err)
	}
	dir, err := staging.Open(filepath.Join(root, stagingDir))
	if err != nil {
		return nil, fmt.Errorf("open the directory for artifacts: %w", err)
	}
	return &Store{root: root, staging: dir}, nil
}

// Close ends the use of the store.
func (s *Store) Close() error { return s.staging.Close() }

// RemoveAbandoned removes what processes were writing that have ended, and returns
// the paths.
func (s *Store) RemoveAbandoned() ([]string, error) { return s.staging.RemoveAbandoned() }

// Dir returns the directory of a space. slot is empty for a claim's only space.
func (s *Store) Dir(claim types.UID, slot string) string {
	return filepath.Join(s.root, string(claim), slot)
}

// Write puts all files of a space in place. A directory that exists is kept,
// because containers may have it mounted, and each file changes at once.
func (s *Store) Write(claim types.UID, slot string, files Files) error {
	if err := s.check(claim, slot); err != nil {
		return err
	}
	dir := s.Dir(claim, slot)
	for _, d := range []string{s.Dir(claim, ""), dir} {
		if err := os.MkdirAll(d, dirMode); err != nil {
			return fmt.Errorf("make the artifacts of claim %s: %w", claim, err)
		}
		if err := os.Chmod(d, dirMode); err != nil {
			return fmt.Errorf("make the artifacts of claim %s readable: %w", claim, err)
		}
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{
		{TokenFile, files.Token.Reveal()},
		{CAFile, files.CA},
		{NamespaceFile, []byte(files.Namespace)},
		{KubeconfigFile, files.Kubeconfig},
	} {
		if err := s.staging.WriteFile(filepath.Join(dir, f.name), f.content, fileMode); err != nil {
			return fmt.Errorf("write the artifacts of claim %s: %w", claim, err)
		}
	}
	return nil
}

// WriteToken replaces the token of a space that has been written before;
// otherwise the error is ErrGone.
func (s *Store) WriteToken(claim types.UID, slot string, t token.Token) error {
	if err := s.check(claim, slot); err != nil {
		return err
	}
	err := s.staging.WriteFile(filepath.Join(s.Dir(claim, slot), TokenFile), t.Reveal(), fileMode)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrGone
	}
	if err != nil {
		return fmt.Errorf("write the token of claim %s: %w", claim, err)
	}
	return nil
}

// Remove deletes all artifacts of a claim. There need not be any.
func (s *Store) Remove(claim types.UID) error {
	if err := s.check(claim, ""); err != nil {
		return err
	}
	if err := os.RemoveAll(s.Dir(claim, "")); err != nil {
		return fmt.Errorf("remove the artifacts of claim %s: %w", claim, err)
	}
	return nil
}

// List returns the names of the directories that Write may have made. They are
// claims' UIDs, unless somebody else made one.
func (s *Store) List() ([]types.UID, error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, fmt.Errorf("list the artifacts: %w", err)
	}
	var out []types.UID
	for _, e := range entries {
		if e.IsDir() && e.Name() != stagingDir {
			out = append(out, types.UID(e.Name()))
		}
	}
	return out, nil
}

// Namespace returns the namespace of the space whose artifacts these are. If they
// have been removed, the error is ErrGone.
func (s *Store) Namespace(claim types.UID, slot string) (string, error) {
	if err := s.check(claim, slot); err != nil {
		return "", err
	}
	content, err := os.ReadFile(filepath.Join(s.Dir(claim, slot), NamespaceFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrGone
	}
	if err != nil {
		return "", fmt.Errorf("read the artifacts of claim %s: %w", claim, err)
	}
	return string(content), nil
}

// check keeps what was read from elsewhere from naming a directory elsewhere.
func (s *Store) check(claim types.UID, slot string) error {
	for _, part := range []string{string(claim), slot} {
		if part == "." || part != "" && (!filepath.IsLocal(part) || filepath.Base(part) != part) {
			return fmt.Errorf("%q can't be a directory's name", part)
		}
	}
	if claim == "" {
		return errors.New("a claim without UID has no artifacts")
	}
	return nil
}
