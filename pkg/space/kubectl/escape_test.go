// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"bytes"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"k8s.io/apimachinery/pkg/runtime"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// forged looks like another line, clears the screen in three ways, and reverses the text.
const forged = "a\nState:  Ready\r\f\v\t\x1b[2J\u009b2J\u202eb"

func TestEscape_leavesPrintableCharacters(t *testing.T) {
	for text, want := range map[string]string{
		`finalizer "é\n" 世界`: `finalizer "é\n" 世界`,
		forged:               `a\nState:  Ready\r\f\v\t\x1b[2J\u009b2J\u202eb`,
	} {
		if got := escape(text); got != want {
			t.Errorf("escape(%q) = %s, want %s", text, got, want)
		}
	}
}

// Each command prints something that a tenant wrote.
func TestCommands_escapeWhatTenantsWrite(t *testing.T) {
	c := withCondition(t, allocated(claim("c", driver), "spaces", "p"), spaceapi.ReasonProvisioningFailed, forged)
	c.Status.ReservedFor[0].Name = "p" + forged
	reported := event("c", "Reason"+forged, "message"+forged)
	reported.Source.Component, reported.Type, reported.InvolvedObject.FieldPath = "component"+forged, "Type"+forged, "path"+forged
	used := ready(t, "used", "q")
	used.Status.Devices[0].Data.Raw = bytes.Replace(used.Status.Devices[0].Data.Raw, []byte(`10.96.0.1`), []byte(strings.Trim(strconv.QuoteToASCII("a\n' b"), `"`)), 1)
	retained := namespace(ready(t, "retained"))
	retained.Annotations[keys.ClaimName], retained.Annotations[keys.Pool], retained.Annotations[keys.RetainedUntil] = "retained"+forged, "pool"+forged, "later"+forged
	url := serve(t, []runtime.Object{c, reported, used, retained, pod("p", "", "c"), pod("q", "n", "used"), slice("pool"+forged, 1, 0), class(driver, "")})
	for command, code := range map[string]int{
		"list -o wide": 0, "describe c": 0, "describe namespace/" + retained.Name: 0, "why c": 1, "why pod/p": 1, "why namespace/" + retained.Name: 1,
		"top": 0, "env q": 0, "env p": 1, "kubeconfig c": 1, "extend c 1h": 1,
	} {
		out, errOut, got := run(t, "kubectl-space", url, append(strings.Fields(command), "-n", "team")...)
		printed := out + errOut
		if got != code || !strings.Contains(printed, `\n`) {
			t.Errorf("%s: exit code %d, want %d, and what tenants wrote:\n%s", command, got, code, printed)
		}
		if i := strings.IndexFunc(printed, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 || strings.Contains(printed, "\nState:  Ready") {
			t.Errorf("%s prints what a tenant wrote as it is: %q", command, printed[max(0, i):])
		}
	}
}

func TestShellQuote_isReadBackByAShell(t *testing.T) {
	for value, want := range map[string]string{
		"https://10.96.0.1:443": "https://10.96.0.1:443",
		"":                      "''",
		"two words":             "'two words'",
		"it's $(date) `date` !": `'it'\''s $(date) ` + "`date` !'",
		"~":                     "'~'",
		"=ls":                   "'=ls'",
		`back\slash`:            `'back\slash'`,
		"a\nb=\x1b[2J\u009b":    `$'a\nb=\x1b[2J\u009b'`,
		"\\'\"\n; date; '":      `$'\\\x27"\n; date; \x27'`,
	} {
		got := shellQuote(value)
		if got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", value, got, want)
		}
		read := exec.CommandContext(t.Context(), "bash", "-c", "value="+got+`; printf %s "$value"`)
		read.Env = append(read.Environ(), "LC_ALL=C.UTF-8")
		if out, err := read.CombinedOutput(); err != nil || string(out) != value {
			t.Errorf("bash reads %q from %s, want %q: %v", out, got, value, err)
		}
		// Other shells do not know $'', but run nothing.
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", "value="+got).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("sh prints %q for %s: %v", out, got, err)
		}
	}
}
