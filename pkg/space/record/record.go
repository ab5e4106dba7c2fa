// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package record remembers on the node, across restarts of the plugin, which
// claims are prepared: one file per claim, without secrets.
//
// A reader takes files of its own version and refuses others; it never guesses.
// From what it refuses it takes whose record that was, and nothing else.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/pkg/space/staging"
)

const (
	// APIVersion stands in every file, and changes with the format.
	APIVersion = "plugin.space.resource.example.com/v1"
	// Kind stands in every file.
	Kind = "PreparedClaim"

	extension = ".json"
	// aside is appended to the name of a file that can't be read, so that it is
	// kept for a person to look at.
	aside = ".unreadable"
)

// Prepared is one prepared claim.
type Prepared struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`

	// Namespace, Name and UID are the claim's.
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	// AllocationID says which allocation of the claim was prepared.
	AllocationID string `json:"allocationID"`
	// Spaces are the claim's spaces.
	Spaces []Space `json:"spaces"`
}

// Space is one space of a prepared claim.
type Space struct {
	// Slot is the part of the artifacts' directory below the claim's.
	Slot string `json:"slot,omitempty"`
	// Pool and Device are where the space is from. Absent: recorded by a version that
	// does not know these fields.
	Pool   string `json:"pool,omitempty"`
	Device string `json:"device,omitempty"`
	// Namespace is the space's namespace; ServiceAccount and its UID are those
	// that the token is for.
	Namespace         string    `json:"namespace"`
	ServiceAccount    string    `json:"serviceAccount"`
	ServiceAccountUID types.UID `json:"serviceAccountUID"`
	// TokenLifetime is what to ask for. Absent: what the installation has, as it
	// is also for versions that don't know this field.
	TokenLifetime metav1.Duration `json:"tokenLifetime,omitzero"`
}

// Store is the directory with the files.
type Store struct {
	dir     string
	staging *staging.Dir
}

// NewStore makes the directory if need be.
func NewStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory for records: %w", err)
	}
	stage, err := staging.Open(filepath.Join(dir, ".staging"))
	if err != nil {
		return nil, fmt.Errorf("open the directory for records: %w", err)
	}
	return &Store{dir: dir, staging: stage}, nil
}

// Close ends the use of the store.
func (s *Store) Close() error { return s.staging.Close() }

// RemoveAbandoned removes what processes were writing that have ended, and returns
// the paths.
func (s *Store) RemoveAbandoned() ([]string, error) { return s.staging.RemoveAbandoned() }

// Save writes the record of a claim, over an existing one, and returns when it is
// safe on disk.
func (s *Store) Save(p Prepared) error {
	p.APIVersion, p.Kind = APIVersion, Kind
	raw, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the record of claim %s: %w", p.UID, err)
	}
	path, err := s.path(p.UID)
	if err != nil {
		return err
	}
	if err := s.staging.WriteFileDurably(path, raw, 0o600); err != nil {
		return fmt.Errorf("write the record of claim %s: %w", p.UID, err)
	}
	// It takes the place of one that could not be read.
	return remove(p.UID, path+aside)
}

// Remove deletes the record of a claim, also one that can't be read. There need
// not be any.
func (s *Store) Remove(claim types.UID) error {
	path, err := s.path(claim)
	if err != nil {
		return err
	}
	return errors.Join(remove(claim, path), remove(claim, path+aside))
}

func remove(claim types.UID, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the record of claim %s: %w", claim, err)
	}
	return nil
}

func (s *Store) path(claim types.UID) (string, error) {
	name := string(claim) + extension
	if claim == "" || filepath.Base(name) != name {
		return "", fmt.Errorf("a claim with UID %q can't have a record", claim)
	}
	return filepath.Join(s.dir, name), nil
}
