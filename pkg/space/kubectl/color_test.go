// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import "testing"

func TestColored_colorsOnlyTheState(t *testing.T) {
	const table = `CLAIM   SPACE    STATE                  PODS
a       space    Ready                  Ready
b       <none>   Pending                b
c       <none>   ProvisioningFailed     c
`
	const want = "CLAIM   SPACE    STATE                  PODS\n" +
		"a       space    \x1b[32mReady\x1b[0m                  Ready\n" +
		"b       <none>   \x1b[33mPending\x1b[0m                b\n" +
		"c       <none>   \x1b[31mProvisioningFailed\x1b[0m     c\n"
	if got := colored(table); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
