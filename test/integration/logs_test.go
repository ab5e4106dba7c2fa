// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestTheControllerLogsWhatItsLevelPromisesAndNoSecret(t *testing.T) {
	const public, secret = "what anybody may read", "what nobody may read"
	templates := env.Namespace(t)
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"key": public}}
	if _, err := env.Client.CoreV1().ConfigMaps(templates).Create(t.Context(), settings, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	credentials := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "credentials"}, StringData: map[string]string{"key": secret}}
	if _, err := env.Client.CoreV1().Secrets(templates).Create(t.Context(), credentials, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, level := range []int{0, 1, 2, 4, 10} {
		t.Run(fmt.Sprintf("level %d", level), func(t *testing.T) {
			t.Parallel()
			driver := fmt.Sprintf("logs-%d.example.com", level)
			i := install(t, driver, "--copy-from-namespaces="+templates, fmt.Sprintf("--v=%d", level), "--logging-format=json")
			i.start(t)
			ns := env.Namespace(t)
			env.CreateClaim(t, ns, framework.NewClaim("claim"))
			allocateTo(t, driver, ns, "claim", fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"copyFrom":{"namespace":%q,"configMaps":[{"name":"settings"}],"secrets":[{"name":"credentials"}]}}`,
				spaceapi.APIVersion, spaceapi.SpaceClassConfigKind, templates))
			framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.SpacesReady(1))
			space := spaceOf(t, driver, ns, "claim")
			if copied, err := env.Client.CoreV1().Secrets(space).Get(t.Context(), "credentials", metav1.GetOptions{}); err != nil || string(copied.Data["key"]) != secret {
				t.Fatalf("the copy of the Secret: %v, %v", copied, err)
			}
			deallocate(t, env, ns, "claim")
			framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, space))
			if level >= 2 {
				framework.AwaitLog(t, i.controller.Log, regexp.MustCompile(`"Namespace deleted"`))
			}
			i.controller.Stop(t, syscall.SIGTERM)

			lines := framework.Lines(t, i.controller.Log.String())
			framework.CheckLevels(t, level, lines, "Starting", "Connected to the API server", "Claim allocated", "Namespace created", "Space ready",
				"Credentials revoked", "Space deprovisioned", "Namespace deleted", "Stopped")
			said := map[string]bool{}
			bodies := ""
			for _, line := range lines {
				said[line.Message] = true
				bodies += line.Body
			}
			for message, from := range map[string]int{"Caches populated": 2, "Listing and watching": 3} {
				if said[message] != (level >= from) {
					t.Errorf("at level %d there is %q: %t", level, message, said[message])
				}
			}
			if strings.Contains(bodies, public) != (level == 10) {
				t.Error("the ConfigMap can't be found: neither would the Secret")
			}
			if strings.Contains(bodies, secret) {
				t.Error("the Secret is in the log")
			}
		})
	}
}
