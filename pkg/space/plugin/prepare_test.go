// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/utils/ptr"
	cdilib "tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/space-dra/space-dra-driver/pkg/space/identity"
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
		ns := identity.Of(claim, testDriver).Shares[0].NamespaceName("ns-")
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
		a := identity.Of(claim, testDriver)
		for i, want := range []struct{ request, variable, slot string }{
			{"main/small", "TEST_CLAIM_MAIN", "main"}, {"second-one", "TEST_CLAIM_SECOND_ONE", "second-one"},
		} {
			if !slices.Equal(devices[i].Requests, []string{want.request}) {
				t.Errorf("device %d is for requests %q, want %q", i, devices[i].Requests, want.request)
			}
			edits := n.containerGets(devices[i].CDIDeviceIDs[0])
			for _, variable := range []string{
				want.variable + "_NAMESPACE=" + a.Shares[i].NamespaceName("ns-"),
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
			if err != nil || !strings.Contains(string(kubeconfig), a.Shares[i].NamespaceName("ns-")) {
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
		n.minter.failWith(cause)
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
