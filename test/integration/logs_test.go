// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// At the highest level, the log has all lines, and client-go logs the bodies of requests.
func TestControllerLog_hasDocumentedLevelsAndNoSecret(t *testing.T) {
	const driver, public, secret = "logs.example.com", "in a ConfigMap", "in a Secret"
	templates := env.Namespace(t)
	env.Kubectl(t, "create", "configmap", "settings", "-n", templates, "--from-literal=key="+public)
	env.Kubectl(t, "create", "secret", "generic", "credentials", "-n", templates, "--from-literal=key="+secret)
	i := install(t, driver, "--copy-from-namespaces="+templates, "--v=10", "--logging-format=json")
	i.start(t)
	ns := env.Namespace(t)
	space := provision(t, driver, ns, "claim", framework.WithClassConfig(fmt.Sprintf(`"copyFrom":{"namespace":%q,"configMaps":[{"name":"settings"}],"secrets":[{"name":"credentials"}]}`, templates)))
	claim, _ := spacesOf(t, env, ns, "claim", 1)
	if copied, err := env.Client.CoreV1().Secrets(space).Get(t.Context(), "credentials", metav1.GetOptions{}); err != nil || string(copied.Data["key"]) != secret {
		t.Fatalf("the copy of the Secret: %v, %v", copied, err)
	}
	deallocate(t, env, ns, "claim")
	env.AwaitNamespaceDeleted(t, space)
	framework.AwaitLog(t, i.controller.Log, regexp.MustCompile(`"Namespace deleted"`))
	i.controller.Stop(t, syscall.SIGTERM)

	lines := framework.Lines(t, i.controller.Log.String())
	framework.CheckLog(t, lines, claim.UID, "Starting", "Connected to the API server", "Claim allocated", "Namespace created", "Space ready",
		"Credentials revoked", "Space deprovisioned", "Namespace deleted", "Stopped")
	var bodies strings.Builder
	for _, line := range lines {
		bodies.WriteString(line.Body)
	}
	if !strings.Contains(bodies.String(), public) {
		t.Error("the ConfigMap is not in the log, so this test does not show that Secrets are redacted")
	}
	// Bodies of Secrets are in base64.
	for _, text := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
		if strings.Contains(bodies.String(), text) {
			t.Error("the Secret is in the log")
		}
	}
}
