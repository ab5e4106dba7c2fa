// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cdi tells the container runtime what to put into containers, by the
// Container Device Interface: one spec file per claim, one CDI device per space.
package cdi

import (
	"bytes"
	"errors"
	"fmt"
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
	cache  *cdi.Cache
}

// NewStore makes the directory if need be.
func NewStore(driver, dir string) (*Store, error) {
	if err := parser.ValidateVendorName(driver); err != nil {
		return nil, fmt.Errorf("driver name %q can't be a CDI vendor: %w", driver, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory for CDI specs: %w", err)
	}
	// Without refreshing, the cache reads the specs of others once, and no more.
	cache, err := cdi.NewCache(cdi.WithSpecDirs(dir), cdi.WithAutoRefresh(false))
	if err != nil {
		return nil, fmt.Errorf("open the directory for CDI specs: %w", err)
	}
	return &Store{dir: dir, vendor: driver, cache: cache}, nil
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
	if err := s.cache.WriteSpec(spec, s.name(claim)); err != nil {
		return fmt.Errorf("write the CDI spec of claim %s: %w", claim, err)
	}
	return nil
}

// Remove deletes the spec of a claim. There need not be one.
func (s *Store) Remove(claim types.UID) error {
	if err := s.cache.RemoveSpec(s.name(claim)); err != nil {
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

// RemoveTemporary removes the files that a crash left half-written before the
// given time, and returns their paths. Other drivers use the same names: a file is
// removed only if it says that it is this driver's.
func (s *Store) RemoveTemporary(before time.Time) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(s.dir, "spec.*.tmp"))
	if err != nil {
		return nil, fmt.Errorf("look for temporary CDI specs: %w", err)
	}
	var out []string
	var errs []error
	ours := []byte("\nkind: " + s.vendor + "/" + class + "\n")
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil || !info.Mode().IsRegular() || !info.ModTime().Before(before) {
			continue
		}
		// It may end anywhere, so it need not be YAML.
		content, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(content, ours) {
			continue
		}
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
