// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
	"github.com/space-dra/space-dra-driver/pkg/space/staging"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// The store has a directory for each prepared claim:
//
//	<claim UID>/metadata.json
//	<claim UID>/credentials/[<request>/]{kubeconfig,token,ca.crt,namespace}
//
// Only the directories with credentials are mounted in containers.
const (
	metadataFile   = "metadata.json"
	credentialsDir = "credentials"

	// storeStagingDir is in the root. No claim has this name.
	storeStagingDir = ".staging"

	// metadataVersion is in each metadata file. It changes when the file changes in a way
	// that an older plugin can't read.
	metadataVersion = "plugin.space.resource.example.com/v1"

	// Containers run as any user, and CDI has no fsGroup. The mode of the root keeps
	// other users of the host out.
	credentialsFileMode = 0o644
	credentialsDirMode  = 0o755
	privateFileMode     = 0o600
	privateDirMode      = 0o700
)

// preparedClaim is the metadata of a prepared claim: what the plugin needs to renew the
// tokens after a restart. It has no secrets.
type preparedClaim struct {
	APIVersion string `json:"apiVersion"`

	// Namespace, Name and UID are the claim's.
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	// AllocationID names the allocation that is prepared.
	AllocationID string          `json:"allocationID"`
	Spaces       []preparedSpace `json:"spaces"`
}

// preparedSpace is one space of a prepared claim.
type preparedSpace struct {
	// Subdir is the subdirectory of the claim's credentials. If empty, their directory itself.
	Subdir string `json:"subdir,omitempty"`
	// Pool and Device are what the scheduler allocated.
	Pool   string `json:"pool"`
	Device string `json:"device"`
	// Namespace is the space's; the token is for ServiceAccount in it.
	Namespace         string    `json:"namespace"`
	ServiceAccount    string    `json:"serviceAccount"`
	ServiceAccountUID types.UID `json:"serviceAccountUID"`
	// TokenLifetime is the lifetime to request. Zero: the installation's.
	TokenLifetime metav1.Duration `json:"tokenLifetime,omitzero"`
}

// credentials are the contents of the files of one space.
type credentials struct {
	serverFiles
	token token.Token
}

// serverFiles are the contents of the files that depend on how containers reach the API
// server.
type serverFiles struct {
	kubeconfig []byte
	ca         []byte
}

// store keeps the prepared claims of a node. Its root belongs on a file system in
// memory: it has tokens, and after a reboot the kubelet prepares claims again.
type store struct {
	root    string
	staging staging.Dir
}

// openStore creates the root directory if needed, and makes it inaccessible to other users.
func openStore(root string) (*store, error) {
	if err := os.MkdirAll(root, privateDirMode); err != nil {
		return nil, fmt.Errorf("create the directory for prepared claims: %w", err)
	}
	// The kubelet may have created it with another mode.
	if err := os.Chmod(root, privateDirMode); err != nil {
		return nil, fmt.Errorf("change the mode of the directory for prepared claims: %w", err)
	}
	return &store{root: root, staging: staging.Dir(filepath.Join(root, storeStagingDir))}, nil
}

// credentialsPath returns the directory with the credentials of a space.
func (s *store) credentialsPath(claim types.UID, subdir string) string {
	return filepath.Join(s.root, string(claim), credentialsDir, subdir)
}

// put writes a prepared claim, with the credentials of each of its spaces. A claim that
// is there already keeps its directories, because containers may have them mounted.
func (s *store) put(claim preparedClaim, all []credentials) error {
	if err := claim.validate(); err != nil {
		return fmt.Errorf("store claim %s: %w", claim.UID, err)
	}
	path := s.path(claim.UID)
	found, err := s.has(claim.UID)
	if err == nil && !found {
		err = s.staging.Put(path, func(dir string) (string, error) {
			dir = filepath.Join(dir, string(claim.UID))
			if err := os.Mkdir(dir, privateDirMode); err != nil {
				return "", err
			}
			return string(claim.UID), s.write(dir, claim, all)
		})
		// Another plugin, which serves beside this one, can be faster.
		found = errors.Is(err, fs.ErrExist)
	}
	if found {
		err = s.write(path, claim, all)
	}
	if err != nil {
		return fmt.Errorf("store claim %s: %w", claim.UID, err)
	}
	return nil
}

// write writes all files of a claim into its directory. The metadata come first: a plugin
// that reads them later renews the tokens of all spaces.
func (s *store) write(dir string, claim preparedClaim, all []credentials) error {
	if err := s.writeMetadata(dir, claim); err != nil {
		return err
	}
	dir = filepath.Join(dir, credentialsDir)
	if err := makeCredentialsDir(dir); err != nil {
		return err
	}
	for i, space := range claim.Spaces {
		spaceDir := filepath.Join(dir, space.Subdir)
		if space.Subdir != "" {
			if err := makeCredentialsDir(spaceDir); err != nil {
				return err
			}
		}
		for _, f := range []struct {
			name    string
			content []byte
		}{
			{containeredits.TokenFile, all[i].token.Reveal()},
			{containeredits.CAFile, all[i].ca},
			{containeredits.NamespaceFile, []byte(space.Namespace)},
			{containeredits.KubeconfigFile, all[i].kubeconfig},
		} {
			if err := s.staging.WriteFile(filepath.Join(spaceDir, f.name), f.content, credentialsFileMode); err != nil {
				return err
			}
		}
	}
	return nil
}

