// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestScripts_workAsPrinted runs each script of docs/pods.md as a file in a pod.
func TestScripts_workAsPrinted(t *testing.T) {
	ns := env.Namespace(t)
	env.Use(t, ns, withClaimConfig(`"inCluster":true`, framework.NewClaim("space")), newPod(t, "space"))
	interpreters := map[string]string{"python": "/usr/bin/python3", "javascript": "node", "bash": "bash"}
	for _, block := range regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$").FindAllStringSubmatch(framework.Section(t, "pods.md", "## A first script"), -1) {
		interpreter, known := interpreters[block[1]]
		if !known {
			continue
		}
		delete(interpreters, block[1])
		// Node.js knows by the name that it is a module.
		name := "script-" + block[1] + map[string]string{"javascript": ".mjs"}[block[1]]
		if err := os.WriteFile(filepath.Join(dir(), name), []byte(block[2]), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := env.TryExec(t.Context(), ns, "pod", interpreter, "/clients/"+name)
		if err != nil || !strings.Contains(out, "from-"+block[1]) || !strings.Contains(out, "kube-root-ca.crt") {
			t.Errorf("the script in %s prints %q, error %v", block[1], out, err)
		}
	}
	for language := range interpreters {
		t.Errorf("there is no script in %s", language)
	}
}
