// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	cdilib "tags.cncf.io/container-device-interface/pkg/cdi"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

func TestPrepare_trustsOnlyNamesInTheStatus(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyFor(t, withClaimConfig(claimFor("a"), `,"inCluster":true`), "account-1"))
		devices, err := n.driver.prepare(t.Context(), claim)
		n.must(err)
		n.wantServerFiles(claim.UID, "", testServer, []byte("the CA"))
		env := n.containerEdits(devices[0].CDIDeviceIDs[0]).Env
		for _, want := range []string{"TEST_CLAIM_CLUSTER=" + testServer, "KUBERNETES_SERVICE_HOST=10.96.0.1"} {
			if !slices.Contains(env, want) {
				t.Errorf("containers have no %s: %q", want, env)
			}
		}
		if text := strings.Join(env, "\n"); strings.Contains(text, "status.example.com") {
			t.Errorf("the status leads containers elsewhere: %s", text)
		}
	})
}

func TestPrepare_writesFilesAndCDISpec(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyFor(t, claimFor("a"), "account-1"))
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
		edits := n.containerEdits(d.CDIDeviceIDs[0])
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
				t.Errorf("got mount %+v, want the credentials, read-only", mount)
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

func TestPrepare_severalSpaces(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyFor(t, claimFor("main/small", "second-one"), "account-1"))
		devices, err := n.driver.prepare(t.Context(), claim)
		n.must(err)
		a := allocation.FromClaim(claim, testDriver)
		for i, want := range []struct{ request, variable, subdir string }{
			{"main/small", "TEST_CLAIM_MAIN", "main"}, {"second-one", "TEST_CLAIM_SECOND_ONE", "second-one"},
		} {
			if !slices.Equal(devices[i].Requests, []string{want.request}) {
				t.Errorf("device %d is for requests %q, want %q", i, devices[i].Requests, want.request)
			}
			edits := n.containerEdits(devices[i].CDIDeviceIDs[0])
			for _, variable := range []string{
				want.variable + "_NAMESPACE=" + a.Results[i].NamespaceName("ns-"),
				want.variable + "_KUBECONFIG=/var/run/claim-artifacts/claim-uid/" + want.subdir + "/kubeconfig",
			} {
				if !slices.Contains(edits.Env, variable) {
					t.Errorf("the environment lacks %s: %q", variable, edits.Env)
				}
			}
			if edits.Mounts[1].ContainerPath != "/etc/test-claim/"+want.subdir {
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

func TestPrepare_isIdempotent(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyFor(t, claimFor("a", "b"), "account-1"))
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

func TestPrepare_rejectsInvalidClaims(t *testing.T) {
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
				claim := readyFor(t, claimFor("a"), "account-1")
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

func TestPrepare_writesNothingWithoutAToken(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyFor(t, claimFor("a"), "account-1"))
		cause := errors.New("out of tokens")
		n.requester.failWith(cause)
		_, err := n.driver.prepare(t.Context(), claim)
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), "team/pod-test-claim-x7x7x") {
			t.Errorf("got error %v, want one that names the claim and the cause", err)
		}
		n.wantNothingLeft()
	})
}

func TestUnprepare_removesEverything(t *testing.T) {
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

func TestUnprepare_needsOnlyTheUID(t *testing.T) {
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

func TestUnprepare_removesAPartiallyPreparedClaim(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyFor(t, claimFor("a"), "account-1"))
		// The spec's place is taken, so that Prepare fails at its last step.
		blocked := filepath.Join(n.dir, "cdi", cdilib.GenerateTransientSpecName(testDriver, "space", "claim-uid")+".yaml")
		n.must(os.MkdirAll(filepath.Join(blocked, "x"), 0o755))
		if _, err := n.driver.prepare(t.Context(), claim); err == nil {
			t.Fatal("Prepare has not failed")
		}
		n.wantFiles("claims", 1)
		n.must(os.RemoveAll(blocked))
		n.restart()
		n.must(n.driver.unprepare(t.Context(), claim.UID))
		n.wantNothingLeft()
	})
}

