// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

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
		n.minter.failWith(errors.New("stop")) // lets the test end
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
