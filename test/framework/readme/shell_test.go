// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package readme

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

func follow(t *testing.T, text string) error {
	t.Helper()
	page, err := Parse("README.md", markdown(text))
	if err != nil {
		t.Fatal(err)
	}
	return Reader{Dir: t.TempDir(), Env: append(os.Environ(), "GREETING=hello")}.Follow(t.Context(), page)
}

func TestAPageThatIsRightIsFollowedToItsEnd(t *testing.T) {
	t.Parallel()
	if err := follow(t, `
'''bash
space=ns-bcdfghjklm
cat >file <<END
$GREETING from $space
END
'''
The shell is the same in all blocks, and both outputs count.
'''console
$ cat file
hello from ns-4rsv8k2m9x

$ echo to stderr >&2
to stderr

$ echo $space \
    again
ns-4rsv8k2m9x again

$ cat

$ sh -c 'echo "command terminated with exit code 3"; exit 3'
command terminated with exit code 3

$ echo "Error from server: but only in a log"
Error from server: but only in a log
'''
`); err != nil {
		t.Error(err)
	}
}

func TestAPageThatIsWrongFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, says string }{
		"a command fails":              {"'''bash\necho before\nfalse\necho after\n'''\n", "README.md:2: echo before\nfalse\necho after\nit failed with exit code 1\nall of the output:\nbefore\n"},
		"a part of a pipe fails":       {"'''bash\nfalse | cat\n'''\n", "exit code 1"},
		"a variable is not set":        {"'''bash\necho $NOBODY_SET_THIS\n'''\n", "exit code 1"},
		"a command is not there":       {"'''bash\nno-such-command\n'''\n", "exit code 127"},
		"a block is not shell":         {"'''bash\nif\n'''\n", "syntax error"},
		"a shown command fails":        {"'''console\n$ echo a; false\na\n'''\n", "README.md:2: echo a; false\nit failed with exit code 1"},
		"an output is wrong":           {"'''console\n$ echo a\nb\n'''\n", "want: b\n  have: a"},
		"a later output is wrong":      {"'''console\n$ echo a\na\n\n$ echo b\nc\n'''\n", "README.md:5: echo b\nthe output is not as expected"},
		"a failure is another one":     {"'''console\n$ echo wrong; false\nError from server\n'''\n", "want: Error from server\n  have: wrong"},
		"an output is not expected":    {"'''console\n$ echo a\n'''\n", "want: no more lines\n  have: a"},
		"a block ends the shell":       {"'''bash\nexit 0\n'''\n'''bash\ntrue\n'''\n", "it ended the shell"},
		"nothing comes from the input": {"'''console\n$ cat; echo end\nend of input\n'''\n", "have: end"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := follow(t, test.text); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error:\n%v\nwant:\n%s", err, test.says)
			}
		})
	}
}

func TestWhatIsLookedAtTooEarlyIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	// Each time it is asked, it says one line more.
	dir := t.TempDir()
	kubectl := "#!/bin/sh\necho a pod >>" + dir + "/asked\ncat " + dir + "/asked\n"
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(kubectl), 0o700); err != nil {
		t.Fatal(err)
	}
	reader := Reader{Dir: dir, Env: append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH")), Patience: time.Minute}
	for command, says := range map[string]string{
		"get pods":            "",
		"get pods | sort":     "want: a pod\n  have: no more lines",
		"create -f pods.yaml": "want: a pod\n  have: no more lines",
	} {
		if err := os.RemoveAll(filepath.Join(dir, "asked")); err != nil {
			t.Fatal(err)
		}
		page, err := Parse("README.md", markdown("'''console\n$ kubectl "+command+"\na pod\na pod\n'''\n"))
		if err != nil {
			t.Fatal(err)
		}
		if err := reader.Follow(t.Context(), page); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("kubectl %s: error:\n%v\nwant:\n%s", command, err, says)
		}
	}
}

func TestWhatIsAppliedBeforePodsAreAdmittedIsAppliedAgain(t *testing.T) {
	t.Parallel()
	// The first time there is no ServiceAccount yet.
	const kubectl = `#!/bin/sh
if [ -e made ]; then
  echo namespace/a unchanged
  echo pod/b created
  exit
fi
touch made
echo namespace/a created
echo 'pods "b" is forbidden: error looking up service account a/default: serviceaccount "default" not found' >&2
exit 1
`
	for command, says := range map[string]string{"apply": "", "create": "it failed with exit code 1"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(kubectl), 0o700); err != nil {
			t.Fatal(err)
		}
		page, err := Parse("README.md", markdown("'''console\n$ kubectl "+command+" --filename=a.yaml\nnamespace/a created\npod/b created\n'''\n"))
		if err != nil {
			t.Fatal(err)
		}
		reader := Reader{Dir: dir, Env: append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))}
		if err := reader.Follow(t.Context(), page); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("kubectl %s: error:\n%v\nwant:\n%s", command, err, says)
		}
	}
}

func TestACommandThatDoesNotEndIsEnded(t *testing.T) {
	t.Parallel()
	page, err := Parse("README.md", markdown("'''bash\necho begun\ntouch begun\ncat <(sleep infinity)\n'''\n"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		begun := func(context.Context) (bool, error) {
			_, err := os.Stat(filepath.Join(dir, "begun"))
			return err == nil, nil
		}
		if err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, time.Minute, true, begun); err != nil {
			t.Errorf("the command did not begin: %v", err)
		}
	}()
	if err := (Reader{Dir: dir, Env: os.Environ()}).Follow(ctx, page); err == nil || !strings.Contains(err.Error(), "it did not end: context canceled\nall of the output:\nbegun") {
		t.Errorf("error %v, want one that says that the command did not end", err)
	}
}