func TestPrepare_keepsMountsInTheirDirectories(t *testing.T) {
	for _, name := range []string{"..", ".", "../usr/bin", "../var/run/secrets/kubernetes.io/serviceaccount"} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := readyFor(t, claimFor("a"), "account-1")
				claim.Annotations[resourceapi.PodResourceClaimAnnotation] = name
				claim = n.create(claim)
				devices, err := n.driver.prepare(t.Context(), claim)
				if err != nil {
					return
				}
				for _, m := range n.containerEdits(devices[0].CDIDeviceIDs[0]).Mounts {
					if !strings.HasPrefix(m.ContainerPath, "/etc/") && !strings.HasPrefix(m.ContainerPath, "/var/run/claim-artifacts/claim-uid") {
						t.Errorf("mounted at %s", m.ContainerPath)
					}
				}
			})
		})
	}
}

func TestPrepare_waitsUntilTheNodeIsRecorded(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		recorded, tries := time.Now().Add(3*time.Second), 0
		n.requester.intercept(func(context.Context, token.Account) error {
			tries++
			if time.Now().Before(recorded) {
				return errNodeNotRecorded
			}
			return nil
		})
		claim := n.create(readyFor(t, claimFor("a"), "account-1"))
		took, err := n.await(n.prepareInBackground(t.Context(), claim))
		n.must(err)
		if took < 3*time.Second || took > 5*time.Second || tries < 5 || tries > 12 {
			t.Errorf("Prepare returned after %s and %d tries", took, tries)
		}
		n.wantToken(claim, "", "token-1")
	})
}

func TestPrepare_failsInTimeIfTheNodeIsNotRecorded(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.requester.intercept(func(context.Context, token.Account) error { return errNodeNotRecorded })
		took, err := n.await(n.prepareInBackground(t.Context(), n.create(readyFor(t, claimFor("a"), "account-1"))))
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "no pod is known to be here") {
			t.Errorf("Prepare says %v", err)
		}
		if took != 35*time.Second {
			t.Errorf("it took %s", took)
		}
		n.wantNothingLeft()
	})
}

func TestPrepare_failsImmediatelyOnOtherTokenErrors(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.requester.intercept(func(context.Context, token.Account) error {
			return apierrors.NewNotFound(corev1.Resource("serviceaccounts"), "space")
		})
		took, err := n.await(n.prepareInBackground(t.Context(), n.create(readyFor(t, claimFor("a"), "account-1"))))
		if err == nil || took != 0 {
			t.Errorf("Prepare says %v, after %s", err, took)
		}
	})
}

func TestPrepare_usesTheTokenLifetimeOfTheClass(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		start := time.Now()
		claim := n.create(readyFor(t, withClassConfig(claimFor("a", "b"), `,"tokenLifetime":"15m"`, "a"), "account-1"))
		_, err := n.driver.prepare(t.Context(), claim)
		n.must(err)
		spaces := map[string]time.Duration{}
		for dir, lifetime := range map[string]time.Duration{"a": 15 * time.Minute, "b": 0} {
			space, err := os.ReadFile(filepath.Join(n.driver.store.credentialsPath(claim.UID, dir), "namespace"))
			n.must(err)
			spaces[string(space)] = lifetime
		}
		wantTokenRequests := func(why string, after time.Duration, lifetimes ...time.Duration) {
			t.Helper()
			var got []time.Duration
			for range lifetimes {
				m := n.awaitTokenRequest(why)
				if got = append(got, m.lifetime); m.lifetime != spaces[m.account.Namespace] || m.at.Sub(start) != after {
					t.Errorf("%s: asked for %s in %s after %s, want that after %s", why, m.lifetime, m.account.Namespace, m.at.Sub(start), after)
				}
			}
			if slices.Sort(got); !slices.Equal(got, lifetimes) {
				t.Errorf("%s: asked for %s, want %s", why, got, lifetimes)
			}
		}
		wantTokenRequests("Prepare", 0, 0, 15*time.Minute)
		// Each after two thirds of its own lifetime.
		wantTokenRequests("renewal", 10*time.Minute, 15*time.Minute)
		wantTokenRequests("second renewal", 20*time.Minute, 15*time.Minute)
		synctest.Wait()
		n.restart()
		wantTokenRequests("renewal after a restart", 20*time.Minute, 0, 15*time.Minute)
		wantTokenRequests("the renewal after that", 30*time.Minute, 15*time.Minute)
		// A new ServiceAccount has the metadata written again.
		synctest.Wait()
		n.update(readyFor(t, claim, "account-2"))
		wantTokenRequests("renewal for the new ServiceAccount", 30*time.Minute, 0, 15*time.Minute)
		synctest.Wait()
		p, err := n.driver.store.get(claim.UID)
		n.must(err)
		if got := p.Spaces[0]; got.ServiceAccountUID != "account-2" || got.TokenLifetime != (metav1.Duration{Duration: 15 * time.Minute}) {
			t.Errorf("the metadata have %+v", got)
		}
	})
}

