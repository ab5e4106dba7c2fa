// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cdi tells the container runtime what to put into containers, by the
// Container Device Interface: one spec file per claim, one CDI device per space.
package cdi

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/pkg/parser"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/space-dra/space-dra-driver/pkg/space/staging"
)

// extension is the one that the library appends.
const extension = ".yaml"

// class is the CDI class of spaces; the vendor is the driver's name.
const class = "space"

// Device is what containers with one space get.
type Device struct {
	// Name is unique on the node and never used again for something else, since
	// runtimes cache specs by it.
	Name string
	// Env are variables as NAME=value. They win over those in the pod's spec.
	Env []string
	// HostDir is mounted read-only at each of ContainerDirs.
	HostDir       string
	ContainerDirs []string
}

// Store keeps the spec files of one driver.
type Store struct {
	dir    string
	vendor string
	// staging is where specs are written before they are moved into place. The
	// library's temporary files have names that say nothing of whose they are, and
	// other drivers use the directory too. Nobody looks for specs in directories
	// below it (container-device-interface, pkg/cdi/spec-dirs.go).
	staging *staging.Dir
}

// NewStore makes the directory if need be.
func NewStore(driver, dir string) (*Store, error) {
	if err := parser.ValidateVendorName(driver); err != nil {
		return nil, fmt.Errorf("driver name %q can't be a CDI vendor: %w", driver, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory for CDI specs: %w", err)
	}
	stage, err := staging.Open(filepath.Join(dir, "."+driver))
	if err != nil {
		return nil, fmt.Errorf("open the directory in which CDI specs are written: %w", err)
	}
	return &Store{dir: dir, vendor: driver, staging: stage}, nil
}

// Close ends the use of the store.
func (s *Store) Close() error { return s.staging.Close() }

// RemoveAbandoned removes what processes were writing that have ended, and returns
// the paths.
func (s *Store) RemoveAbandoned() ([]string, error) { return s.staging.RemoveAbandoned() }

// ID returns a device's name as the kubelet and the runtime know it.
func (s *Store) ID(deviceName string) string {
	return parser.QualifiedName(s.vendor, class, deviceName)
}

// Write puts the spec of a claim in place, over an existing one.
func (s *Store) Write(claim types.UID, devices []Device) error {
	spec := &specs.Spec{Kind: s.vendor + "/" + class}
	for _, d := range devices {
		spec.Devices = append(spec.Devices, specs.Device{Name: d.Name, ContainerEdits: edits(d)})
	}
	version, err := specs.MinimumRequiredVersion(spec)
	if err != nil {
		return fmt.Errorf("find the version of the CDI spec of claim %s: %w", claim, err)
	}
	spec.Version = version
	file := s.name(claim) + extension
	if err := s.staging.Put(filepath.Join(s.dir, file), func(dir string) (string, error) {
		cache, err := cdi.NewCache(cdi.WithSpecDirs(dir), cdi.WithAutoRefresh(false))
		if err != nil {
			return "", err
		}
		return file, cache.WriteSpec(spec, s.name(claim))
	}); err != nil {
		return fmt.Errorf("write the CDI spec of claim %s: %w", claim, err)
	}
	return nil
}

// Remove deletes the spec of a claim. There need not be one.
func (s *Store) Remove(claim types.UID) error {
	err := os.Remove(filepath.Join(s.dir, s.name(claim)+extension))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the CDI spec of claim %s: %w", claim, err)
	}
	return nil
}

// List returns the claims that have a spec of this driver, by the files' names.
func (s *Store) List() ([]types.UID, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list the CDI specs: %w", err)
	}
	var out []types.UID
	for _, e := range entries {
		name, isSpec := strings.CutSuffix(e.Name(), extension)
		claim, isOurs := strings.CutPrefix(name, s.name(""))
		if isSpec && isOurs && e.Type().IsRegular() {
			out = append(out, types.UID(claim))
		}
	}
	return out, nil
}

func (s *Store) name(claim types.UID) string {
	return cdi.GenerateTransientSpecName(s.vendor, class, string(claim))
}

func edits(d Device) specs.ContainerEdits {
	out := specs.ContainerEdits{Env: d.Env}
	for _, dir := range d.ContainerDirs {
		out.Mounts = append(out.Mounts, &specs.Mount{
			HostPath:      d.HostDir,
			ContainerPath: dir,
			Options:       []string{"bind", "ro", "nosuid", "nodev", "noexec"},
		})
	}
	return out
}
