// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package parameters

import (
	"path"
	"slices"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation/field"
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

func validateMountPath(p string) (problems field.ErrorList) {
	at := field.NewPath("mountPath")
	refuse := func(why string) field.ErrorList { return append(problems, invalid(at, p, why)) }
	switch {
	case p == "":
		return nil
	case !path.IsAbs(p):
		return refuse("must be an absolute path")
	case path.Clean(p) != p:
		return refuse("must have no empty, . or .. parts and no slash at the end: " + quoted(path.Clean(p)))
	case strings.ContainsFunc(p, unicode.IsControl):
		return refuse("must not contain control characters")
	}
	for _, reserved := range NoMountPaths() {
		if slices.ContainsFunc(reserved.Paths, func(dir string) bool {
			return p == dir || reserved.Below && strings.HasPrefix(p, dir+"/")
		}) {
			return refuse("must not be a system directory: " + reserved.Why)
		}
	}
	return validateLength(p, at, maxName)
}
