// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// errNotHere is the admission policy's answer for a node without a pod.
var errNotHere = apierrors.NewForbidden(corev1.Resource("serviceaccounts"), "space", errors.New("no pod is known to be here"))

func TestPrepareWaitsUntilThePodIsNoted(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		noted, tries := time.Now().Add(3*time.Second), 0
		n.minter.askFirst(func(context.Context, token.Account) error {
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
		n.minter.askFirst(func(context.Context, token.Account) error { return errNotHere })
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
		n.minter.askFirst(func(context.Context, token.Account) error {
			return apierrors.NewNotFound(corev1.Resource("serviceaccounts"), "space")
		})
		took, err := n.await(n.prepareInBackground(t.Context(), n.create(readyWith(t, claimFor("a"), "account-1"))))
		if err == nil || took != 0 {
			t.Errorf("Prepare says %v, after %s", err, took)
		}
	})
}
