// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cdi tells the container runtime what to put into containers, by the
// Container Device Interface: one spec file per claim, one CDI device per space.
package cdi

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/pkg/parser"
	"tags.cncf.io/container-device-interface/specs-go"
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
	staging string
	// process tells apart what this process writes from what another one does:
	// while the plugin is updated, two may prepare the same claim.
	process string
	cache   *cdi.Cache
}

// NewStore makes the directory if need be.
func NewStore(driver, dir string) (*Store, error) {
	if err := parser.ValidateVendorName(driver); err != nil {
		return nil, fmt.Errorf("driver name %q can't be a CDI vendor: %w", driver, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory for CDI specs: %w", err)
	}
	staging := filepath.Join(dir, "."+driver)
	if err := os.MkdirAll(staging, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory in which CDI specs are written: %w", err)
	}
	cache, err := cdi.NewCache(cdi.WithSpecDirs(staging), cdi.WithAutoRefresh(false))
	if err != nil {
		return nil, fmt.Errorf("open the directory in which CDI specs are written: %w", err)
	}
	return &Store{dir: dir, vendor: driver, staging: staging, process: rand.Text(), cache: cache}, nil
}

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
	staged := s.name(claim) + "_" + s.process
	if err := s.cache.WriteSpec(spec, staged); err != nil {
		return fmt.Errorf("write the CDI spec of claim %s: %w", claim, err)
	}
	if err := os.Rename(filepath.Join(s.staging, staged+extension), filepath.Join(s.dir, s.name(claim)+extension)); err != nil {
		return fmt.Errorf("put the CDI spec of claim %s in place: %w", claim, err)
	}
	return nil
}

// Remove deletes the spec of a claim. There need not be one.
func (s *Store) Remove(claim types.UID) error {
	// What a process left that was killed before it moved the spec into place.
	entries, err := os.ReadDir(s.staging)
	if err != nil {
		return fmt.Errorf("look for the CDI spec of claim %s: %w", claim, err)
	}
	paths := []string{filepath.Join(s.dir, s.name(claim)+extension)}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), s.name(claim)+"_") || e.Name() == s.name(claim)+extension {
			paths = append(paths, filepath.Join(s.staging, e.Name()))
		}
	}
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the CDI spec of claim %s: %w", claim, err)
		}
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

// RemoveTemporary removes the files that a crash left half-written before the
// given time, and returns their paths.
func (s *Store) RemoveTemporary(before time.Time) ([]string, error) {
	entries, err := os.ReadDir(s.staging)
	if err != nil {
		return nil, fmt.Errorf("look for temporary CDI specs: %w", err)
	}
	var out []string
	var errs []error
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !info.ModTime().Before(before) {
			continue
		}
		path := filepath.Join(s.staging, e.Name())
		if err := os.Remove(path); err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, path)
	}
	return out, errors.Join(errs...)
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
