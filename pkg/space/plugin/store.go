// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
	"github.com/space-dra/space-dra-driver/pkg/space/staging"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// The store has a directory for each prepared claim:
//
//	<claim UID>/metadata.json
//	<claim UID>/credentials/[<request>/]{kubeconfig,token,ca.crt,namespace}
//	<claim UID>/device-metadata/<request>.json
//
// Only the directories with credentials, and the files with device metadata, are mounted in
// containers.
const (
	metadataFile   = "metadata.json"
	credentialsDir = "credentials"

	// storeStagingDir is in the root. No claim has this name.
	storeStagingDir = ".staging"

	// metadataVersion is in each metadata file. It changes when the file changes in a way
	// that an older plugin cannot read.
	metadataVersion = "plugin.space.resource.example.com/v1"

	// Containers run as any user, and CDI has no fsGroup. The mode of the root keeps
	// other users of the host out.
	credentialsFileMode = 0o644
	credentialsDirMode  = fs.ModeDir | 0o755
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
	// PodClaimName is the name of a claim from a template in the pod. It is empty for other claims.
	PodClaimName string `json:"podClaimName,omitempty"`
	// AllocationID names the allocation that is prepared.
	AllocationID string `json:"allocationID"`
	// CDIName is the start of the names of the claim's CDI devices. If empty, AllocationID.
	CDIName string          `json:"cdiName,omitempty"`
	Spaces  []preparedSpace `json:"spaces"`
}

// cdiName returns the start of the names of the claim's CDI devices. Runtimes cache specs by these
// names. They come from an allocation and not from the claim, because the claim may be allocated
// again.
func (prepared preparedClaim) cdiName() string {
	return cmp.Or(prepared.CDIName, prepared.AllocationID)
}

// keepCDIName keeps the names of the CDI devices of an earlier allocation, which the kubelet
// remembers until it unprepares the claim.
func (prepared *preparedClaim) keepCDIName(earlier preparedClaim) {
	if name := earlier.cdiName(); name != prepared.AllocationID {
		prepared.CDIName = name
	}
}

// claimName returns the claim's name.
func (prepared preparedClaim) claimName() types.NamespacedName {
	return types.NamespacedName{Namespace: prepared.Namespace, Name: prepared.Name}
}

// preparedSpace is one space of a prepared claim.
type preparedSpace struct {
	// Subdir is the subdirectory of the claim's credentials. If empty, their directory itself.
	Subdir string `json:"subdir,omitempty"`
	// Request is the request of the space. It is empty if an earlier version of the plugin prepared it.
	Request string `json:"request,omitempty"`
	// ContainerDir is a directory at which containers have the credentials.
	ContainerDir string `json:"containerDir,omitempty"`
	// Pool and Device are what the scheduler allocated.
	Pool   string `json:"pool"`
	Device string `json:"device"`
	// Namespace is the namespace of the space, and of the ServiceAccount that the token is for.
	Namespace         string    `json:"namespace"`
	ServiceAccount    string    `json:"serviceAccount"`
	ServiceAccountUID types.UID `json:"serviceAccountUID"`
	// TokenLifetime is the lifetime to request. Zero means the default of the installation.
	TokenLifetime metav1.Duration `json:"tokenLifetime,omitzero"`
	// EmbedToken writes the token to the kubeconfig, too.
	EmbedToken bool `json:"embedToken,omitempty"`
}

// store keeps the prepared claims of a node. Its root belongs on a file system in
// memory: it has tokens, and after a reboot the kubelet prepares claims again.
type store struct {
	driver  string
	root    string
	staging staging.Dir
	// server is how containers reach the API server.
	server *apiServerWithCA
}

// openStore creates the root directory if needed, and makes it inaccessible to other users.
func openStore(driver, root string, server *apiServerWithCA) (*store, error) {
	if err := os.MkdirAll(root, privateDirMode); err != nil {
		return nil, fmt.Errorf("create the directory for prepared claims: %w", err)
	}
	// The kubelet may have created it with another mode.
	if err := os.Chmod(root, privateDirMode); err != nil {
		return nil, fmt.Errorf("change the mode of the directory for prepared claims: %w", err)
	}
	return &store{driver: driver, root: root, staging: staging.Dir(filepath.Join(root, storeStagingDir)), server: server}, nil
}

// credentialsPath returns the directory with the credentials of a space.
func (s *store) credentialsPath(claim types.UID, subdir string) string {
	return filepath.Join(s.path(claim), credentialsDir, subdir)
}

// put writes a prepared claim, with a token for each of its spaces. A claim that exists
// already keeps its directories, because containers may have them mounted.
func (s *store) put(prepared preparedClaim, tokens []token.Token) error {
	err := prepared.validate()
	if err == nil {
		err = s.staging.Create(s.path(prepared.UID), s.filesOf(prepared, tokens))
		if errors.Is(err, fs.ErrExist) {
			return s.update(prepared, tokens)
		}
	}
	if err != nil {
		return fmt.Errorf("store claim %s: %w", prepared.UID, err)
	}
	return nil
}

// update replaces what has changed of a prepared claim, and creates directories of credentials
// that are missing. The error is fs.ErrNotExist if the claim was removed.
func (s *store) update(prepared preparedClaim, tokens []token.Token) error {
	if err := s.staging.Update(s.path(prepared.UID), s.filesOf(prepared, tokens)); err != nil {
		return fmt.Errorf("update claim %s: %w", prepared.UID, err)
	}
	return nil
}

