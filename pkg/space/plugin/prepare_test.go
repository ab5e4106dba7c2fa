// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/api/metadata"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

func TestPrepare_trustsOnlyNamesInTheStatus(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyFor(t, withClaimConfig(claimFor("a"), `,"inCluster":true`), "account-1"))
		devices, err := prepareClaim(t.Context(), n.driver, claim)
		n.must(err)
		n.wantServerFiles(claim.UID, "", testServer, []byte("the CA"))
		env := n.containerEdits(devices[0].CDIDeviceIDs[0]).Env
		for _, want := range []string{"TEST_CLAIM_CLUSTER=" + testServer, "KUBERNETES_SERVICE_HOST=10.96.0.1"} {
			if !slices.Contains(env, want) {
				t.Errorf("containers have no %s: %q", want, env)
			}
		}
		if text := strings.Join(env, "\n"); strings.Contains(text, "status.example.com") {
			t.Errorf("the status redirects containers: %s", text)
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
				_, err := prepareClaim(t.Context(), n.driver, claim)
				if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "team/pod-test-claim-x7x7x") {
					t.Errorf("got error %v, want one with the claim and %q", err, test.want)
				}
				n.wantNoFiles()
			})
		})
	}
}

func TestPrepare_writesNothingWithoutAToken(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyFor(t, claimFor("a"), "account-1"))
		cause := errors.New("out of tokens")
		n.requester.failWith(cause)
		_, err := prepareClaim(t.Context(), n.driver, claim)
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), "team/pod-test-claim-x7x7x") {
			t.Errorf("got error %v, want one that names the claim and the cause", err)
		}
		n.wantNoFiles()
	})
}

func TestPrepare_keepsMountsInTheirDirectories(t *testing.T) {
	for _, name := range []string{"..", ".", "../usr/bin", "../var/run/secrets/kubernetes.io/serviceaccount"} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := readyFor(t, claimFor("a"), "account-1")
				claim.Annotations[resourceapi.PodResourceClaimAnnotation] = name
				claim = n.create(claim)
				devices, err := prepareClaim(t.Context(), n.driver, claim)
				if err != nil {
					return
				}
				for _, m := range n.containerEdits(devices[0].CDIDeviceIDs[0]).Mounts {
					if !slices.ContainsFunc([]string{"/etc/", "/var/run/claim-artifacts/claim-uid", metadata.ContainerDir + "/resourceclaims/pod-test-claim-x7x7x/a/"}, func(dir string) bool { return strings.HasPrefix(m.ContainerPath, dir) }) {
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

func TestPrepare_timesOutIfTheNodeIsNotRecorded(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.requester.intercept(func(context.Context, token.Account) error { return errNodeNotRecorded })
		took, err := n.await(n.prepareInBackground(t.Context(), n.create(readyFor(t, claimFor("a"), "account-1"))))
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "no pod is known to be here") {
			t.Errorf("Prepare returns error %v", err)
		}
		if took != 35*time.Second {
			t.Errorf("it took %s", took)
		}
		n.wantNoFiles()
	})
}

func TestPrepare_failsImmediatelyOnOtherTokenErrors(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.requester.intercept(func(context.Context, token.Account) error {
			return apierrors.NewNotFound(corev1.Resource("serviceaccounts"), "space")
		})
		took, err := n.await(n.prepareInBackground(t.Context(), n.create(readyFor(t, claimFor("a"), "account-1"))))
		if err == nil || took != 0 {
			t.Errorf("Prepare returns error %v, after %s", err, took)
		}
	})
}

func TestPrepare_returnsBeforeTheDeadlineIfATokenRequestHangs(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.requester.intercept(func(ctx context.Context, _ token.Account) error {
			<-ctx.Done()
			return errors.New("no response from the API server")
		})
		const kubeletTimeout = 30 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), kubeletTimeout)
		defer cancel()
		took, err := n.await(n.prepareInBackground(ctx, n.create(readyFor(t, claimFor("a"), "account-1"))))
		if err == nil || !strings.Contains(err.Error(), "no response from the API server") || took != kubeletTimeout-responseMargin {
			t.Errorf("Prepare returns error %v, after %s", err, took)
		}
		n.wantNoFiles()
	})
}

