// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package driver builds the driver's image, for releases and for tests. The image contains only the
// driver's programs.
package driver

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/space-dra/space-dra-driver/tools/release/image"
)

const (
	// Name is the name of the image and of the chart.
	Name = "space-dra-driver"
	// Source is the URL of the repository.
	Source = "https://github.com/space-dra/space-dra-driver"
	// LDFlags are the linker's flags, before the version.
	LDFlags = "-s -w -X main.version="
)

// Programs returns the names of the driver's programs, which are in cmd.
func Programs() []string {
	return []string{"space-check", "space-controller", "space-holder", "space-kubeletplugin"}
}

// ImagePath returns the path of a program in the image, without the leading slash.
func ImagePath(program string) string { return "usr/bin/" + program }

// Build describes an image.
type Build struct {
	// Root is the directory with the source.
	Root string
	// Dir is the directory for the programs. Each architecture needs its own.
	Dir          string
	Version      string
	Architecture string
	// Revision is the commit that is built, and Created its time. Images for tests have
	// neither.
	Revision string
	Created  time.Time
}

// Image compiles the programs and returns the image that contains them.
func (b Build) Image(ctx context.Context) (image.Spec, error) {
	if err := b.Compile(ctx, Programs()...); err != nil {
		return image.Spec{}, err
	}
	programs := map[string]string{}
	for _, program := range Programs() {
		programs[ImagePath(program)] = b.Program(program)
	}
	return image.Spec{
		Architecture: b.Architecture,
		Created:      b.Created,
		Programs:     programs,
		// Pods of the kubelet plugin set another user.
		Config: image.Config{Env: []string{"PATH=/usr/bin"}, User: "65532:65532", WorkingDir: "/", Labels: b.Labels()},
	}, nil
}

// Program returns the file of a compiled program.
func (b Build) Program(name string) string { return filepath.Join(b.Dir, name) }

// Labels returns OCI annotations that describe the image and its source.
func (b Build) Labels() map[string]string {
	const prefix = "org.opencontainers.image."
	labels := map[string]string{
		prefix + "title":    Name,
		prefix + "source":   Source,
		prefix + "version":  b.Version,
		prefix + "licenses": "Apache-2.0",
	}
	if b.Revision != "" {
		labels[prefix+"revision"] = b.Revision
	}
	return labels
}

// Compile builds programs in cmd reproducibly: it trims paths, and sets each environment variable that
// changes generated code. The programs do not contain the commit, which is a label, because a copy of the
// source has none.
func (b Build) Compile(ctx context.Context, programs ...string) error {
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", LDFlags + b.Version, "-o", b.Dir + "/"}
	for _, program := range programs {
		args = append(args, "./cmd/"+program)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.Root
	cmd.Env = append(cmd.Environ(), "GOOS=linux", "GOARCH="+b.Architecture, "CGO_ENABLED=0", "GOWORK=off",
		"GOFLAGS=", "GOEXPERIMENT=", "GOFIPS140=off", "GOAMD64=v1", "GOARM64=v8.0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s for linux/%s in %s: %w\n%s", strings.Join(programs, ", "), b.Architecture, b.Root, err, bytes.TrimSpace(output))
	}
	return nil
}
