// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/space-dra/space-dra-driver/tools/release/krew"
)

// krew reads the manifest by its own rules, and compares the archives with the
// checksums in it.
func TestKrewInstallsThePluginForEachPlatform(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	o := krew.Options{Root: root, Out: t.TempDir(), Version: "v0.1.0", Created: time.Unix(1_700_000_000, 0), Platforms: krew.Platforms(), Log: t.Logf}
	if err := krew.Write(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, platform := range o.Platforms {
		system, architecture, _ := strings.Cut(platform, "/")
		home := t.TempDir()
		cmd := exec.CommandContext(t.Context(), filepath.Join(root, "build/bin/krew"), "install",
			"--manifest", filepath.Join(o.Out, krew.ManifestFile), "--archive", filepath.Join(o.Out, krew.ArchiveFile(platform)))
		cmd.Env = append(os.Environ(), "KREW_ROOT="+home, "KREW_OS="+system, "KREW_ARCH="+architecture, "KREW_NO_UPGRADE_CHECK=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("installing for %s: %v\n%s", platform, err, out)
			continue
		}
		if platform != runtime.GOOS+"/"+runtime.GOARCH {
			continue
		}
		bin := filepath.Join(home, "bin")
		out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "kubectl-space"), "--version").CombinedOutput()
		if err != nil || !strings.Contains(string(out), o.Version) {
			t.Errorf("what krew installed says (error %v)\n%s", err, out)
		}
		// As the manifest's caveats have it.
		if err := os.Symlink("kubectl-space", filepath.Join(bin, "kubectl_complete-space")); err != nil {
			t.Fatal(err)
		}
		out, err = exec.CommandContext(t.Context(), filepath.Join(bin, "kubectl_complete-space"), "li").CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "list\t") {
			t.Errorf("li is completed to (error %v)\n%s", err, out)
		}
	}
}