// filesOf returns all files of a claim. The metadata comes first: a plugin that reads them later
// renews the tokens of all spaces.
func (s *store) filesOf(prepared preparedClaim, tokens []token.Token) []staging.File {
	return slices.Concat(metadataOf(prepared), directoriesOf(prepared), s.containerFilesOf(prepared, tokens))
}

// metadataOf returns the file with the metadata.
func metadataOf(prepared preparedClaim) []staging.File {
	prepared.APIVersion = metadataVersion
	raw, err := json.MarshalIndent(prepared, "", "  ")
	utilruntime.Must(err)
	return []staging.File{{Path: metadataFile, Content: raw, Mode: privateFileMode}}
}

// directoriesOf returns the directories with files that are mounted in containers.
func directoriesOf(prepared preparedClaim) []staging.File {
	dirs := []staging.File{{Path: credentialsDir, Mode: credentialsDirMode}, {Path: deviceMetadataDir, Mode: credentialsDirMode}}
	for _, space := range prepared.Spaces {
		if space.Subdir != "" {
			dirs = append(dirs, staging.File{Path: filepath.Join(credentialsDir, space.Subdir), Mode: credentialsDirMode})
		}
	}
	return dirs
}

// containerFilesOf returns the files of containers. They include the token of a space only if it is
// new.
func (s *store) containerFilesOf(prepared preparedClaim, tokens []token.Token) []staging.File {
	return append(s.credentialsOf(prepared, tokens), deviceMetadataOf(prepared, s.driver, s.server.URL)...)
}

func (s *store) credentialsOf(prepared preparedClaim, tokens []token.Token) []staging.File {
	var files []staging.File
	for i, space := range prepared.Spaces {
		add := func(name string, content []byte) {
			files = append(files, staging.File{Path: filepath.Join(credentialsDir, space.Subdir, name), Content: content, Mode: credentialsFileMode})
		}
		add(containeredits.CAFile, *s.server.ca.Load())
		add(containeredits.NamespaceFile, []byte(space.Namespace))
		token := tokens[i].Reveal()
		var embedded []byte
		if space.EmbedToken {
			embedded = token
			if token == nil {
				embedded = s.storedToken(prepared.UID, space.Subdir)
			}
		}
		add(containeredits.KubeconfigFile, []byte(containeredits.Kubeconfig(s.server.URL, containeredits.CredentialsDir(prepared.UID, space.Subdir), space.Namespace, string(embedded))))
		if token != nil {
			add(containeredits.TokenFile, token)
		}
	}
	return files
}

// storedToken returns the token in the file of a space, or nil if it cannot be read.
func (s *store) storedToken(claim types.UID, subdir string) []byte {
	token, err := os.ReadFile(filepath.Join(s.credentialsPath(claim, subdir), containeredits.TokenFile))
	if err != nil {
		return nil
	}
	return token
}

// updateMetadata replaces the metadata of a claim. The error is fs.ErrNotExist if the claim
// was removed.
func (s *store) updateMetadata(prepared preparedClaim) error {
	if err := s.staging.Update(s.path(prepared.UID), metadataOf(prepared)); err != nil {
		return fmt.Errorf("update the metadata of claim %s: %w", prepared.UID, err)
	}
	return nil
}

// updateCredentials replaces the files of containers whose contents have changed. A space
// without a new token keeps its token. The error is fs.ErrNotExist if the directory of a
// space was removed.
func (s *store) updateCredentials(prepared preparedClaim, tokens []token.Token) error {
	if err := s.staging.Update(s.path(prepared.UID), s.containerFilesOf(prepared, tokens)); err != nil {
		return fmt.Errorf("update the credentials of claim %s: %w", prepared.UID, err)
	}
	return nil
}

// get returns a claim. The error is fs.ErrNotExist if it does not exist.
func (s *store) get(claim types.UID) (preparedClaim, error) {
	if _, err := os.Lstat(s.path(claim)); err != nil {
		return preparedClaim{}, fmt.Errorf("look for claim %s: %w", claim, err)
	}
	raw, err := os.ReadFile(filepath.Join(s.path(claim), metadataFile))
	var prepared preparedClaim
	if err == nil {
		err = json.Unmarshal(raw, &prepared)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = errors.New("there is no metadata file")
	case err != nil:
	case prepared.APIVersion != metadataVersion:
		err = fmt.Errorf("apiVersion is %q, must be %q", prepared.APIVersion, metadataVersion)
	case prepared.UID != claim:
		err = fmt.Errorf("it belongs to claim %q", prepared.UID)
	default:
		err = prepared.validate()
	}
	if err != nil {
		return preparedClaim{}, fmt.Errorf("read the metadata of claim %s: %w", claim, err)
	}
	return prepared, nil
}

// validate returns an error if the UID or a subdirectory is not a valid name of a directory.
func (prepared preparedClaim) validate() error {
	if err := validateUID(prepared.UID); err != nil {
		return err
	}
	for _, space := range prepared.Spaces {
		if space.Subdir != "" && !isName(space.Subdir) {
			return fmt.Errorf("%q is not the name of a directory", space.Subdir)
		}
	}
	return nil
}

// list returns the claims, including those whose metadata cannot be read.
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

// remove removes a claim, if it exists.
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
