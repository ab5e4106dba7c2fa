// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

func TestWaitUntilReady_returnsTheReasonWithoutTimeLeft(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		ctx, cancel := context.WithTimeout(t.Context(), answerMargin)
		defer cancel()
		_, err := n.driver.prepare(ctx, notReady(t, claimFor("a"), spaceapi.ReasonInvalidParameters, "not offered"))
		if err == nil || !strings.Contains(err.Error(), "InvalidParameters: not offered") {
			t.Errorf("got error %v, want the controller's", err)
		}
	})
}

func TestWaitUntilReady_waits(t *testing.T) {
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

func TestWaitUntilReady_survivesABrokenWatch(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(claimFor("a"))
		broken := watch.NewFake()
		n.client.PrependWatchReactor("resourceclaims", once(func() (watch.Interface, error) { return broken, nil }))
		result := n.prepareInBackground(t.Context(), claim)
		n.update(readyFor(t, claim, "account-1"))
		broken.Stop()
		took, err := n.await(result)
		n.must(err)
		if took > 2*rereadDelay {
			t.Errorf("it took %s", took)
		}
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
		"the kubelet has less patience": {
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
						t.Errorf("the error does not say %q: %v", part, err)
					}
				}
				n.wantNothingLeft()
			})
		})
	}
}

func TestWaitUntilReady_failsImmediatelyOnFinalStates(t *testing.T) {
	for name, test := range map[string]struct {
		change func(n *node, claim *resourceapi.ResourceClaim)
		want   string
	}{
		"refused": {func(n *node, claim *resourceapi.ResourceClaim) {
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
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.create(claimFor("a"))
				result := n.prepareInBackground(t.Context(), claim)
				test.change(n, claim.DeepCopy())
				took, err := n.await(result)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got error %v, want one that says %q", err, test.want)
				}
				if took != 0 {
					t.Errorf("Prepare went on for %s", took)
				}
				n.wantNothingLeft()
			})
		})
	}
}

func TestWaitUntilReady_failsImmediatelyIfFinalBefore(t *testing.T) {
	for _, reason := range []string{spaceapi.ReasonInvalidParameters, spaceapi.ReasonExpired} {
		t.Run(reason, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.create(notReady(t, claimFor("a"), reason, "because"))
				took, err := n.await(n.prepareInBackground(t.Context(), claim))
				if err == nil || !strings.Contains(err.Error(), reason+": because") || took != 0 {
					t.Errorf("after %s, got error %v", took, err)
				}
				n.wantNothingLeft()
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
		n.wantNothingLeft()
	})
}
