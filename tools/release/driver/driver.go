// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package driver says what the driver's image holds, for releases and for tests:
// the driver's programs and nothing else.
package driver

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/space-dra/space-dra-driver/tools/release/image"
)

const (
	// Name is the name of the image and of the chart.
	Name = "space-dra-driver"
	// Source is where the source is.
	Source = "https://github.com/space-dra/space-dra-driver"
	// LDFlags are the linker's flags, before the version.
	LDFlags = "-s -w -X main.version="

	licenses = "Apache-2.0"
	// nonRoot is who the programs are unless the pod says otherwise, as it does for
	// the plugin.
	nonRoot    = "65532:65532"
	executable = 0o755
)

// Programs are the names of the driver's programs, which are in cmd.
func Programs() []string { return []string{"space-check", "space-controller", "space-kubeletplugin"} }

// ImagePath is where a program is in the image.
func ImagePath(program string) string { return "/usr/bin/" + program }

// Build says which image is wanted.
type Build struct {
	// Root is the folder with the source.
	Root string
	// Dir is where the programs are written. Programs of several architectures need
	// several folders.
	Dir          string
	Version      string
	Architecture string
	// OS is what the programs run on; Linux when empty, as in images.
	OS string
	// Revision is the commit that was built. Images for tests have none.
	Revision string
	// Created is the time of the image; zero is the start of Unix time.
	Created time.Time
}

// Image builds the programs and returns what their image is made of.
func (b Build) Image(ctx context.Context) (image.Spec, error) {
	spec := image.Spec{
		Architecture: b.Architecture,
		Created:      b.Created,
		Env:          []string{"PATH=/usr/bin"},
		User:         nonRoot,
		Labels:       b.Labels(),
	}
	for _, program := range Programs() {
		if err := b.Compile(ctx, program); err != nil {
			return image.Spec{}, err
		}
		spec.Files = append(spec.Files, image.File{Path: ImagePath(program), Source: b.Program(program), Mode: executable})
	}
	return spec, nil
}

// Program is the file that a program is built into.
func (b Build) Program(name string) string { return filepath.Join(b.Dir, name) }

// Labels say of the image, in the words of OCI, where it comes from.
func (b Build) Labels() map[string]string {
	const prefix = "org.opencontainers.image."
	labels := map[string]string{
		prefix + "title":    Name,
		prefix + "source":   Source,
		prefix + "version":  b.Version,
		prefix + "licenses": licenses,
	}
	if b.Revision != "" {
		labels[prefix+"revision"] = b.Revision
	}
	return labels
}

// Compile makes the same program of the same source with the same Go, wherever and
// by whom: paths are trimmed, and what the environment may say of the code that is
// generated is set. Git's state is left to labels; a copy of the source has none.
func (b Build) Compile(ctx context.Context, program string) error {
	system := cmp.Or(b.OS, "linux")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", LDFlags+b.Version, "-o", b.Program(program), "./cmd/"+program)
	cmd.Dir = b.Root
	cmd.Env = append(os.Environ(), "PWD="+b.Root, "GOOS="+system, "GOARCH="+b.Architecture, "CGO_ENABLED=0", "GOWORK=off",
		"GOFLAGS=", "GOEXPERIMENT=", "GOFIPS140=off", "GOAMD64=v1", "GOARM64=v8.0")
	// Ctrl-C is for us; the compiler's processes end with the go command.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building %s for %s/%s in %s: %w\n%s", program, system, b.Architecture, b.Root, err, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}
