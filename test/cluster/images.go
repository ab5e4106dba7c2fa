// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing/fstest"

	"github.com/space-dra/space-dra-driver/test/cluster/binaries"
	"github.com/space-dra/space-dra-driver/tools/release/driver"
	"github.com/space-dra/space-dra-driver/tools/release/image"
)

const (
	// ImageRepository is the repository of the images, which are not published.
	ImageRepository = "registry.example.com/space-dra-driver"
	// DefaultTag is the default version of images.
	DefaultTag = "v0.1.0"

	pauseImage = ImageRepository + "/pause:" + DefaultTag
	imagePath  = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// writePauseImage writes an archive of the pause image, whose program only has to run until the
// container runtime kills it.
func (c *Cluster) writePauseImage() (string, error) {
	busybox, err := findBusybox()
	if err != nil {
		return "", err
	}
	archive := filepath.Join(dataDir(c.rec.Name), "pause.tar")
	return archive, image.WriteArchive(archive, pauseImage, image.Spec{
		Architecture: runtime.GOARCH,
		Programs:     map[string]string{"busybox": busybox},
		Config:       image.Config{Entrypoint: []string{"/busybox", "sleep", "infinity"}, User: "65535:65535"},
	})
}

// Images returns the names of images that BuildImages can build.
func Images() []string { return []string{"driver", "toolbox"} }

// BuildImages writes archives of images into a directory, and returns their paths.
func BuildImages(ctx context.Context, cfg Config, dir, tag string, names ...string) ([]string, error) {
	var archives []string
	for _, name := range names {
		var archive string
		var err error
		switch name {
		case "driver":
			archive, err = buildDriver(ctx, cfg, dir, tag)
		case "toolbox":
			archive, err = buildToolbox(ctx, cfg, dir)
		default:
			err = fmt.Errorf("no image %q; there are %s", name, strings.Join(Images(), ", "))
		}
		if err != nil {
			return nil, err
		}
		archives = append(archives, archive)
	}
	return archives, nil
}

// buildDriver builds the image of the driver for this machine, as a release does.
func buildDriver(ctx context.Context, cfg Config, dir, tag string) (string, error) {
	builder, err := cfg.Builder()
	if err != nil {
		return "", err
	}
	spec, err := driverBuild(cfg, builder, tag).Image(ctx)
	if err != nil {
		return "", err
	}
	archive := filepath.Join(dir, driver.Name+".tar")
	return archive, image.WriteArchive(archive, ImageRepository+"/"+driver.Name+":"+tag, spec)
}

func driverBuild(cfg Config, builder *binaries.Builder, tag string) driver.Build {
	return driver.Build{Root: cfg.root(), Dir: filepath.Join(builder.Dir, "driver"), Version: tag, Architecture: runtime.GOARCH}
}

// buildToolbox builds the image of test pods, with a shell, kubectl, kubectl space and programs that use client-go.
func buildToolbox(ctx context.Context, cfg Config, dir string) (string, error) {
	busybox, err := findBusybox()
	if err != nil {
		return "", err
	}
	applets, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return "", fmt.Errorf("list the applets of %s: %w", busybox, err)
	}
	builder, err := cfg.Builder()
	if err != nil {
		return "", err
	}
	programs, err := builder.Build(ctx, "kubectl")
	if err != nil {
		return "", err
	}
	const plugin = "kubectl-space"
	build := driverBuild(cfg, builder, DefaultTag)
	if err := build.Compile(ctx, plugin); err != nil {
		return "", err
	}
	spec := image.Spec{
		Architecture: runtime.GOARCH,
		Programs: map[string]string{
			"bin/busybox":                     busybox,
			"usr/local/bin/printenv":          programs["printenv"],
			"usr/local/bin/in-cluster-client": programs["in-cluster-client"],
			"usr/local/bin/repeat-client":     programs["repeat-client"],
			"usr/local/bin/netprobe":          programs["netprobe"],
			"usr/local/bin/kubectl":           programs["kubectl"],
			"usr/local/bin/kubectl-space":     build.Program(plugin),
		},
		Files: fstest.MapFS{
			"tmp":        {Mode: fs.ModeDir | fs.ModeSticky | 0o777},
			"root":       {Mode: fs.ModeDir | 0o700},
			"etc/passwd": {Mode: 0o644, Data: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/false\n")},
			"etc/group":  {Mode: 0o644, Data: []byte("root:x:0:\nnogroup:x:65534:\n")},
		},
		Config: image.Config{Entrypoint: []string{"/bin/sh"}, Env: []string{imagePath, "HOME=/tmp"}},
	}
	own := []string{"busybox", "printenv", "in-cluster-client", "repeat-client", "netprobe", "kubectl"}
	for _, applet := range strings.Fields(string(applets)) {
		if !slices.Contains(own, applet) {
			spec.Files["bin/"+applet] = &fstest.MapFile{Mode: fs.ModeSymlink | 0o777, Data: []byte("busybox")}
		}
	}
	archive := filepath.Join(dir, "toolbox.tar")
	return archive, image.WriteArchive(archive, ImageRepository+"/toolbox:"+DefaultTag, spec)
}

// findBusybox returns the path of a static busybox: the images have no C library.
func findBusybox() (string, error) {
	missing := errors.New("missing: a static busybox. On Debian: " + debianInstalls + "busybox-static")
	file, err := exec.LookPath("busybox")
	if err != nil {
		return "", missing
	}
	if file, err = filepath.EvalSymlinks(file); err != nil {
		return "", fmt.Errorf("find busybox: %w", err)
	}
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read busybox: %w", err)
	}
	defer f.Close()
	program, err := elf.NewFile(f)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	for _, segment := range program.Progs {
		if segment.Type == elf.PT_INTERP {
			return "", missing
		}
	}
	return file, nil
}
