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

// jwt is how every token of a ServiceAccount begins: a JSON object's header, in base64.
var jwt = regexp.MustCompile(`eyJhbGciOi[A-Za-z0-9_-]{20,}`)

func TestTokens_areInTheNodesFilesOnly(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	s := env.Use(t, ns, framework.NewClaim("test-claim"), framework.On(env.Node(0), framework.NewPod("pod", "test-claim")))
	token := env.Exec(t, ns, "pod", "cat", "/etc/test-claim/token")
	if !jwt.MatchString(token) {
		t.Fatal("the token does not look like one: the searches below would find nothing")
	}

	// All objects of all kinds that can be listed, Secrets too.
	kinds := strings.Fields(env.Kubectl(t, "api-resources", "--verbs=list", "-o", "name"))
	objects := env.Kubectl(t, "get", strings.Join(kinds, ","), "-A", "-o", "yaml", "--ignore-not-found")
	if !strings.Contains(objects, s.Namespace) {
		t.Fatal("the objects do not even name the space: they can't be all")
	}
	absent(t, "the API objects", objects)
	absent(t, "the driver's logs", env.Kubectl(t, "logs", "-n", framework.DriverNamespace, "-l", "app.kubernetes.io/component in (controller,kubeletplugin)", "--tail=-1", "--prefix"))
	absent(t, "the pod's environment", env.Exec(t, ns, "pod", "printenv"))
	for i := range env.Cluster.Nodes() {
		absent(t, "the process list of "+env.Node(i), onNode(t, i, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"))
		// What vanishes meanwhile, of other tests' claims, makes both programs fail.
		kept := onNode(t, i, "sh", "-c", "find /var/lib/kubelet/plugins /run/cdi /var/lib/kubelet/dra_manager_state -type f -exec cat {} + 2>/dev/null; true")
		if i == 0 && !strings.Contains(kept, s.Namespace) {
			t.Errorf("what %s keeps over a reboot does not even name the space: it can't be all", env.Node(i))
		}
		absent(t, "what the node keeps over a reboot", kept)
	}
}

func absent(t *testing.T, where, text string) {
	t.Helper()
	if found := jwt.FindString(text); found != "" {
		t.Errorf("there is a token in %s: %.12s…", where, found)
	}
	for _, encoded := range regexp.MustCompile(`[A-Za-z0-9+/]{64,}={0,2}`).FindAllString(text, -1) {
		if plain, err := base64.StdEncoding.DecodeString(encoded); err == nil && jwt.Match(plain) {
			t.Errorf("there is a token in %s, in base64: %.12s…", where, encoded)
		}
	}
}
