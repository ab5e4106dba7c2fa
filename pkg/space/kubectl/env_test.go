// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

func TestEnv_showsVariablesAndDirectories(t *testing.T) {
	c := ready(t, "test-claim", "p")
	p := pod("p", "n", "test-claim")
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "bystander"})
	seen, err := snapshotOf(c, p).env(p)
	if err != nil || len(seen) != 1 || seen[0].Container != "ctr" {
		t.Fatalf("got %+v, error %v; want what ctr sees", seen, err)
	}
	for _, variable := range []corev1.EnvVar{{Name: "TEST_CLAIM_NAMESPACE", Value: spaceName(c)}, {Name: "TEST_CLAIM_CLUSTER", Value: "https://10.96.0.1:443"}} {
		if !slices.Contains(seen[0].Env, variable) {
			t.Errorf("there is no %v in %v", variable, seen[0].Env)
		}
	}
	if !slices.Contains(seen[0].Directories, "/etc/test-claim") {
		t.Errorf("the directories are %v", seen[0].Directories)
	}
	p.Spec.Containers[0].Resources.Claims[0].Request = "other"
	if seen, err := snapshotOf(c, p).env(p); err != nil || len(seen) != 0 {
		t.Errorf("of another request: %+v, error %v", seen, err)
	}
}

func TestEnv_failsUnlessTheSpaceIsReady(t *testing.T) {
	p := pod("p", "n", "c")
	rejected := withCondition(t, allocated(claim("c", driver), "spaces", "p"), spaceapi.ReasonInvalidParameters, "no such role")
	for want, objects := range map[string][]any{
		"does not exist":                        {p},
		"no space that is ready (Pending)":      {p, claim("c", driver)},
		"no space that is ready (Provisioning)": {p, allocated(claim("c", driver), "spaces", "p")},
		"InvalidParameters: no such role":       {p, rejected},
	} {
		if _, err := snapshotOf(objects...).env(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestEnv_printsAnObjectForPrograms(t *testing.T) {
	url := serve(t, []runtime.Object{ready(t, "c", "p"), pod("p", "n", "c"), class(driver, "")})
	out, errOut, code := run(t, "kubectl-space", url, "env", "p", "-n", "team", "-o", "json")
	var got podEnv
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || got.Kind != "PodEnvironment" || got.Name != "p" || len(got.Containers) != 1 ||
		!slices.Contains(got.Containers[0].Env, corev1.EnvVar{Name: "C_CLUSTER", Value: "https://10.96.0.1:443"}) {
		t.Errorf("exit code %d, error %v, output\n%s%s", code, err, out, errOut)
	}
	if out, _, code := run(t, "kubectl-space", url, "env", "p", "-n", "team", "-o", "yaml"); code != 0 || !strings.Contains(out, "\nkind: PodEnvironment\n") {
		t.Errorf("exit code %d, output\n%s", code, out)
	}
	if _, errOut, code := run(t, "kubectl-space", url, "env", "p", "-n", "team", "-o", "wide"); code != 1 || errOut != "error: --output must be 'yaml' or 'json'\n" {
		t.Errorf("exit code %d, errors %q", code, errOut)
	}
}
