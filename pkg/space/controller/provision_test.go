// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
	spaceconfig "github.com/space-dra/space-dra-driver/pkg/space/config"
)

func TestEnsureNamespace_takesOnlyTheAllocationsOwn(t *testing.T) {
	foreign := func(ns *corev1.Namespace) { ns.Labels = map[string]string{"team": "other"} }
	for name, test := range map[string]struct {
		// cached and live change the namespace that exists; nil: it does not.
		cached, live func(*corev1.Namespace)
		created      bool
		reason       string
	}{
		"created where there is none":               {nil, nil, true, ""},
		"taken when the cache has it":               {unchanged, unchanged, false, ""},
		"taken when the cache lags":                 {nil, unchanged, false, ""},
		"refused when it belongs to somebody":       {nil, foreign, false, spaceapi.ReasonNameConflict},
		"refused when it belongs to another claim":  {nil, func(ns *corev1.Namespace) { ns.Labels[spaceapi.KeysFor(driver).ClaimUID] = "other" }, false, spaceapi.ReasonNameConflict},
		"refused while it is being deleted":         {nil, terminating, false, spaceapi.ReasonNamespaceTerminating},
		"refused while it is deleted, as is cached": {terminating, terminating, false, spaceapi.ReasonNamespaceTerminating},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			claim := claimFor("a")
			if test.cached != nil {
				ns := c.namespaceFor(claim)
				test.cached(ns)
				c.cached(ns)
			}
			if test.live != nil {
				ns := c.namespaceFor(claim)
				test.live(ns)
				c.live(ns)
			}
			desired := c.desired(claim)
			_, created, err := c.ensureNamespace(t.Context(), desired.allocation, desired.spaces[0].existing, c.namespaceFor(claim))
			if test.reason == "" && (err != nil || created != test.created) {
				t.Errorf("got created: %t, error %v, want created: %t", created, err, test.created)
			}
			if test.reason != "" && (err == nil || conditionReason(err) != test.reason) {
				t.Errorf("got error %v, want one of reason %s", err, test.reason)
			}
			for _, wrote := range c.wrote() {
				if wrote != "create namespaces" {
					t.Errorf("wrote %q", wrote)
				}
			}
		})
	}
}

func TestReconcileAllocation_reportsWhyASpaceIsNotProvisioned(t *testing.T) {
	for reason, test := range map[string]struct {
		// existing changes the namespace that exists; nil: there is none.
		existing func(*corev1.Namespace)
		message  string
	}{
		spaceapi.ReasonProvisioningFailed:   {nil, "webhook says no"},
		spaceapi.ReasonNamespaceTerminating: {terminating, "it is recreated when the deletion is complete"},
	} {
		t.Run(reason, func(t *testing.T) {
			claim := claimFor("a")
			c := newCluster(t, claim)
			c.catchUp(claim)
			c.fail("create namespaces", errors.New("webhook says no"))
			if test.existing != nil {
				ns := c.namespaceFor(claim)
				test.existing(ns)
				c.cached(ns)
			}
			if err := c.allocate(claim); err == nil {
				t.Error("it is not retried")
			}
			recorded := c.recorded()
			if len(recorded) != 2 || !strings.Contains(recorded[1], "ResourceClaim claim: ") {
				t.Errorf("recorded %q, want one event on the claim and one on the pod", recorded)
			}
			for _, event := range recorded {
				if !strings.HasPrefix(event, "Warning "+reason+" ") || !strings.Contains(event, test.message) {
					t.Errorf("recorded %q, want %q with %q", event, reason, test.message)
				}
			}
			live := c.liveOne()
			a := allocationOf(t, live)
			ready, _, err := claimstatus.Read(live, driver, a, a.Results[0])
			if err != nil || ready == nil || ready.Reason != reason || !strings.HasSuffix(recorded[0], ready.Message) {
				t.Errorf("the condition is %+v, error %v", ready, err)
			}
		})
	}
}

