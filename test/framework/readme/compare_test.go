// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package readme

import "testing"

func TestCompare_acceptsTheDocumentedForms(t *testing.T) {
	for _, test := range []struct {
		expected, output string
		same             bool
	}{
		{"NAME   AGE\n\npod    x", "\nNAME    AGE\npod  x\n", true},
		{"pod ready", "pod running", false},
		{"a", "a\nb", false},
		{"a\nb", "a", false},
		{"", "a", false},
		{"a.b*c (x) [y]$", "a.b*c (x) [y]$", true},
		{"a.b", "axb", false},
		{"a", `I1121 19:41:18.810440    4995 reflector.go:664] "watch ended"` + "\na", true},
		{"...\nb", "x\ny\nb", true},
		{"a\n...\nb", "a\nb", true},
		{"...\na", "a\nb", false},
		{"a ... c", "a b b c", true},
		{"a ... c", "a\nc", false},
		{"ephemeral-ns-4rsv8k2m9x", "ephemeral-ns-bcdfghjklm", true},
		{"ephemeral-ns-4rsv8k2m9x", "preview-bcdfghjklm", false},
		{"ephemeral-ns-4rsv8k2m9x", "ephemeral-ns-0123456789", false},
		{"ns-4rsv8k2m9x\nns-4rsv8k2m9x", "ns-bcdfghjklm\nns-bcdfghjkl9", false},
		{"ns-4rsv8k2m9x ns-5rsv8k2m9x", "ns-bcdfghjklm ns-bcdfghjklm", false},
		{"...\nns-4rsv8k2m9x\nend\nns-4rsv8k2m9x", "ns-bcdfghjkl9\nns-bcdfghjklm\nend\nns-bcdfghjklm", true},
		{`"system:serviceaccount:ns-4rsv8k2m9x:space" in ns-4rsv8k2m9x.`, `"system:serviceaccount:ns-bcdfghjklm:space" in ns-bcdfghjklm.`, true},
		{"job-sqwkm-space-7bnk2 cron-29384950-sqwkm", "job-x2b4c-space-kkkkk cron-29384951-x2b4c", true},
		{"job-sqwkm", "bob-x2b4c", false},
		{"pod-first", "pod-other", false},
		{"/run/7791ecd8-b343-4545-821c-d5b05db2d590/token", "/run/0091ecd8-b343-4545-821c-d5b05db2d59f/token", true},
		{"7791ecd8-b343-4545-821c-d5b05db2d590", "none", false},
		{"local/space-dra-worker space-dra-worker2", "local/e2e-worker2 e2e-worker", true},
		{"space-dra-worker space-dra-worker2", "e2e-worker e2e-worker", false},
		{"https://10.96.0.1:443", "https://10.0.0.1:443", true},
		{"https://10.96.0.1:443", "https://10.96.0.1:6443", false},
		{"2026-01-02T03:04:05Z", "2027-11-12T13:14:15Z", true},
		{"Warning  Failed  3s (x4 over 10s)", "Warning  Failed  3m (x4 over 5m12s)", true},
		{"pod   2s", "pod   never", false},
		{"maxLifetime: 30m", "maxLifetime: 1h", false},
	} {
		if err := (names{}).compare(test.expected, test.output); (err == nil) != test.same {
			t.Errorf("%q and %q: error %v, want the same: %v", test.expected, test.output, err, test.same)
		}
	}
}

func TestCompare_remembersNames(t *testing.T) {
	known := names{}
	for _, step := range []struct {
		expected, output string
		same             bool
	}{
		{"ns-4rsv8k2m9x", "ns-bcdfghjklm", true},
		{"ns-4rsv8k2m9x deleted", "ns-bcdfghjkl9 deleted", false},
		{"ns-5rsv8k2m9x", "ns-bcdfghjklm", false},
		{"ns-5rsv8k2m9x", "ns-bcdfghjkl9", true},
	} {
		if err := known.compare(step.expected, step.output); (err == nil) != step.same {
			t.Errorf("%q and %q: error %v, want the same: %v", step.expected, step.output, err, step.same)
		}
	}
}