func TestPrepare_usesTheTokenLifetimeOfTheClass(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		start := time.Now()
		claim := n.create(readyFor(t, withClassConfig(claimFor("a", "b"), `,"tokenLifetime":"15m"`, "a"), "account-1"))
		_, err := prepareClaim(t.Context(), n.driver, claim)
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
					t.Errorf("%s: requested %s in %s after %s, want %s", why, m.lifetime, m.account.Namespace, m.at.Sub(start), after)
				}
			}
			if slices.Sort(got); !slices.Equal(got, lifetimes) {
				t.Errorf("%s: requested %s, want %s", why, got, lifetimes)
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
		// A new ServiceAccount changes the metadata.
		synctest.Wait()
		n.update(readyFor(t, claim, "account-2"))
		wantTokenRequests("renewal for the new ServiceAccount", 30*time.Minute, 0, 15*time.Minute)
		synctest.Wait()
		p, err := n.driver.store.get(claim.UID)
		n.must(err)
		if got := p.Spaces[0]; got.ServiceAccountUID != "account-2" || got.TokenLifetime != (metav1.Duration{Duration: 15 * time.Minute}) {
			t.Errorf("the metadata is %+v", got)
		}
	})
}

func TestPrepare_rejectsInvalidParameters(t *testing.T) {
	newer := withConfig(claimFor("a"), resourceapi.AllocationConfigSourceClass, "SpaceClassConfigOfTomorrow", "", nil)
	allocation := allocation.FromClaim(newer, testDriver)
	_, err := config.Defaults{Driver: testDriver}.Resolve(allocation, allocation.Results[0])
	for name, test := range map[string]struct {
		claim *resourceapi.ResourceClaim
		want  string
	}{
		"a kind of a newer version":  {newer, err.Error()},
		"a field of a newer version": {withClassConfig(claimFor("a"), `,"tomorrow":1`), "tomorrow: Forbidden: unknown field"},
		"conflicting names":          {withClaimConfig(claimFor("a", "b"), `,"kubeconfigEnv":true`), "requests a and b set environment variable KUBECONFIG"},
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.create(readyFor(t, test.claim, "account-1"))
				_, err := prepareClaim(t.Context(), n.driver, claim)
				if want := "ResourceClaim team/pod-test-claim-x7x7x: InvalidParameters: "; err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got error %v, want %s… %s", err, want, test.want)
				}
				n.wantNoFiles()
				n.wantNoTokenRequest("nothing is to be prepared")
			})
		})
	}
}

func TestUnprepare_stopsRenewal(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		n.must(unprepareClaim(t.Context(), n.driver, claim.UID))
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
		if _, err := prepareClaim(ctx, n.driver, claim); !errors.Is(err, cause) {
			t.Errorf("got error %v, want %v", err, cause)
		}
		n.wantNoFiles()
	})
}

func TestUnprepare_interruptsPrepare(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(claimFor("a"))
		waitsForReady := n.prepareInBackground(t.Context(), claim)
		waitsForLock := n.prepareInBackground(t.Context(), claim)
		start := time.Now()
		n.must(unprepareClaim(t.Context(), n.driver, claim.UID))
		if took := time.Since(start); took != 0 {
			t.Errorf("Unprepare waited %s for Prepare", took)
		}
		for _, result := range []<-chan error{waitsForReady, waitsForLock} {
			if _, err := n.await(result); !errors.Is(err, errInterrupted) {
				t.Errorf("Prepare: got error %v, want %v", err, errInterrupted)
			}
		}
		n.update(readyFor(t, claim, "account-1"))
		n.wantNoFiles()
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
		n.must(unprepareClaim(t.Context(), n.driver, "other-uid"))
		select {
		case err := <-waiting:
			t.Errorf("the waiting Prepare ended with error %v", err)
		default:
		}
	})
}

func TestWaitUntilReady_returnsTheReasonWithoutTimeLeft(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		ctx, cancel := context.WithTimeout(t.Context(), responseMargin)
		defer cancel()
		_, err := prepareClaim(ctx, n.driver, notReady(t, claimFor("a"), spaceapi.ReasonInvalidParameters, "not offered"))
		if err == nil || !strings.Contains(err.Error(), "InvalidParameters: not offered") {
			t.Errorf("got error %v, want the controller's", err)
		}
	})
}

