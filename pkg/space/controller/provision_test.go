// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
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
		"created where there is none":                {nil, nil, true, ""},
		"taken when the cache has it":                {unchanged, unchanged, false, ""},
		"taken when the cache lags":                  {nil, unchanged, false, ""},
		"rejected when it is not the driver's":       {nil, foreign, false, spaceapi.ReasonNameConflict},
		"rejected when it belongs to another claim":  {nil, func(ns *corev1.Namespace) { ns.Labels[spaceapi.KeysFor(driver).ClaimUID] = "other" }, false, spaceapi.ReasonNameConflict},
		"rejected while it is being deleted":         {nil, terminating, false, spaceapi.ReasonNamespaceTerminating},
		"rejected while it is deleted, as is cached": {terminating, terminating, false, spaceapi.ReasonNamespaceTerminating},
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

// The role of a binding is immutable.
func TestEnsureBindings_replaceChangedOnes(t *testing.T) {
	c, ns := clusterWide(t)
	space := c.spaceWith(func(s *spaceconfig.SpaceConfig) { s.ClusterWideRoles = []string{"reader"} })

	binding := space.RoleBindings[0].DeepCopy()
	binding.RoleRef.Name = "cluster-admin"
	c.live(binding)
	c.catchUp(binding)
	if changed, err := c.ensureRoleBinding(t.Context(), space.RoleBindings[0]); err != nil || !changed {
		t.Errorf("changed: %t, error %v", changed, err)
	}
	if got := c.wrote(); !slices.Equal(got, []string{"delete rolebindings", "create rolebindings"}) {
		t.Errorf("wrote %q", got)
	}
	if c.read(binding); binding.RoleRef.Name != "edit" {
		t.Errorf("it binds %v", binding.RoleRef)
	}

	wide := c.clusterRoleBinding("another-uid")
	c.catchUp(wide)
	if changed, err := c.ensureClusterRoleBinding(t.Context(), space.ClusterRoleBindings[0], ns); err != nil || !changed {
		t.Errorf("changed: %t, error %v", changed, err)
	}
	if got := c.wrote(); !slices.Equal(got, []string{"delete clusterrolebindings", "create clusterrolebindings"}) {
		t.Errorf("wrote %q", got)
	}
	if c.read(wide); !isOwnedBy(wide, ns) {
		t.Errorf("its owner is %v", wide.OwnerReferences)
	}
}

// The cache may have an object that no longer exists.
func TestEnsureServiceAccount_recreatesOneThatTheCacheHasAsTerminating(t *testing.T) {
	c := newCluster(t)
	want := c.spaceWith().ServiceAccount
	cached := want.DeepCopy()
	cached.DeletionTimestamp = ptr.To(metav1.Now())
	c.cached(cached)
	if _, created, err := c.ensureServiceAccount(t.Context(), want.DeepCopy()); err != nil || !created {
		t.Errorf("created: %t, error %v", created, err)
	}
	cached.Finalizers = []string{"example.com/tenant"}
	c.gone(want)
	c.live(cached)
	if _, _, err := c.ensureServiceAccount(t.Context(), want.DeepCopy()); err == nil {
		t.Error("a ServiceAccount that is being deleted is used")
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
