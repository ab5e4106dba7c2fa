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

// store keeps the prepared claims of a node. Its root belongs on a file system in
// memory: it has tokens, and after a reboot the kubelet prepares claims again.
type store struct {
	root    string
	staging staging.Dir
	// server is how containers reach the API server.
	server *apiServer
}

// openStore creates the root directory if needed, and makes it inaccessible to other users.
func openStore(root string, server *apiServer) (*store, error) {
	if err := os.MkdirAll(root, privateDirMode); err != nil {
		return nil, fmt.Errorf("create the directory for prepared claims: %w", err)
	}
	// The kubelet may have created it with another mode.
	if err := os.Chmod(root, privateDirMode); err != nil {
		return nil, fmt.Errorf("change the mode of the directory for prepared claims: %w", err)
	}
	return &store{root: root, staging: staging.Dir(filepath.Join(root, storeStagingDir)), server: server}, nil
}

// credentialsPath returns the directory with the credentials of a space.
func (s *store) credentialsPath(claim types.UID, subdir string) string {
	return filepath.Join(s.path(claim), credentialsDir, subdir)
}

// put writes a prepared claim, with a token for each of its spaces. A claim that is there
// already keeps its directories, because containers may have them mounted.
func (s *store) put(claim preparedClaim, tokens []token.Token) error {
	if err := claim.validate(); err != nil {
		return fmt.Errorf("store claim %s: %w", claim.UID, err)
	}
	_, err := os.Lstat(s.path(claim.UID))
	found := err == nil
	if errors.Is(err, fs.ErrNotExist) {
		err = s.staging.Put(s.path(claim.UID), func(dir string) (string, error) {
			dir = filepath.Join(dir, string(claim.UID))
			if err := os.Mkdir(dir, privateDirMode); err != nil {
				return "", err
			}
			return string(claim.UID), s.write(dir, claim, tokens)
		})
		// Another plugin, which serves beside this one, can be faster.
		found = errors.Is(err, fs.ErrExist)
	}
	if found {
		err = s.write(s.path(claim.UID), claim, tokens)
	}
	if err != nil {
		return fmt.Errorf("store claim %s: %w", claim.UID, err)
	}
	return nil
}

// write writes all files of a claim into its directory. The metadata come first: a plugin
// that reads them later renews the tokens of all spaces.
func (s *store) write(dir string, claim preparedClaim, tokens []token.Token) error {
	if err := s.writeMetadata(dir, claim); err != nil {
		return err
	}
	dir = filepath.Join(dir, credentialsDir)
	if err := makeCredentialsDir(dir); err != nil {
		return err
	}
	for _, space := range claim.Spaces {
		if space.Subdir == "" {
			continue
		}
		if err := makeCredentialsDir(filepath.Join(dir, space.Subdir)); err != nil {
			return err
		}
	}
	return s.writeCredentials(dir, claim, tokens)
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

// writeCredentials replaces those files of containers that have other contents. A space
// without a new token keeps the one that it has.
func (s *store) writeCredentials(dir string, claim preparedClaim, tokens []token.Token) error {
	type file struct {
		name    string
		content []byte
	}
	for i, space := range claim.Spaces {
		files := []file{
			{containeredits.CAFile, *s.server.ca.Load()},
			{containeredits.NamespaceFile, []byte(space.Namespace)},
			{containeredits.KubeconfigFile, []byte(containeredits.Kubeconfig(s.server.URL, containeredits.CredentialsDir(claim.UID, space.Subdir), space.Namespace))},
		}
		if token := tokens[i].Reveal(); token != nil {
			files = append(files, file{containeredits.TokenFile, token})
		}
		for _, f := range files {
			path := filepath.Join(dir, space.Subdir, f.name)
			if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, f.content) {
				continue
			}
			if err := s.staging.WriteFile(path, f.content, credentialsFileMode); err != nil {
				return err
			}
		}
	}
	return nil
}

// updateMetadata replaces the metadata of a claim. The error is fs.ErrNotExist if the claim
// was removed.
func (s *store) updateMetadata(claim preparedClaim) error {
	if err := s.writeMetadata(s.path(claim.UID), claim); err != nil {
		return fmt.Errorf("update the metadata of claim %s: %w", claim.UID, err)
	}
	return nil
}

// updateCredentials replaces the files of containers that have other contents. A space
// without a new token keeps the one that it has. The error is fs.ErrNotExist if the
// directory of a space was removed.
func (s *store) updateCredentials(claim preparedClaim, tokens []token.Token) error {
	if err := s.writeCredentials(s.credentialsPath(claim.UID, ""), claim, tokens); err != nil {
		return fmt.Errorf("update the credentials of claim %s: %w", claim.UID, err)
	}
	return nil
}

// get returns a claim. The error is fs.ErrNotExist if it is not there.
func (s *store) get(claim types.UID) (preparedClaim, error) {
	if _, err := os.Lstat(s.path(claim)); err != nil {
		return preparedClaim{}, fmt.Errorf("look for claim %s: %w", claim, err)
	}
	raw, err := os.ReadFile(filepath.Join(s.path(claim), metadataFile))
	var p preparedClaim
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = errors.New("there is no metadata file")
	case err != nil:
	case p.APIVersion != metadataVersion:
		err = fmt.Errorf("apiVersion is %q, must be %q", p.APIVersion, metadataVersion)
	case p.UID != claim:
		err = fmt.Errorf("they are of claim %q", p.UID)
	default:
		err = p.validate()
	}
	if err != nil {
		return preparedClaim{}, fmt.Errorf("read the metadata of claim %s: %w", claim, err)
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
			return fmt.Errorf("%q is not the name of a directory", space.Subdir)
		}
	}
	return nil
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