func TestEnsure_createsAndRestoresANetworkPolicy(t *testing.T) {
	conflict := apierrors.NewConflict(networkingv1.Resource("networkpolicies"), "space", errors.New("changed meanwhile"))
	other := func(p *networkingv1.NetworkPolicy) { p.Spec.Ingress = nil }
	moved := func(p *networkingv1.NetworkPolicy) { p.Spec.Egress = p.Spec.Egress[:2] }
	large := func(p *networkingv1.NetworkPolicy) {
		p.Spec.PodSelector.MatchLabels = map[string]string{}
		for i := range maxCachedSpec / 20 {
			p.Spec.PodSelector.MatchLabels[fmt.Sprintf("example.com/label-%d", i)] = "x"
		}
	}
	same := func(*networkingv1.NetworkPolicy) {}
	for name, test := range map[string]struct {
		// cached and live change the policy that exists; nil: it does not.
		cached, live func(*networkingv1.NetworkPolicy)
		// failure is the response to the first update.
		failure error
		did     []string
		changed bool
	}{
		"created with one request":                     {nil, nil, nil, []string{"create"}, true},
		"left alone":                                   {same, same, nil, nil, false},
		"left alone though the cache lags":             {nil, same, nil, []string{"create", "get"}, false},
		"left alone though the cache has an older one": {other, same, nil, []string{"get"}, false},
		"restored": {other, other, nil, []string{"get", "update"}, true},
		"restored though it is too large for the cache": {large, large, nil, []string{"get", "update"}, true},
		"restored though the cache lags":                {nil, other, nil, []string{"create", "get", "update"}, true},
		"restored after another change":                 {other, other, conflict, []string{"get", "update", "get", "update"}, true},
		"no drift when the API server moved":            {moved, moved, nil, []string{"get", "update"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClusterWith(t, func(config *Config) { config.Defaults.Network = spaceapi.NetworkIsolated })
			space := c.spaceWith()
			changed := func(change func(*networkingv1.NetworkPolicy)) *networkingv1.NetworkPolicy {
				p := space.NetworkPolicy.DeepCopy()
				p.Finalizers = []string{"example.com/theirs"}
				change(p)
				return p
			}
			if test.cached != nil {
				c.cached(changed(test.cached))
			}
			if test.live != nil {
				c.live(changed(test.live))
			}
			c.react("update networkpolicies", func(client.Object) (bool, error) {
				err := test.failure
				test.failure = nil
				return err != nil, err
			})
			steps := c.limitSteps(t.Context(), space, true)
			got, err := steps[len(steps)-1].run()
			if err != nil || got != test.changed {
				t.Errorf("changed: %t, error %v, want changed: %t", got, err, test.changed)
			}
			var did []string
			for _, call := range c.did() {
				did = append(did, strings.Fields(call)[0])
			}
			if !slices.Equal(did, test.did) {
				t.Errorf("did %q, want %q", did, test.did)
			}
			live := space.NetworkPolicy.DeepCopy()
			if !c.read(live) || !equality.Semantic.DeepEqual(live.Spec, space.NetworkPolicy.Spec) {
				t.Errorf("it is now %+v", live)
			}
			if test.live != nil && len(live.Finalizers) != 1 {
				t.Error("a finalizer was removed")
			}
		})
	}
}

func TestEnsureRoleBinding_replacesAChangedOne(t *testing.T) {
	c := newCluster(t)
	want := c.spaceWith().RoleBindings[0]
	changed := want.DeepCopy()
	changed.RoleRef.Name = "cluster-admin"
	c.live(changed)
	c.catchUp(changed)
	if replaced, err := c.ensureRoleBinding(t.Context(), want); err != nil || !replaced {
		t.Errorf("got %t, error %v", replaced, err)
	}
	if got := c.wrote(); !slices.Equal(got, []string{"delete rolebindings", "create rolebindings"}) {
		t.Errorf("wrote %q", got)
	}
	if c.read(changed); changed.RoleRef.Name != "edit" {
		t.Errorf("it binds %v", changed.RoleRef)
	}
}

