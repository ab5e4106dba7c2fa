// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

// withClass and withChoice add parameters to a claim's allocation: an
// administrator's and a user's. fields are JSON, beginning with a comma.
func withClass(claim *resourceapi.ResourceClaim, fields string, requests ...string) *resourceapi.ResourceClaim {
	return withConfig(claim, resourceapi.AllocationConfigSourceClass, spaceapi.SpaceClassConfigKind, fields, requests)
}

func withChoice(claim *resourceapi.ResourceClaim, fields string, requests ...string) *resourceapi.ResourceClaim {
	return withConfig(claim, resourceapi.AllocationConfigSourceClaim, spaceapi.SpaceClaimConfigKind, fields, requests)
}

func withConfig(claim *resourceapi.ResourceClaim, source resourceapi.AllocationConfigSource, kind, fields string, requests []string) *resourceapi.ResourceClaim {
	config := resourceapi.DeviceAllocationConfiguration{Source: source, Requests: requests}
	config.Opaque = &resourceapi.OpaqueDeviceConfiguration{Driver: testDriver, Parameters: runtime.RawExtension{
		Raw: fmt.Appendf(nil, `{"apiVersion":%q,"kind":%q%s}`, spaceapi.APIVersion, kind, fields),
	}}
	claim.Status.Allocation.Devices.Config = append(claim.Status.Allocation.Devices.Config, config)
	return claim
}

func TestTokensLiveAsLongAsTheClassSays(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		start := time.Now()
		claim := n.create(readyWith(t, withClass(claimFor("a", "b"), `,"tokenLifetime":"15m"`, "a"), "account-1"))
		_, err := n.driver.prepare(t.Context(), claim)
		n.must(err)
		want := map[string]time.Duration{}
		for _, s := range []struct {
			dir      string
			lifetime time.Duration
		}{{"a", 15 * time.Minute}, {"b", 0}} {
			space, err := os.ReadFile(filepath.Join(n.driver.store.credentialsPath(claim.UID, s.dir), "namespace"))
			n.must(err)
			want[string(space)] = s.lifetime
		}
		wantMints := func(why string, after time.Duration) {
			t.Helper()
			for range want {
				m := n.awaitMint(why)
				if lifetime := want[m.account.Namespace]; m.lifetime != lifetime || m.at.Sub(start) != after {
					t.Errorf("%s, after %s: asked for %s, want %s after %s", why, m.at.Sub(start), m.lifetime, lifetime, after)
				}
			}
		}
		wantMints("Prepare", 0)
		// Two thirds of the shortest lifetime.
		wantMints("renewal", 10*time.Minute)
		wantMints("second renewal", 20*time.Minute)
		synctest.Wait()
		n.restart()
		wantMints("renewal after a restart", 20*time.Minute)
		wantMints("the renewal after that", 30*time.Minute)
		// A new ServiceAccount has the metadata written again.
		synctest.Wait()
		n.update(readyWith(t, claim, "account-2"))
		wantMints("renewal for the new ServiceAccount", 30*time.Minute)
		synctest.Wait()
		p, err := n.driver.store.get(claim.UID)
		n.must(err)
		if got := p.Spaces[0]; got.ServiceAccountUID != "account-2" || got.TokenLifetime != (metav1.Duration{Duration: 15 * time.Minute}) {
			t.Errorf("the metadata have %+v", got)
		}
	})
}

func TestContainersSeeWhatClassAndClaimSay(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := withClass(claimFor("a"), `,"parameters":{"tier":"gold"}`)
		claim = withChoice(claim, `,"variablePrefix":"PREVIEW","mountPath":"/space","inCluster":true,"kubeconfigEnv":true,"parameters":{"greeting":"a b=\"ä\""}`)
		claim = n.create(readyWith(t, claim, "account-1"))
		devices, err := n.driver.prepare(t.Context(), claim)
		n.must(err)
		edits := n.containerGets(devices[0].CDIDeviceIDs[0])
		for _, want := range []string{
			"PREVIEW_KUBECONFIG=/var/run/claim-artifacts/claim-uid/kubeconfig",
			"KUBECONFIG=/var/run/claim-artifacts/claim-uid/kubeconfig",
			"admin_tier=gold",
			`user_greeting=a b="ä"`,
		} {
			if !slices.Contains(edits.Env, want) {
				t.Errorf("the environment lacks %s: %q", want, edits.Env)
			}
		}
		want := []string{"/var/run/claim-artifacts/claim-uid", "/etc/test-claim", "/var/run/secrets/kubernetes.io/serviceaccount", "/space"}
		for i, mount := range edits.Mounts {
			if i >= len(want) || mount.ContainerPath != want[i] || mount.HostPath != n.driver.store.credentialsPath(claim.UID, "") || !slices.Contains(mount.Options, "ro") {
				t.Errorf("got mount %+v, want mounts at %q", mount, want)
			}
		}
		if len(edits.Mounts) != len(want) {
			t.Errorf("got %d mounts, want %q", len(edits.Mounts), want)
		}
	})
}

func TestParametersThatCannotBePreparedAreRefused(t *testing.T) {
	newer := withConfig(claimFor("a"), resourceapi.AllocationConfigSourceClass, "SpaceClassConfigOfTomorrow", "", nil)
	_, words := parameters.For(parameters.Installation{Driver: testDriver}, newer.Status.Allocation.Devices.Config, "a", []string{"a"})
	for name, test := range map[string]struct {
		claim *resourceapi.ResourceClaim
		want  string
	}{
		"a kind of a newer version":  {newer, words.Error()},
		"a field of a newer version": {withClass(claimFor("a"), `,"tomorrow":1`), "tomorrow: Forbidden: unknown field"},
		"names that meet":            {withChoice(claimFor("a", "b"), `,"kubeconfigEnv":true`), "requests a and b both set the variable KUBECONFIG"},
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.create(readyWith(t, test.claim, "account-1"))
				_, err := n.driver.prepare(t.Context(), claim)
				if want := "ResourceClaim team/pod-test-claim-x7x7x: InvalidParameters: "; err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got error %v, want %s… %s", err, want, test.want)
				}
				n.wantNothingLeft()
				n.wantNoMint("nothing is to be prepared")
			})
		})
	}
}
