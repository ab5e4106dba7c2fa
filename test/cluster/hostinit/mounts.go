// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package hostinit

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mountAll gives the host its own /var, /run, /tmp and /proc. The rest of the
// file system is the machine's.
func mountAll(spec Spec) error {
	// Receive the machine's mounts, but never send it ours.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("separating the host's mounts from the machine's: %w", err)
	}
	if err := bindReadOnly(spec.Programs, filepath.Join(spec.Var, spec.ProgramsAt)); err != nil {
		return err
	}
	if err := unix.Mount(spec.Var, "/var", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mounting %s at /var: %w", spec.Var, err)
	}
	if err := mountRun(); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return fmt.Errorf("mounting /tmp: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := hideKernelTunables(); err != nil {
		return err
	}
	// As on a machine with systemd, so that mount propagation of volumes works.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("sharing the host's mounts with its containers: %w", err)
	}
	return nil
}

func bindReadOnly(source, target string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("creating a mount point: %w", err)
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", source, target, err)
	}
	if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("making %s read-only: %w", target, err)
	}
	return nil
}

// mountRun mounts an empty /run, as after a boot.
func mountRun() error {
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mounting /run: %w", err)
	}
	if err := os.Mkdir("/run/lock", 0o755); err != nil {
		return fmt.Errorf("preparing /run: %w", err)
	}
	return nil
}

// hideKernelTunables covers the settings that a kubelet insists on and would
// otherwise change for the whole machine: a panic on every kernel oops, say.
// The kubelet finds the values that it wants and leaves them alone.
func hideKernelTunables() error {
	const dir = "/run/tunables"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("preparing kernel tunables: %w", err)
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
			continue // this kernel doesn't have it
		}
		source := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(source, []byte(value+"\n"), 0o644); err != nil {
			return fmt.Errorf("preparing kernel tunable %s: %w", name, err)
		}
		if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("covering kernel tunable %s: %w", name, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing %s: %w", dir, err)
	}
	return nil
}

// remountRun replaces /run and everything that is mounted below it.
func remountRun() error {
	if err := unix.Unmount("/run", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmounting /run: %w", err)
	}
	if err := mountRun(); err != nil {
		return err
	}
	if err := unix.Mount("", "/run", "", unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("sharing /run with containers: %w", err)
	}
	return nil
}
