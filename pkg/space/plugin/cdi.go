// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

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

const (
	// cdiClass is the CDI class of spaces. The vendor is the driver's name.
	cdiClass = "space"
	// cdiExtension is the one that the library appends.
	cdiExtension = ".yaml"
)

// cdiSpecs are the CDI specs of one driver: one file for each claim.
type cdiSpecs struct {
	dir    string
	vendor string
	// staging is in a directory of its own because other drivers write to dir, too.
	// Runtimes read no directories below dir (container-device-interface,
	// pkg/cdi/spec-dirs.go).
	staging staging.Dir
}

// openCDISpecs creates the directory if needed.
func openCDISpecs(driver, dir string) (*cdiSpecs, error) {
	if err := parser.ValidateVendorName(driver); err != nil {
		return nil, fmt.Errorf("driver name %q is no CDI vendor: %w", driver, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create the directory for CDI specs: %w", err)
	}
	return &cdiSpecs{dir: dir, vendor: driver, staging: staging.Dir(filepath.Join(dir, "."+driver))}, nil
}

// id returns the name by which the kubelet and the runtime know a device.
func (s *cdiSpecs) id(device string) string {
	return parser.QualifiedName(s.vendor, cdiClass, device)
}

// write creates or replaces the spec of a claim.
func (s *cdiSpecs) write(claim types.UID, devices []specs.Device) error {
	spec := &specs.Spec{Kind: s.vendor + "/" + cdiClass, Devices: devices}
	version, err := specs.MinimumRequiredVersion(spec)
	if err != nil {
		return fmt.Errorf("find the version of the CDI spec of claim %s: %w", claim, err)
	}
	spec.Version = version
	// The library's own temporary file would stay in the runtime's directory when the
	// process is killed.
	if err := s.staging.Put(s.path(claim), func(dir string) (string, error) {
		cache, err := cdi.NewCache(cdi.WithSpecDirs(dir), cdi.WithAutoRefresh(false))
		if err != nil {
			return "", err
		}
		return filepath.Base(s.path(claim)), cache.WriteSpec(spec, s.name(claim))
	}); err != nil {
		return fmt.Errorf("write the CDI spec of claim %s: %w", claim, err)
	}
	return nil
}

// remove removes the spec of a claim, and reports whether there was one.
func (s *cdiSpecs) remove(claim types.UID) (removed bool, err error) {
	err = os.Remove(s.path(claim))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("remove the CDI spec of claim %s: %w", claim, err)
	}
	return err == nil, nil
}

// list returns the claims that have a spec, by the names of the files.
func (s *cdiSpecs) list() ([]types.UID, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list the CDI specs: %w", err)
	}
	var out []types.UID
	for _, e := range entries {
		name, isSpec := strings.CutSuffix(e.Name(), cdiExtension)
		claim, isOurs := strings.CutPrefix(name, s.name(""))
		if isSpec && isOurs && e.Type().IsRegular() {
			out = append(out, types.UID(claim))
		}
	}
	return out, nil
}

func (s *cdiSpecs) path(claim types.UID) string {
	return filepath.Join(s.dir, s.name(claim)+cdiExtension)
}

func (s *cdiSpecs) name(claim types.UID) string {
	return cdi.GenerateTransientSpecName(s.vendor, cdiClass, string(claim))
}

// deviceSpec returns a device with which containers have variables, as NAME=value, and a
// directory of the host at each of some paths. Runtimes cache specs by the name: it is
// never used again for another device.
func deviceSpec(name string, env []string, hostDir string, containerDirs []string) specs.Device {
	edits := specs.ContainerEdits{Env: env}
	for _, dir := range containerDirs {
		edits.Mounts = append(edits.Mounts, &specs.Mount{
			HostPath:      hostDir,
			ContainerPath: dir,
			Options:       []string{"bind", "ro", "nosuid", "nodev", "noexec"},
		})
	}
	return specs.Device{Name: name, ContainerEdits: edits}
}