func makeCredentialsDir(dir string) error {
	if err := os.Mkdir(dir, credentialsDirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chmod(dir, credentialsDirMode) // whatever the umask is
}

func (s *store) writeMetadata(dir string, claim preparedClaim) error {
	claim.APIVersion = metadataVersion
	raw, err := json.MarshalIndent(claim, "", "  ")
	if err != nil {
		return err
	}
	return s.staging.WriteFile(filepath.Join(dir, metadataFile), raw, privateFileMode)
}

// update replaces the metadata of a claim. The error is fs.ErrNotExist if the claim was
// removed.
func (s *store) update(claim preparedClaim) error {
	if err := s.writeMetadata(s.path(claim.UID), claim); err != nil {
		return fmt.Errorf("update the metadata of claim %s: %w", claim.UID, err)
	}
	return nil
}

// writeToken replaces the token of a space. The error is fs.ErrNotExist if the claim was
// removed.
func (s *store) writeToken(claim types.UID, subdir string, t token.Token) error {
	path := filepath.Join(s.credentialsPath(claim, subdir), containeredits.TokenFile)
	if err := s.staging.WriteFile(path, t.Reveal(), credentialsFileMode); err != nil {
		return fmt.Errorf("write the token of claim %s: %w", claim, err)
	}
	return nil
}

// writeServerFiles replaces those files of a space that have other contents.
func (s *store) writeServerFiles(claim types.UID, subdir string, files serverFiles) error {
	for name, content := range map[string][]byte{containeredits.CAFile: files.ca, containeredits.KubeconfigFile: files.kubeconfig} {
		path := filepath.Join(s.credentialsPath(claim, subdir), name)
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
			continue
		}
		if err := s.staging.WriteFile(path, content, credentialsFileMode); err != nil {
			return fmt.Errorf("write %s of claim %s: %w", name, claim, err)
		}
	}
	return nil
}

// get returns a claim. The error is fs.ErrNotExist if it is not there.
func (s *store) get(claim types.UID) (preparedClaim, error) {
	raw, err := os.ReadFile(filepath.Join(s.path(claim), metadataFile))
	if err != nil {
		return preparedClaim{}, fmt.Errorf("read the metadata of claim %s: %w", claim, err)
	}
	var p preparedClaim
	switch err := json.Unmarshal(raw, &p); {
	case err != nil:
		return preparedClaim{}, fmt.Errorf("decode the metadata of claim %s: %w", claim, err)
	case p.APIVersion != metadataVersion:
		return preparedClaim{}, fmt.Errorf("decode the metadata of claim %s: apiVersion is %q, must be %q", claim, p.APIVersion, metadataVersion)
	case p.UID != claim:
		return preparedClaim{}, fmt.Errorf("decode the metadata of claim %s: they are those of claim %q", claim, p.UID)
	}
	if err := p.validate(); err != nil {
		return preparedClaim{}, fmt.Errorf("decode the metadata of claim %s: %w", claim, err)
	}
	return p, nil
}

// validate returns an error if a name is not that of a directory in its parent.
func (p preparedClaim) validate() error {
	if err := validateUID(p.UID); err != nil {
		return err
	}
	for _, space := range p.Spaces {
		if space.Subdir != "" && !isName(space.Subdir) {
			return fmt.Errorf("%q is no name for a directory", space.Subdir)
		}
	}
	return nil
}

// has reports whether a claim is there, also one whose metadata can't be read.
func (s *store) has(claim types.UID) (bool, error) {
	switch _, err := os.Lstat(s.path(claim)); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fmt.Errorf("look for claim %s: %w", claim, err)
	}
}

// list returns the claims, also those whose metadata can't be read.
func (s *store) list() ([]types.UID, error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, fmt.Errorf("list the prepared claims: %w", err)
	}
	var out []types.UID
	for _, e := range entries {
		if e.IsDir() && e.Name() != storeStagingDir {
			out = append(out, types.UID(e.Name()))
		}
	}
	return out, nil
}

// remove removes a claim, if it is there.
func (s *store) remove(claim types.UID) error {
	err := validateUID(claim)
	if err == nil {
		err = s.staging.Discard(s.path(claim))
	}
	if err != nil {
		return fmt.Errorf("remove claim %s: %w", claim, err)
	}
	return nil
}

// path returns the directory of a claim.
func (s *store) path(claim types.UID) string { return filepath.Join(s.root, string(claim)) }

func validateUID(claim types.UID) error {
	if name := string(claim); !isName(name) || name == storeStagingDir {
		return fmt.Errorf("%q is not a UID", claim)
	}
	return nil
}

// isName reports whether a name stays in the directory that it is joined to.
func isName(name string) bool {
	return name != "." && filepath.IsLocal(name) && filepath.Base(name) == name
}