func TestPrepare_appliesParameters(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := withClassConfig(claimFor("a"), `,"env":{"tier":"gold"}`)
		claim = withClaimConfig(claim, `,"envPrefix":"PREVIEW","mountPath":"/space","inCluster":true,"kubeconfigEnv":true,"env":{"greeting":"a b=\"ä\""}`)
		claim = n.create(readyFor(t, claim, "account-1"))
		devices, err := n.driver.prepare(t.Context(), claim)
		n.must(err)
		edits := n.containerEdits(devices[0].CDIDeviceIDs[0])
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

func TestPrepare_rejectsInvalidParameters(t *testing.T) {
	newer := withConfig(claimFor("a"), resourceapi.AllocationConfigSourceClass, "SpaceClassConfigOfTomorrow", "", nil)
	allocation := allocation.FromClaim(newer, testDriver)
	_, words := config.Defaults{Driver: testDriver}.Resolve(allocation, allocation.Results[0])
	for name, test := range map[string]struct {
		claim *resourceapi.ResourceClaim
		want  string
	}{
		"a kind of a newer version":  {newer, words.Error()},
		"a field of a newer version": {withClassConfig(claimFor("a"), `,"tomorrow":1`), "tomorrow: Forbidden: unknown field"},
		"names that meet":            {withClaimConfig(claimFor("a", "b"), `,"kubeconfigEnv":true`), "requests a and b set environment variable KUBECONFIG"},
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.create(readyFor(t, test.claim, "account-1"))
				_, err := n.driver.prepare(t.Context(), claim)
				if want := "ResourceClaim team/pod-test-claim-x7x7x: InvalidParameters: "; err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got error %v, want %s… %s", err, want, test.want)
				}
				n.wantNothingLeft()
				n.wantNoTokenRequest("nothing is to be prepared")
			})
		})
	}
}

func TestUnprepare_stopsRenewal(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		n.must(n.driver.unprepare(t.Context(), claim.UID))
		n.wantNoTokenRequest("the claim was unprepared")
		n.wantRenewedAfterPrepare(claim)
	})
}

func TestPrepare_writesNothingAfterTheCall(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyFor(t, claimFor("a"), "account-1"))
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("the kubelet hung up")
		// The call ends when the last answer of the API server has come.
		n.driver.TokenRequester = tokenRequesterFunc(func(ctx context.Context, account token.Account, lifetime time.Duration) (token.Token, error) {
			tok, err := n.requester.Request(ctx, account, lifetime)
			cancel(cause)
			return tok, err
		})
		if _, err := n.driver.prepare(ctx, claim); !errors.Is(err, cause) {
			t.Errorf("got error %v, want %v", err, cause)
		}
		n.wantNothingLeft()
	})
}

func TestUnprepare_interruptsPrepare(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(claimFor("a"))
		waitsForReady := n.prepareInBackground(t.Context(), claim)
		waitsForLock := n.prepareInBackground(t.Context(), claim)
		start := time.Now()
		n.must(n.driver.unprepare(t.Context(), claim.UID))
		if took := time.Since(start); took != 0 {
			t.Errorf("Unprepare waited %s for Prepare", took)
		}
		for _, result := range []<-chan error{waitsForReady, waitsForLock} {
			if _, err := n.await(result); !errors.Is(err, errInterrupted) {
				t.Errorf("Prepare: got error %v, want %v", err, errInterrupted)
			}
		}
		n.update(readyFor(t, claim, "account-1"))
		n.wantNothingLeft()
		n.wantNoTokenRequest("the claim was unprepared")
	})
}

func TestPrepare_doesNotBlockOtherClaims(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		waiting := n.prepareInBackground(t.Context(), n.create(claimFor("a")))
		other := claimFor("a")
		// In another namespace, because the fake API server ignores field selectors.
		other.Namespace, other.UID = "other", "other-uid"
		other = n.create(readyFor(t, other, "account-1"))
		if took, err := n.await(n.prepareInBackground(t.Context(), other)); err != nil || took != 0 {
			t.Errorf("the other claim: after %s, error %v", took, err)
		}
		n.must(n.driver.unprepare(t.Context(), "other-uid"))
		select {
		case err := <-waiting:
			t.Errorf("the waiting Prepare ended with error %v", err)
		default:
		}
	})
}
