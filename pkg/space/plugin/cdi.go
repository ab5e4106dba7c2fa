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

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/pkg/parser"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
	"github.com/space-dra/space-dra-driver/pkg/space/staging"
)

const (
	// cdiClass is the CDI class of spaces. The vendor is the driver's name.
	cdiClass = "space"
	// cdiExtension is the extension that the library appends.
	cdiExtension = ".yaml"
)

// cdiSpecs are the CDI specs of one driver: one file for each claim.
type cdiSpecs struct {
	dir    string
	vendor string
	// staging is a subdirectory of dir, in which other drivers have files, too. Runtimes do
	// not read subdirectories (container-device-interface, pkg/cdi/spec-dirs.go).
	staging staging.Dir
}

// openCDISpecs creates the directory if needed.
func openCDISpecs(driver, dir string) (*cdiSpecs, error) {
	if err := parser.ValidateVendorName(driver); err != nil {
		return nil, fmt.Errorf("driver name %q is not a CDI vendor: %w", driver, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create the directory for CDI specs: %w", err)
	}
	return &cdiSpecs{dir: dir, vendor: driver, staging: staging.Dir(filepath.Join(dir, "."+driver))}, nil
}

// put creates or replaces the spec of a claim, and returns the devices of its allocation, whose
// names begin with a prefix. Containers get the variables and mounts in edits. The mounted files are
// in the claim's directory on the host.
func (s *cdiSpecs) put(a *allocation.Allocation, prefix string, edits []containeredits.Edits, claimDir string) ([]kubeletplugin.Device, error) {
	var inSpec []specs.Device
	var out []kubeletplugin.Device
	for i, result := range a.Results {
		name := prefix
		if result.Subdir != "" {
			name += "-" + result.Subdir
		}
		device := deviceSpec(name, edits[i], filepath.Join(claimDir, credentialsDir, result.Subdir))
		if file := edits[i].MetadataFile; file != "" {
			device.ContainerEdits.Mounts = append(device.ContainerEdits.Mounts, mount(filepath.Join(claimDir, deviceMetadataFile(result.Request)), file))
		}
		inSpec = append(inSpec, device)
		out = append(out, kubeletplugin.Device{
			Requests:     []string{result.Request},
			PoolName:     result.Pool,
			DeviceName:   result.Device,
			ShareID:      result.ShareID,
			CDIDeviceIDs: []string{parser.QualifiedName(s.vendor, cdiClass, name)},
		})
	}
	return out, s.write(a.ClaimUID, inSpec)
}

// write creates or replaces the spec of a claim, unless it exists already: runtimes read all specs
// again when one is replaced.
func (s *cdiSpecs) write(claim types.UID, devices []specs.Device) error {
	spec := &specs.Spec{Kind: s.vendor + "/" + cdiClass, Devices: devices}
	version, err := specs.MinimumRequiredVersion(spec)
	if err != nil {
		return fmt.Errorf("find the version of the CDI spec of claim %s: %w", claim, err)
	}
	spec.Version = version
	if old, err := cdi.ReadSpec(s.path(claim), 0); err == nil && equality.Semantic.DeepEqual(old.Spec, spec) {
		return nil
	}
	// The library's own temporary file would remain in the runtime's directory if the process
	// is killed.
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

// remove removes the spec of a claim, and reports whether it existed.
func (s *cdiSpecs) remove(claim types.UID) (removed bool, err error) {
	err = os.Remove(s.path(claim))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("remove the CDI spec of claim %s: %w", claim, err)
	}
	return err == nil, nil
}

// has reports whether a claim has a spec.
func (s *cdiSpecs) has(claim types.UID) bool {
	_, err := os.Lstat(s.path(claim))
	return err == nil
}

// list returns the claims that have a spec.
func (s *cdiSpecs) list() ([]types.UID, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list the CDI specs: %w", err)
	}
	var out []types.UID
	for _, e := range entries {
		name, isSpec := strings.CutSuffix(e.Name(), cdiExtension)
		claim, isOwn := strings.CutPrefix(name, s.name(""))
		if isSpec && isOwn && e.Type().IsRegular() {
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

// deviceSpec returns a device with the variables in edits, and with hostDir mounted at the
// directories in edits.
func deviceSpec(name string, edits containeredits.Edits, hostDir string) specs.Device {
	out := specs.ContainerEdits{Env: edits.Env}
	for _, dir := range edits.Dirs {
		out.Mounts = append(out.Mounts, mount(hostDir, dir))
	}
	return specs.Device{Name: name, ContainerEdits: out}
}

func mount(hostPath, containerPath string) *specs.Mount {
	return &specs.Mount{HostPath: hostPath, ContainerPath: containerPath, Options: []string{"bind", "ro", "nosuid", "nodev", "noexec"}}
}
