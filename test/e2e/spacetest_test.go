// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// buildSpacetest builds the tests of the examples of the module spacetest into build/spacetest.
var buildSpacetest = sync.OnceValues(func() (dir string, err error) {
	dir = filepath.Join(framework.Root(), "build/spacetest") + "/"
	cmd := exec.Command("go", "test", "-trimpath", "-vet=off", "-c", "-o", dir, "./examples/...")
	cmd.Dir = filepath.Join(framework.Root(), "spacetest")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the examples of spacetest: %w\n%s", err, out)
	}
	return dir, nil
})

// goTest returns the command that runs the tests of an example of spacetest as a user, in the user's namespace.
func (u user) goTest(t *testing.T, example string, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := buildSpacetest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(u.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.Contexts[config.CurrentContext].Namespace = u.ns
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), dir+example+".test", append([]string{"-test.v"}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+file)
	return cmd
}

// spaceOf matches the line that names the space of a test.
var spaceOf = regexp.MustCompile(`spacetest: the space of ResourceClaim \S+/spacetest-\w+ is (\S+)`)

func TestSpacetest_givesEachTestASpace(t *testing.T) {
	t.Parallel()
	for example, spaces := range map[string]int{"controller": 3, "e2eframework": 1} {
		t.Run(example, func(t *testing.T) {
			t.Parallel()
			dev := developer(t)
			out, err := dev.goTest(t, example, "-test.parallel=3").CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var names []string
			for _, match := range spaceOf.FindAllSubmatch(out, -1) {
				names = append(names, string(match[1]))
			}
			slices.Sort(names)
			if len(slices.Compact(names)) != spaces {
				t.Errorf("got spaces %q, want %d\n%s", names, spaces, out)
			}
			t.Logf("nothing is left after %s", dev.awaitNothing(t))
		})
	}
}

func TestSpacetest_leavesNothingIfItIsKilled(t *testing.T) {
	t.Parallel()
	dev := developer(t)
	// Repeated, they do not end before they are killed.
	cmd := dev.goTest(t, "controller", "-test.count=1000")
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !spaceOf.MatchString(lines.Text()) {
		t.Log(lines.Text())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("the tests ended with %v", err)
	}
	const most = time.Minute
	if took := dev.awaitNothing(t); took > most {
		t.Errorf("it takes %s, more than %s", took, most)
	} else {
		t.Logf("it takes %s", took)
	}
}

func TestSpacetest_explainsWhyThereIsNoSpace(t *testing.T) {
	t.Parallel()
	dev := developer(t)
	env.Kubectl(t, "create", "quota", "none", "-n", dev.ns, "--hard=pods=0")
	env.Kubectl(t, "wait", "quota/none", "-n", dev.ns, "--for=jsonpath={.status.hard}", "--timeout="+framework.Timeout.String())
	out, err := dev.goTest(t, "e2eframework").CombinedOutput()
	if exitCode(t, err) != 1 || strings.Count(string(out), "spacetest: no space: the pod that holds the space was rejected: ") != 1 {
		t.Errorf("error %v\n%s", err, out)
	}
	dev.awaitNothing(t)
}