func TestCreateDefaultAccount_addsPullSecretsToAnExistingOne(t *testing.T) {
	c := newCluster(t)
	space := c.spaceWith(func(s *spaceconfig.SpaceConfig) {
		s.CopyFrom = &spaceapi.CopyFrom{Namespace: "templates", ImagePullSecrets: []spaceapi.CopySource{{Name: "pull"}}}
	})
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: space.Namespace.Name, Name: "default"}}
	c.live(account)
	for range 2 {
		if err := c.createDefaultAccount(t.Context(), space.DefaultAccount.DeepCopy()); err != nil {
			t.Fatal(err)
		}
	}
	if c.read(account); !slices.Equal(account.ImagePullSecrets, []corev1.LocalObjectReference{{Name: "pull"}}) {
		t.Errorf("the ServiceAccount pulls with %v", account.ImagePullSecrets)
	}
}

func TestLimitSteps_putANewQuotaInForce(t *testing.T) {
	c := newCluster(t)
	inForce := func() *corev1.ResourceQuota {
		t.Helper()
		space := c.spaceWith(func(s *spaceconfig.SpaceConfig) {
			s.ResourceQuota = &corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("3")}}
		})
		for _, step := range c.limitSteps(t.Context(), space, false) {
			if _, err := step.run(); err != nil {
				t.Fatal(err)
			}
		}
		quota := space.ResourceQuota.DeepCopy()
		if !c.read(quota) {
			t.Fatal("there is no quota")
		}
		hard, used := quota.Status.Hard["pods"], quota.Status.Used["pods"]
		if hard.String() != "3" || used.String() != "0" || len(quota.Status.Used) != len(quota.Spec.Hard) {
			t.Errorf("the status is %v", quota.Status)
		}
		return quota
	}
	quota := inForce()
	if wrote := c.wrote(); len(wrote) != 2 {
		t.Errorf("wrote %q", wrote)
	}
	// As after a crash between the two writes.
	quota.Status = corev1.ResourceQuotaStatus{}
	quota.Finalizers = []string{"example.com/theirs"}
	if err := errors.Join(c.api.Update(t.Context(), quota), c.api.Status().Update(t.Context(), quota)); err != nil {
		t.Fatal(err)
	}
	c.catchUp(quota)
	if again := inForce(); len(again.Finalizers) != 1 || len(again.Labels) == 0 {
		t.Errorf("the quota lost something: %+v", again)
	}
	c.catchUp(quota)
	c.did()
	inForce()
	if wrote := c.wrote(); len(wrote) > 0 {
		t.Errorf("wrote %q to a quota in force", wrote)
	}
}

func TestReconcileAllocation_recreatesADeletedNamespaceAndAllInIt(t *testing.T) {
	claim := claimFor("a")
	c := newCluster(t, claim)
	for range 2 {
		if err := c.allocate(c.liveOne()); err != nil {
			t.Fatal(err)
		}
		if wrote := c.wrote(); !slices.Contains(wrote, "create namespaces") || !slices.Contains(wrote, "create subjectaccessreviews") {
			t.Errorf("wrote %q, want a whole space", wrote)
		}
		c.gone(c.namespaceFor(claim))
	}
	if recorded := strings.Join(c.recorded(), "\n"); !strings.Contains(recorded, "Warning NamespaceTerminating a namespace of the claim was deleted while in use") {
		t.Errorf("recorded %q", recorded)
	}
}

func TestReconcileAllocation_doesNotReuseARetainedNamespace(t *testing.T) {
	claim := claimFor("a")
	c := newCluster(t, claim)
	ns := c.namespaceFor(claim)
	ns.Annotations[c.keys.RetainedUntil] = c.now.Now().Add(time.Hour).Format(time.RFC3339)
	c.live(ns)
	c.cached(ns)
	err := c.allocate(c.liveOne())
	if err == nil || !strings.Contains(err.Error(), "retained from an earlier use") {
		t.Errorf("got error %v", err)
	}
	if got := c.wrote(); len(got) == 0 || got[0] != "delete namespaces" {
		t.Errorf("wrote %q, want the namespace to be deleted", got)
	}
}
