// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/utils/ptr"
	cdilib "tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// containerGets is what the container runtime adds for a device.
func (n *node) containerGets(id string) specs.ContainerEdits {
	n.t.Helper()
	cache, err := cdilib.NewCache(cdilib.WithSpecDirs(filepath.Join(n.dir, "cdi")), cdilib.WithAutoRefresh(false))
	n.must(err)
	n.must(cache.Refresh())
	device := cache.GetDevice(id)
	if device == nil {
		n.t.Fatalf("the container runtime knows %q, but not %q", cache.ListDevices(), id)
	}
	return device.ContainerEdits
}

func (n *node) wantNothingLeft() {
	n.t.Helper()
	for _, below := range []string{"artifacts", "cdi"} {
		n.wantFiles(below, 0)
	}
}

func TestAContainerFindsItsSpace(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyWith(t, claimFor("a"), "account-1"))
		devices, err := n.driver.prepare(t.Context(), claim)
		n.must(err)

		if len(devices) != 1 {
			t.Fatalf("got %d devices, want 1", len(devices))
		}
		result := claim.Status.Allocation.Devices.Results[0]
		d := devices[0]
		if !slices.Equal(d.Requests, []string{"a"}) || d.PoolName != result.Pool || d.DeviceName != result.Device || d.ShareID == nil || *d.ShareID != *result.ShareID {
			t.Errorf("the kubelet can't match device %+v with result %+v", d, result)
		}
		if len(d.CDIDeviceIDs) != 1 {
			t.Fatalf("got CDI devices %q, want one", d.CDIDeviceIDs)
		}
		edits := n.containerGets(d.CDIDeviceIDs[0])
		ns := allocation.FromClaim(claim, testDriver).Results[0].NamespaceName("ns-")
		want := []string{
			"DRA_RESOURCE_DRIVER_NAME=" + testDriver,
			"TEST_CLAIM_CLUSTER=" + testServer,
			"TEST_CLAIM_NAMESPACE=" + ns,
			"TEST_CLAIM_KUBECONFIG=/var/run/claim-artifacts/claim-uid/kubeconfig",
		}
		if !slices.Equal(edits.Env, want) {
			t.Errorf("got environment\n%s\nwant\n%s", strings.Join(edits.Env, "\n"), strings.Join(want, "\n"))
		}
		var dirs []string
		for _, mount := range edits.Mounts {
			dirs = append(dirs, mount.ContainerPath)
			if mount.HostPath != n.driver.store.credentialsPath(claim.UID, "") || !slices.Contains(mount.Options, "ro") {
				t.Errorf("got mount %+v, want the artifacts, read-only", mount)
			}
		}
		if want := []string{"/var/run/claim-artifacts/claim-uid", "/etc/test-claim"}; !slices.Equal(dirs, want) {
			t.Errorf("mounted at %q, want %q", dirs, want)
		}
		for file, want := range map[string]string{"token": "token-1", "namespace": ns, "ca.crt": "the CA"} {
			if got, err := os.ReadFile(filepath.Join(n.driver.store.credentialsPath(claim.UID, ""), file)); err != nil || string(got) != want {
				t.Errorf("%s has %q, error %v, want %q", file, got, err, want)
			}
		}
	})
}

