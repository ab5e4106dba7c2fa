// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
)

func TestWhatKeepsASpaceFromBeingMadeIsSaidOnTheClaimAndItsPod(t *testing.T) {
	for reason, test := range map[string]struct {
		// there changes the namespace that is there already; nil: there is none.
		there func(*corev1.Namespace)
		words string
	}{
		spaceapi.ReasonProvisioningFailed: {nil, "webhook says no"},
		spaceapi.ReasonNameConflict: {func(ns *corev1.Namespace) { ns.Labels = nil },
			"was not made for this claim"},
		spaceapi.ReasonNamespaceTerminating: {func(ns *corev1.Namespace) {
			ns.DeletionTimestamp = ptr.To(metav1.Now())
		}, "a new one is made as soon as it has gone"},
	} {
		t.Run(reason, func(t *testing.T) {
			claim := claimOf("a")
			c := newController(t, claim)
			c.api.PrependReactor("create", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, errors.New("webhook says no")
			})
			if test.there != nil {
				ns := c.namespaceOf(claim)
				test.there(ns)
				c.cached(ns)
			}
			if err := c.ensure(t.Context(), claim, c.planOf(claim)); err == nil {
				t.Error("it is not tried again")
			}
			said := c.said()
			if len(said) != 2 || !strings.Contains(said[1], "ResourceClaim claim: ") {
				t.Errorf("said %q, want one thing on the claim and one on the pod", said)
			}
			for _, event := range said {
				if !strings.HasPrefix(event, "Warning "+reason+" ") || !strings.Contains(event, test.words) {
					t.Errorf("said %q, want %q with %q", event, reason, test.words)
				}
			}
			live, err := c.api.ResourceV1().ResourceClaims("team").Get(t.Context(), "claim", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			a := allocationOf(t, live)
			ready, _, err := status.Read(live, driver, a, a.Shares[0])
			if err != nil || ready == nil || ready.Reason != reason || !strings.HasSuffix(said[0], ready.Message) {
				t.Errorf("the condition is %+v, error %v", ready, err)
			}
		})
	}
}
