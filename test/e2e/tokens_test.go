// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// jwt matches the beginning of each token: the header of a JSON Web Token.
var jwt = regexp.MustCompile(`eyJhbGciOi[A-Za-z0-9_-]{20,}`)

func TestTokens_areInTheNodesFilesOnly(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	s := env.Use(t, ns, framework.NewClaim("test-claim"), framework.On(env.Node(0), framework.NewPod("pod", "test-claim")))
	token := env.Exec(t, ns, "pod", "cat", "/etc/test-claim/token")
	if !jwt.MatchString(token) {
		t.Fatal("the pattern of tokens does not match a token")
	}

	// All objects of all kinds that can be listed, including Secrets.
	kinds := strings.Fields(env.Kubectl(t, "api-resources", "--verbs=list", "-o", "name"))
	objects := env.Kubectl(t, "get", strings.Join(kinds, ","), "-A", "-o", "yaml", "--ignore-not-found")
	if !strings.Contains(objects, s.Namespace) {
		t.Fatal("the objects do not include the space")
	}
	checkNoToken(t, "the API objects", objects)
	checkNoToken(t, "the driver's logs", env.Kubectl(t, "logs", "-n", framework.DriverNamespace, "-l", "app.kubernetes.io/component in (controller,kubeletplugin)", "--tail=-1", "--prefix"))
	checkNoToken(t, "the pod's environment", env.Exec(t, ns, "pod", "printenv"))
	for i := range env.Cluster.Nodes() {
		checkNoToken(t, "the process list of "+env.Node(i), onNode(t, i, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"))
		// Both programs fail if files of other tests are removed meanwhile.
		files := onNode(t, i, "sh", "-c", "find /var/lib/kubelet/plugins /run/cdi /var/lib/kubelet/dra_manager_state -type f -exec cat {} + 2>/dev/null; true")
		if i == 0 && !strings.Contains(files, s.Namespace) {
			t.Errorf("the persistent files of %s do not include those of the space", env.Node(i))
		}
		checkNoToken(t, "the persistent files of "+env.Node(i), files)
	}
}

func checkNoToken(t *testing.T, where, text string) {
	t.Helper()
	if found := jwt.FindString(text); found != "" {
		t.Errorf("%s contain a token: %.12s…", where, found)
	}
	for _, encoded := range regexp.MustCompile(`[A-Za-z0-9+/]{64,}={0,2}`).FindAllString(text, -1) {
		if plain, err := base64.StdEncoding.DecodeString(encoded); err == nil && jwt.Match(plain) {
			t.Errorf("%s contain a token in base64: %.12s…", where, encoded)
		}
	}
}