func TestEachSpaceOfAClaimHasItsOwnPlace(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyWith(t, claimFor("main/small", "second-one"), "account-1"))
		devices, err := n.driver.prepare(t.Context(), claim)
		n.must(err)
		a := allocation.FromClaim(claim, testDriver)
		for i, want := range []struct{ request, variable, slot string }{
			{"main/small", "TEST_CLAIM_MAIN", "main"}, {"second-one", "TEST_CLAIM_SECOND_ONE", "second-one"},
		} {
			if !slices.Equal(devices[i].Requests, []string{want.request}) {
				t.Errorf("device %d is for requests %q, want %q", i, devices[i].Requests, want.request)
			}
			edits := n.containerGets(devices[i].CDIDeviceIDs[0])
			for _, variable := range []string{
				want.variable + "_NAMESPACE=" + a.Results[i].NamespaceName("ns-"),
				want.variable + "_KUBECONFIG=/var/run/claim-artifacts/claim-uid/" + want.slot + "/kubeconfig",
			} {
				if !slices.Contains(edits.Env, variable) {
					t.Errorf("the environment lacks %s: %q", variable, edits.Env)
				}
			}
			if edits.Mounts[1].ContainerPath != "/etc/test-claim/"+want.slot {
				t.Errorf("mounted at %s", edits.Mounts[1].ContainerPath)
			}
			kubeconfig, err := os.ReadFile(filepath.Join(edits.Mounts[0].HostPath, "kubeconfig"))
			if err != nil || !strings.Contains(string(kubeconfig), a.Results[i].NamespaceName("ns-")) {
				t.Errorf("the kubeconfig of request %s, error %v, is not for its namespace:\n%s", want.request, err, kubeconfig)
			}
		}
		if devices[0].CDIDeviceIDs[0] == devices[1].CDIDeviceIDs[0] {
			t.Errorf("both spaces are device %s", devices[0].CDIDeviceIDs[0])
		}
	})
}

func TestPreparingTwiceGivesTheSameDevices(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyWith(t, claimFor("a", "b"), "account-1"))
		first, err := n.driver.prepare(t.Context(), claim)
		n.must(err)
		mounted, err := os.Stat(n.driver.store.credentialsPath(claim.UID, "a"))
		n.must(err)
		again, err := n.driver.prepare(t.Context(), claim)
		n.must(err)
		if !reflect.DeepEqual(first, again) {
			t.Errorf("got  %+v\nthen %+v", first, again)
		}
		now, err := os.Stat(n.driver.store.credentialsPath(claim.UID, "a"))
		n.must(err)
		if !os.SameFile(mounted, now) {
			t.Error("the directory that is mounted in running containers was replaced")
		}
	})
}

func TestWhatCannotBePrepared(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*resourceapi.ResourceClaim)
		want   string
	}{
		"not allocated":        {func(c *resourceapi.ResourceClaim) { c.Status.Allocation = nil }, "not allocated"},
		"another driver's":     {func(c *resourceapi.ResourceClaim) { c.Status.Allocation.Devices.Results[0].Driver = "x" }, "not allocated for driver " + testDriver},
		"deleted and released": {func(c *resourceapi.ResourceClaim) { c.DeletionTimestamp, c.Finalizers = ptr.To(metav1.Now()), nil }, "not allocated"},
		"data of a version that is not known": {func(c *resourceapi.ResourceClaim) {
			c.Status.Devices[0].Data.Raw = []byte(`{"kind":"SpaceStatus","apiVersion":"space.resource.example.com/v7"}`)
		}, "space.resource.example.com/v7"},
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := readyWith(t, claimFor("a"), "account-1")
				test.change(claim)
				_, err := n.driver.prepare(t.Context(), claim)
				if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "team/pod-test-claim-x7x7x") {
					t.Errorf("got error %v, want one that names the claim and says %q", err, test.want)
				}
				n.wantNothingLeft()
			})
		})
	}
}

func TestWithoutATokenNothingIsPrepared(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyWith(t, claimFor("a"), "account-1"))
		cause := errors.New("out of tokens")
		n.requester.failWith(cause)
		_, err := n.driver.prepare(t.Context(), claim)
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), "team/pod-test-claim-x7x7x") {
			t.Errorf("got error %v, want one that names the claim and the cause", err)
		}
		n.wantNothingLeft()
	})
}

func TestUnprepareRemovesEverythingAndCanBeRepeated(t *testing.T) {
	for name, requests := range map[string][]string{"one space": {"a"}, "several": {"a", "b"}} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.prepared(requests...)
				for range 2 {
					n.must(n.driver.unprepare(t.Context(), claim.UID))
					n.wantNothingLeft()
				}
			})
		})
	}
}

func TestUnprepareNeedsNeitherPrepareNorAPIServerNorMetadata(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.must(n.driver.unprepare(t.Context(), "never-seen"))
		n.wantNothingLeft()

		claim := n.prepared("a")
		n.must(n.driver.store.remove(claim.UID))
		n.restart()
		n.client.ClearActions()
		n.must(n.driver.unprepare(t.Context(), claim.UID))
		n.wantNothingLeft()
		if actions := n.client.Actions(); len(actions) > 0 {
			t.Errorf("the API server was asked: %v", actions)
		}
	})
}

