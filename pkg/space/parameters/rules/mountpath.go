// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// ReservedPaths are directories that a space's files are not mounted at, and why.
type ReservedPaths struct {
	Paths []string
	// Below says that nothing below them can be a mount point either.
	Below bool
	Why   string
}

// NoMountPaths returns the directories that cannot be a claim's mountPath. It keeps
// users from breaking their own containers: it is no boundary, as an image can have
// symbolic links to these directories.
func NoMountPaths() []ReservedPaths {
	return []ReservedPaths{
		{Paths: []string{"/proc", "/sys", "/dev"}, Below: true,
			Why: "they are the kernel's, and runtimes refuse mounts there"},
		{Paths: []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/boot"}, Below: true,
			Why: "they hold the image's programs and libraries"},
		{Paths: []string{"/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64"}, Below: true,
			Why: "they hold the image's programs and libraries"},
		{Paths: []string{"/var/run/claim-artifacts", "/run/claim-artifacts"}, Below: true,
			Why: "the driver mounts the files of spaces there already"},
		{Paths: []string{"/var/run/secrets/kubernetes.io", "/run/secrets/kubernetes.io"}, Below: true,
			Why: "the kubelet mounts the pod's own token there; inCluster puts the space's in its place"},
		{Paths: []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}, Below: true,
			Why: "they are files, which the kubelet mounts"},
		{Paths: []string{"/", "/etc", "/usr", "/usr/local", "/usr/share", "/var", "/var/lib", "/var/tmp", "/var/run", "/run", "/tmp", "/var/run/secrets", "/run/secrets"},
			Why: "the mount would hide what else is there, and cannot be written to"},
	}
}

var (
	absolute  = regexp.MustCompile(`^/`)
	cleanPath = regexp.MustCompile(`^(/|(/[^/]+)+)$`)
	dotPart   = regexp.MustCompile(`/\.\.?(/|$)`)
	control   = regexp.MustCompile(`\p{Cc}`)
)

func mountPathRules() []rule {
	const clean = "must have no empty, . or .. parts and no slash at the end"
	out := []rule{
		matches(absolute, "must be an absolute path"),
		matches(cleanPath, clean),
		matchesNot(dotPart, clean),
		matchesNot(control, "must not contain control characters"),
	}
	for _, reserved := range NoMountPaths() {
		out = append(out, underNone(reserved.Paths, reserved.Below, "must not be a system directory: "+reserved.Why))
	}
	return append(out, noLonger(maxName))
}

// underNone is a rule that a path is none of these, nor below one.
func underNone(paths []string, below bool, why string) rule {
	return invalidIf(
		func(p string) bool {
			return slices.ContainsFunc(paths, func(dir string) bool { return p == dir || below && strings.HasPrefix(p, dir+"/") })
		},
		func(p string) string {
			if !below {
				return p + " in " + celList(paths)
			}
			return fmt.Sprintf("%s.exists(d, %[2]s == d || %[2]s.startsWith(d + '/'))", celList(paths), p)
		}, why)
}
