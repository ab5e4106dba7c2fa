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

// cdiDevice is what containers with one space get.
type cdiDevice struct {
	// name is unique on the node and never used again for something else, because
	// runtimes cache specs by it.
	name string
	// env are variables as NAME=value. They override those in the pod's spec.
	env []string
	// hostDir is mounted read-only at each of containerDirs.
	hostDir       string
	containerDirs []string
}

// cdiSpecs are the CDI specs of one driver: one file for each claim.
type cdiSpecs struct {
	dir    string
	vendor string
	// staging is in a directory of its own because other drivers write to dir, too.
	// Runtimes read no directories below dir (container-device-interface,
	// pkg/cdi/spec-dirs.go).
	staging *staging.Dir
}

// openCDISpecs creates the directory if needed.
func openCDISpecs(driver, dir string) (*cdiSpecs, error) {
	if err := parser.ValidateVendorName(driver); err != nil {
		return nil, fmt.Errorf("driver name %q is no CDI vendor: %w", driver, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create the directory for CDI specs: %w", err)
	}
	stage, err := staging.Open(filepath.Join(dir, "."+driver))
	if err != nil {
		return nil, fmt.Errorf("open the directory for CDI specs: %w", err)
	}
	return &cdiSpecs{dir: dir, vendor: driver, staging: stage}, nil
}

// id returns the name by which the kubelet and the runtime know a device.
func (s *cdiSpecs) id(device string) string {
	return parser.QualifiedName(s.vendor, cdiClass, device)
}

// write creates or replaces the spec of a claim.
func (s *cdiSpecs) write(claim types.UID, devices []cdiDevice) error {
	spec := &specs.Spec{Kind: s.vendor + "/" + cdiClass}
	for _, d := range devices {
		spec.Devices = append(spec.Devices, specs.Device{Name: d.name, ContainerEdits: d.edits()})
	}
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

// remove deletes the spec of a claim, if there is one.
func (s *cdiSpecs) remove(claim types.UID) error {
	if err := os.Remove(s.path(claim)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the CDI spec of claim %s: %w", claim, err)
	}
	return nil
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

func (d cdiDevice) edits() specs.ContainerEdits {
	out := specs.ContainerEdits{Env: d.env}
	for _, dir := range d.containerDirs {
		out.Mounts = append(out.Mounts, &specs.Mount{
			HostPath:      d.hostDir,
			ContainerPath: dir,
			Options:       []string{"bind", "ro", "nosuid", "nodev", "noexec"},
		})
	}
	return out
}