func TestTheKubeletHearsAboutEachClaim(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		good := n.create(readyWith(t, claimFor("a"), "account-1"))
		bad := readyWith(t, claimFor("a"), "account-1")
		bad.UID, bad.Status.Allocation = "bad-uid", nil
		results, err := n.driver.PrepareResourceClaims(t.Context(), []*resourceapi.ResourceClaim{good, bad})
		n.must(err)
		if r := results[good.UID]; r.Err != nil || len(r.Devices) != 1 {
			t.Errorf("the good claim: got %+v", r)
		}
		if r := results[bad.UID]; r.Err == nil || len(results) != 2 {
			t.Errorf("the bad claim: got %+v", r)
		}

		// Something that can't be removed, for as long as it has that name.
		ended, err := n.driver.UnprepareResourceClaims(t.Context(), []kubeletplugin.NamespacedObject{{UID: ""}, {UID: good.UID}})
		n.must(err)
		if ended[""] == nil || ended[good.UID] != nil || len(ended) != 2 {
			t.Errorf("got %v, want an error for the claim without UID only", ended)
		}
		n.wantNothingLeft()
	})
}

func TestWhatAHalfPreparedClaimLeftIsRemoved(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyWith(t, claimFor("a"), "account-1"))
		// The spec's place is taken, so that Prepare fails at its last step.
		blocked := filepath.Join(n.dir, "cdi", cdilib.GenerateTransientSpecName(testDriver, "space", "claim-uid")+".yaml")
		n.must(os.MkdirAll(filepath.Join(blocked, "x"), 0o755))
		if _, err := n.driver.prepare(t.Context(), claim); err == nil {
			t.Fatal("Prepare has not failed")
		}
		n.wantFiles("artifacts", 1)
		n.must(os.RemoveAll(blocked))
		n.restart()
		n.must(n.driver.unprepare(t.Context(), claim.UID))
		n.wantNothingLeft()
	})
}

func TestANodeWhoseClockIsAheadDoesNotRenewInALoop(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		// The node's clock is two hours ahead of the API server's.
		n.client.PrependReactor("create", "serviceaccounts", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{
				Token: "t", ExpirationTimestamp: metav1.NewTime(time.Now().Add(lifetime - 2*time.Hour)),
			}}, nil
		})
		claim := n.create(readyWith(t, claimFor("a"), "account-1"))
		start := time.Now()
		_, err := n.driver.prepare(t.Context(), claim)
		n.must(err)
		n.awaitMint("the first token")
		n.awaitMint("renewal")
		took := time.Since(start)
		n.requester.failWith(errors.New("stop")) // lets the test end
		if took < lifetime/2 {
			t.Errorf("the token was renewed after %s of %s", took, lifetime)
		}
	})
}

func TestNobodyWatchesAClaimWhoseCredentialsWereRemoved(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		w := watch.NewFake()
		n.client.PrependWatchReactor("resourceclaims", once(func() (watch.Interface, error) { return w, nil }))
		claim := n.prepared("a")
		n.must(os.RemoveAll(n.driver.store.credentialsPath(claim.UID, "")))
		n.awaitMint("the renewal that notices")
		synctest.Wait()
		if !w.IsStopped() {
			t.Error("the watch is still there")
		}
	})
}

func TestPrepareSaysWhyAlthoughNoTimeIsLeft(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		ctx, cancel := context.WithTimeout(t.Context(), answerMargin)
		defer cancel()
		_, err := n.driver.prepare(ctx, notReadyBecause(t, claimFor("a"), spaceapi.ReasonInvalidParameters, "not offered"))
		if err == nil || !strings.Contains(err.Error(), "InvalidParameters: not offered") {
			t.Errorf("got error %v, want the controller's", err)
		}
	})
}

