// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
)

func TestVersion_printsClientAndDriver(t *testing.T) {
	installed := class(driver, "")
	installed.Labels = map[string]string{versionLabel: "v1.2.3"}
	url := serve(t, []runtime.Object{installed})
	for name, test := range map[string]struct {
		server      string
		args        []string
		out, errOut string
		code        int
	}{
		"installed":         {url, nil, "Client Version: v0\nDriver Version: v1.2.3\n", "", 0},
		"as JSON":           {url, []string{"-o", "json"}, "{\n    \"clientVersion\": \"v0\",\n    \"driverVersion\": \"v1.2.3\"\n}\n", "", 0},
		"as YAML":           {url, []string{"-o", "yaml"}, "clientVersion: v0\ndriverVersion: v1.2.3\n", "", 0},
		"the client only":   {"http://127.0.0.1:1", []string{"--client"}, "Client Version: v0\n", "", 0},
		"no label":          {serve(t, []runtime.Object{class(driver, "")}), nil, "Client Version: v0\nDriver Version: <unknown>\n", "", 0},
		"no permission":     {serve(t, nil, "deviceclasses"), nil, "Client Version: v0\nDriver Version: <unknown>\n", "do not have permission to get deviceclasses", 0},
		"another driver":    {url, []string{"--driver-name=other.example.com"}, "Client Version: v0\n", "error: driver other.example.com is not installed", 1},
		"no API server":     {"http://127.0.0.1:1", nil, "Client Version: v0\n", "The connection to the server 127.0.0.1:1 was refused", 1},
		"an unknown format": {url, []string{"-o", "wide"}, "", "--output must be 'yaml' or 'json'", 1},
	} {
		out, errOut, code := run(t, "kubectl-space", test.server, append([]string{"version"}, test.args...)...)
		if out != test.out || !strings.Contains(errOut, test.errOut) || errOut == "" != (test.errOut == "") || code != test.code {
			t.Errorf("%s: exit code %d, output %q, errors %q, want %+v", name, code, out, errOut, test)
		}
	}
}
