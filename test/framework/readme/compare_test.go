// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package readme

import (
	"strings"
	"testing"
)

func TestOutputIsCompared(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, expected, output string
		same                   bool
	}{
		{"the same", "a\nb", "a\nb\n", true},
		{"nothing", "", "", true},
		{"white space and empty lines", "NAME   AGE\n\npod    x", "\nNAME    AGE\npod  x\n", true},
		{"another word", "pod ready", "pod running", false},
		{"a word more", "pod", "pod ready", false},
		{"a line more", "a", "a\nb", false},
		{"a line less", "a\nb", "a", false},
		{"output where none is expected", "", "a", false},
		{"what a library logs", "pod/a condition met", `I1121 19:41:18.810440    4995 reflector.go:664] "Warning: watch ended with error" err="context canceled"` + "\npod/a condition met", true},

		{"any lines before", "...\nb", "x\ny\nb", true},
		{"no lines in place of any", "a\n...\nb", "a\nb", true},
		{"any lines, and then what is not there", "...\nc", "a\nb", false},
		{"any lines, and then too many", "...\na", "a\nb", false},
		{"any lines, of which some look like what follows", "...\na\nb", "a\na\nb", true},
		{"anything in a line", "data: LS0t...", "data: LS0tABC==", true},
		{"anything in a line, and then something else", "a ... c", "a b d", false},
		{"anything is on one line only", "a ... c", "a\nc", false},
		{"characters of regular expressions", "a.b*c (x) [y]$", "a.b*c (x) [y]$", true},
		{"characters of regular expressions are themselves", "a.b", "axb", false},

		{"a space", "ephemeral-ns-4rsv8k2m9x", "ephemeral-ns-bcdfghjklm", true},
		{"a space with another prefix", "ephemeral-ns-4rsv8k2m9x", "preview-bcdfghjklm", false},
		{"a space with a strange suffix", "ephemeral-ns-4rsv8k2m9x", "ephemeral-ns-0123456789", false},
		{"a space is the same in all places", "ns-4rsv8k2m9x\nns-4rsv8k2m9x", "ns-bcdfghjklm\nns-bcdfghjklm", true},
		{"a space is not another one elsewhere", "ns-4rsv8k2m9x\nns-4rsv8k2m9x", "ns-bcdfghjklm\nns-bcdfghjkl9", false},
		{"a space is not another one in the line", "ns-4rsv8k2m9x ns-4rsv8k2m9x", "ns-bcdfghjklm ns-bcdfghjkl9", false},
		{"two spaces are two", "ns-4rsv8k2m9x ns-5rsv8k2m9x", "ns-bcdfghjklm ns-bcdfghjkl9", true},
		{"two spaces are not one", "ns-4rsv8k2m9x ns-5rsv8k2m9x", "ns-bcdfghjklm ns-bcdfghjklm", false},
		{"names are found behind any lines", "...\nns-4rsv8k2m9x\nend\nns-4rsv8k2m9x", "ns-bcdfghjkl9\nns-bcdfghjklm\nend\nns-bcdfghjklm", true},
		{"names within texts", `"system:serviceaccount:ns-4rsv8k2m9x:space" in ns-4rsv8k2m9x.`, `"system:serviceaccount:ns-bcdfghjklm:space" in ns-bcdfghjklm.`, true},

		{"a Deployment's pod", "app-74f99b7c85-sqwkm", "app-8d87b9c4d-x2b4c", true},
		{"a Job's pod", "job-sqwkm", "job-x2b4c", true},
		{"a claim of a Job's pod", "job-sqwkm-space-7bnk2", "job-x2b4c-space-kkkkk", true},
		{"a CronJob's pod", "cron-29384950-sqwkm", "cron-29384951-x2b4c", true},
		{"a pod of another name", "job-sqwkm", "bob-x2b4c", false},
		{"a name without a generated part", "pod-first", "pod-other", false},
		{"a UID", "7791ecd8-b343-4545-821c-d5b05db2d590", "0091ecd8-b343-4545-821c-d5b05db2d59f", true},
		{"a UID in a path", "/run/7791ecd8-b343-4545-821c-d5b05db2d590/token", "/run/0091ecd8-b343-4545-821c-d5b05db2d59f/token", true},
		{"no UID", "7791ecd8-b343-4545-821c-d5b05db2d590", "none", false},
		{"nodes", "space-dra-worker space-dra-worker2 space-dra-worker", "e2e-worker2 e2e-worker e2e-worker2", true},
		{"two nodes are not one", "space-dra-worker space-dra-worker2", "e2e-worker e2e-worker", false},
		{"a node's pool", "local/space-dra-worker2", "local/e2e-worker", true},
		{"an address", "10.244.1.7", "10.244.11.30", true},
		{"an address in a URL", "https://10.96.0.1:443", "https://10.0.0.1:443", true},
		{"another port", "https://10.96.0.1:443", "https://10.96.0.1:6443", false},
		{"a time", "2026-01-02T03:04:05Z", "2027-11-12T13:14:15Z", true},

		{"an age", "pod   2s", "pod   5m12s", true},
		{"ages in parentheses", "0   1 (2s ago)", "0   1 (1m ago)", true},
		{"ages of an event", "Warning  Failed  3s (x4 over 10s)", "Warning  Failed  3m (x4 over 7m)", true},
		{"no age", "pod   2s", "pod   never", false},
		{"a setting is no age", "maxLifetime: 30m", "maxLifetime: 1h", false},
		{"a quantity is no age", "requests.cpu: 500m/1", "requests.cpu: 250m/1", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := NewNames().Compare(lines(test.expected), test.output)
			if (err == nil) != test.same {
				t.Errorf("compared\n%s\nwith\n%s\nerror %v, want the same: %v", test.expected, test.output, err, test.same)
			}
		})
	}
}

func TestNamesStayWhatTheyWere(t *testing.T) {
	t.Parallel()
	names := NewNames()
	for _, step := range []struct {
		expected, output string
		same             bool
	}{
		{"ns-4rsv8k2m9x", "ns-bcdfghjklm", true},
		{"namespace/ns-4rsv8k2m9x deleted", "namespace/ns-bcdfghjkl9 deleted", false},
		{"ns-5rsv8k2m9x", "ns-bcdfghjklm", false},
		{"ns-4rsv8k2m9x\nother", "ns-bcdfghjklm\nwrong", false},
		// What failed has left nothing behind.
		{"ns-5rsv8k2m9x", "ns-bcdfghjkl9", true},
		{"namespace/ns-4rsv8k2m9x deleted", "namespace/ns-bcdfghjklm deleted", true},
	} {
		if err := names.Compare(lines(step.expected), step.output); (err == nil) != step.same {
			t.Errorf("%q and %q: error %v, want the same: %v", step.expected, step.output, err, step.same)
		}
	}
}

func TestTheErrorNamesTheLines(t *testing.T) {
	t.Parallel()
	err := NewNames().Compare([]string{"a", "b", "c"}, "a\nx\nc\n")
	if err == nil || !strings.Contains(err.Error(), "want: b\n  have: x") {
		t.Errorf("error %v, want it to name b and x", err)
	}
}

// lines are as Parse makes them.
func lines(text string) []string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		if strings.TrimSpace(line) != "" {
			out = append(out, line)
		}
	}
	return out
}