func TestAPodClaimNameDoesNotLeadOutOfItsDirectory(t *testing.T) {
	for _, name := range []string{"..", ".", "../usr/bin", "../var/run/secrets/kubernetes.io/serviceaccount"} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := readyWith(t, claimFor("a"), "account-1")
				claim.Annotations[resourceapi.PodResourceClaimAnnotation] = name
				claim = n.create(claim)
				devices, err := n.driver.prepare(t.Context(), claim)
				if err != nil {
					return
				}
				for _, m := range n.containerGets(devices[0].CDIDeviceIDs[0]).Mounts {
					if !strings.HasPrefix(m.ContainerPath, "/etc/") && !strings.HasPrefix(m.ContainerPath, "/var/run/claim-artifacts/claim-uid") {
						t.Errorf("mounted at %s", m.ContainerPath)
					}
				}
			})
		})
	}
}

func TestUnprepareEndsAPrepareThatWaitsForItsTurnToo(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(claimFor("a"))
		first := n.prepareInBackground(t.Context(), claim)
		second := n.prepareInBackground(t.Context(), claim)
		start := time.Now()
		n.must(n.driver.unprepare(t.Context(), claim.UID))
		if took := time.Since(start); took != 0 {
			t.Errorf("Unprepare waited %s", took)
		}
		for _, waiting := range []<-chan error{first, second} {
			if err := <-waiting; !errors.Is(err, errInterrupted) {
				t.Errorf("a Prepare that was interrupted said %v", err)
			}
		}
	})
}

func TestFollowingGoesOnAfterDataThatAreNotKnown(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		newer := claim.DeepCopy()
		newer.Status.Devices[0].Data.Raw = []byte(`{"kind":"SpaceStatus","apiVersion":"space.resource.example.com/v2"}`)
		n.update(newer)
		n.update(readyWith(t, claim, "account-2"))
		if m := n.awaitMint("a token of the new ServiceAccount"); m.account.UID != "account-2" {
			t.Errorf("the next token was for ServiceAccount UID %s", m.account.UID)
		}
	})
}

// errNotHere is the admission policy's answer for a node without a pod.
var errNotHere = apierrors.NewForbidden(corev1.Resource("serviceaccounts"), "space", errors.New("no pod is known to be here"))

func TestPrepareWaitsUntilThePodIsNoted(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		noted, tries := time.Now().Add(3*time.Second), 0
		n.requester.askFirst(func(context.Context, token.Account) error {
			tries++
			if time.Now().Before(noted) {
				return errNotHere
			}
			return nil
		})
		claim := n.create(readyWith(t, claimFor("a"), "account-1"))
		took, err := n.await(n.prepareInBackground(t.Context(), claim))
		n.must(err)
		if took < 3*time.Second || took > 5*time.Second || tries < 5 || tries > 12 {
			t.Errorf("Prepare returned after %s and %d tries", took, tries)
		}
		n.wantToken(claim, "", "token-1")
	})
}

func TestPrepareGivesUpInTimeWhenThePodIsNeverNoted(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.requester.askFirst(func(context.Context, token.Account) error { return errNotHere })
		took, err := n.await(n.prepareInBackground(t.Context(), n.create(readyWith(t, claimFor("a"), "account-1"))))
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "no pod is known to be here") {
			t.Errorf("Prepare says %v", err)
		}
		if took != 35*time.Second {
			t.Errorf("it took %s", took)
		}
		n.wantNothingLeft()
	})
}

func TestPrepareDoesNotWaitForATokenThatIsRefusedForGood(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.requester.askFirst(func(context.Context, token.Account) error {
			return apierrors.NewNotFound(corev1.Resource("serviceaccounts"), "space")
		})
		took, err := n.await(n.prepareInBackground(t.Context(), n.create(readyWith(t, claimFor("a"), "account-1"))))
		if err == nil || took != 0 {
			t.Errorf("Prepare says %v, after %s", err, took)
		}
	})
}

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
		claim := withClass(claimFor("a"), `,"env":{"tier":"gold"}`)
		claim = withChoice(claim, `,"envPrefix":"PREVIEW","mountPath":"/space","inCluster":true,"kubeconfigEnv":true,"env":{"greeting":"a b=\"ä\""}`)
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
	allocation := allocation.FromClaim(newer, testDriver)
	_, words := config.Defaults{Driver: testDriver}.Resolve(allocation, allocation.Results[0])
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
