// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package hostinit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// ProgramsAt is where a host finds the programs, read-only.
	ProgramsAt = "/var/lib/space-cluster/programs"
	// visibleProc is a proc that nothing covers. Without one, the kernel lets no container in a user
	// namespace of its own mount proc (mount_too_revealing in fs/namespace.c).
	visibleProc = "/var/lib/space-cluster/proc"
)

// mountAll mounts the host's own /var, /run, /tmp and /proc. The host shares the rest of the file system
// with the machine.
func mountAll(spec Spec) error {
	const ownFiles = unix.MS_NOSUID | unix.MS_NODEV
	if err := os.MkdirAll(filepath.Join(spec.Var, strings.TrimPrefix(visibleProc, "/var")), 0o700); err != nil {
		return fmt.Errorf("prepare a mount of proc: %w", err)
	}
	// Mount the programs before /var: their directory may be below the machine's /var.
	programs := filepath.Join(filepath.Dir(spec.Var), ProgramsAt)
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
		options              string
	}{
		// Mounts of the machine propagate to the host, but not vice versa.
		{"", "/", "", unix.MS_REC | unix.MS_SLAVE, ""},
		{spec.Programs, programs, "", unix.MS_BIND, ""},
		{"", programs, "", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY, ""},
		{spec.Var, "/var", "", unix.MS_BIND | unix.MS_REC, ""},
		{"tmpfs", "/run", "tmpfs", ownFiles, "mode=755"},
		{"tmpfs", "/tmp", "tmpfs", ownFiles, "mode=1777"},
		{"proc", "/proc", "proc", ownFiles | unix.MS_NOEXEC, ""},
		{"proc", visibleProc, "proc", ownFiles | unix.MS_NOEXEC, ""},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.source, m.target, err)
		}
	}
	if err := os.Mkdir("/run/lock", 0o755); err != nil {
		return fmt.Errorf("prepare /run: %w", err)
	}
	if err := hideKernelTunables(); err != nil {
		return err
	}
	// As systemd does, so that mount propagation of volumes works.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share the host's mounts with its containers: %w", err)
	}
	return nil
}

// hideKernelTunables mounts files over kernel settings that a kubelet would otherwise change for the
// whole machine, such as a panic on every kernel oops. The files have the values that the kubelet wants.
func hideKernelTunables() error {
	const dir = "/run/tunables"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("prepare kernel tunables: %w", err)
	}
	for name, value := range map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	} {
		target := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(target); err != nil {
			continue // the kernel lacks this setting
		}
		source := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(source, []byte(value+"\n"), 0o644); err != nil {
			return fmt.Errorf("prepare kernel tunable %s: %w", name, err)
		}
		if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("hide kernel tunable %s: %w", name, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}