func TestWaitUntilReady_waitsForTheController(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(claimFor("a"))
		result := n.prepareInBackground(t.Context(), claim)
		n.update(notReady(t, claim, spaceapi.ReasonProvisioningFailed, "no luck yet"))
		select {
		case err := <-result:
			t.Fatalf("Prepare has not waited; error %v", err)
		default:
		}
		n.update(readyFor(t, claim, "account-1"))
		took, err := n.await(result)
		n.must(err)
		if took != 0 {
			t.Errorf("Prepare returned %s after the space was ready", took)
		}
		n.wantToken(claim, "", "token-1")
	})
}

func TestWaitUntilReady_timeoutNamesTheReason(t *testing.T) {
	for name, test := range map[string]struct {
		claim    func(t *testing.T) *resourceapi.ResourceClaim
		deadline time.Duration
		took     time.Duration
		want     []string
	}{
		"no status": {
			func(*testing.T) *resourceapi.ResourceClaim { return claimFor("a") }, 0,
			35 * time.Second, []string{"waited 35s", "request a", "no status reported by the controller of driver " + testDriver}},
		"not ready": {
			func(t *testing.T) *resourceapi.ResourceClaim {
				return notReady(t, claimFor("a", "b"), spaceapi.ReasonNameConflict, "the name is taken")
			}, 0,
			35 * time.Second, []string{"waited 35s", "request a: NameConflict: the name is taken", "request b: NameConflict"}},
		"the kubelet has a shorter deadline": {
			func(*testing.T) *resourceapi.ResourceClaim { return claimFor("a") }, 20 * time.Second,
			15 * time.Second, []string{"waited 15s", "no status reported"}},
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				ctx := t.Context()
				if test.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
					defer cancel()
				}
				took, err := n.await(n.prepareInBackground(ctx, n.create(test.claim(t))))
				if err == nil {
					t.Fatal("Prepare has not failed")
				}
				if took != test.took {
					t.Errorf("it took %s, want %s", took, test.took)
				}
				for _, part := range append(test.want, "ResourceClaim team/pod-test-claim-x7x7x") {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("the error lacks %q: %v", part, err)
					}
				}
				n.wantNoFiles()
			})
		})
	}
}

func TestWaitUntilReady_failsImmediatelyOnFinalStates(t *testing.T) {
	for name, test := range map[string]struct {
		change func(n *node, claim *resourceapi.ResourceClaim)
		want   string
	}{
		"rejected": {func(n *node, claim *resourceapi.ResourceClaim) {
			n.update(notReady(n.t, claim, spaceapi.ReasonInvalidParameters, "admin access is not offered"))
		}, "InvalidParameters: admin access is not offered"},
		"deallocated": {func(n *node, claim *resourceapi.ResourceClaim) {
			claim.Status.Allocation = nil
			n.update(claim)
		}, errDeallocated.Error()},
		"allocated again": {func(n *node, claim *resourceapi.ResourceClaim) {
			claim.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("other"))
			n.update(readyFor(n.t, claim, "account-1"))
		}, errDeallocated.Error()},
		"deleted": {func(n *node, claim *resourceapi.ResourceClaim) { n.remove(claim) }, errDeallocated.Error()},
		"expired": {func(n *node, claim *resourceapi.ResourceClaim) {
			n.update(notReady(n.t, claim, spaceapi.ReasonExpired, "because"))
		}, spaceapi.ReasonExpired + ": because"},
		"reserved for another object than a pod": {func(n *node, claim *resourceapi.ResourceClaim) {
			n.update(notReady(n.t, claim, spaceapi.ReasonUnsupportedConsumer, "because"))
		}, spaceapi.ReasonUnsupportedConsumer + ": because"},
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.create(claimFor("a"))
				result := n.prepareInBackground(t.Context(), claim)
				test.change(n, claim.DeepCopy())
				took, err := n.await(result)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got error %v, want one with %q", err, test.want)
				}
				if took != 0 {
					t.Errorf("Prepare returned after %s", took)
				}
				n.wantNoFiles()
			})
		})
	}
}

func TestWaitUntilReady_stopsWithTheCall(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		ctx, cancel := context.WithCancelCause(t.Context())
		result := n.prepareInBackground(ctx, n.create(claimFor("a")))
		cause := errors.New("the kubelet hung up")
		cancel(cause)
		if took, err := n.await(result); !errors.Is(err, cause) || took != 0 {
			t.Errorf("after %s, got error %v, want %v", took, err, cause)
		}
		n.wantNoFiles()
	})
}
