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
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceconfig "github.com/space-dra/space-dra-driver/pkg/space/config"
)

func TestProvision_recreatesADeletedNamespaceAndAllInIt(t *testing.T) {
	claim := claimFor("a")
	c := newCluster(t, claim)
	for _, inUse := range []bool{false, true} {
		if inUse {
			c.gone(c.namespaceFor(claim))
			if err := c.allocate(c.liveOne()); err == nil || conditionReason(err) != spaceapi.ReasonNamespaceTerminating {
				t.Errorf("got error %v", err)
			}
			if wrote := c.wrote(); !slices.Equal(wrote, []string{"update resourceclaims"}) {
				t.Errorf("wrote %q, want Ready to be cleared first", wrote)
			}
		}
		if err := c.allocate(c.liveOne()); err != nil {
			t.Fatal(err)
		}
		if wrote := c.wrote(); !slices.Contains(wrote, "create namespaces") || !slices.Contains(wrote, "create subjectaccessreviews") {
			t.Errorf("wrote %q, want a whole space", wrote)
		}
	}
}

func TestProvision_doesNotReuseARetainedNamespace(t *testing.T) {
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

func TestProvision_rejectsFinally(t *testing.T) {
	configure := func(raw string) func(*resourceapi.ResourceClaim) {
		return func(c *resourceapi.ResourceClaim) {
			config := resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClaim}
			config.Opaque = &resourceapi.OpaqueDeviceConfiguration{Driver: driver, Parameters: runtime.RawExtension{Raw: []byte(raw)}}
			c.Status.Allocation.Devices.Config = append(c.Status.Allocation.Devices.Config, config)
		}
	}
	for name, test := range map[string]struct {
		change func(*resourceapi.ResourceClaim)
		want   string
	}{
		"admin access": {func(c *resourceapi.ResourceClaim) {
			c.Status.Allocation.Devices.Results[1].AdminAccess = ptr.To(true)
		}, "request b has adminAccess"},
		"parameters": {configure(`{"apiVersion":"space.resource.example.com/v1alpha1","kind":"K"}`), `kind: Unsupported value: "K"`},
		"conflicting spaces": {configure(`{"kind":"SpaceClaimConfig","apiVersion":"space.resource.example.com/v1alpha1","kubeconfigEnv":true}`),
			"requests a and b set environment variable KUBECONFIG"},
	} {
		t.Run(name, func(t *testing.T) {
			claim := claimFor("a", "b")
			test.change(claim)
			c := newCluster(t, claim)
			c.catchUp(claim)
			// No error: it is not retried.
			if err := c.allocate(claim); err != nil {
				t.Errorf("got error %v", err)
			}
			if got := c.wrote(); !slices.Equal(got, []string{"update resourceclaims"}) {
				t.Errorf("wrote %q, want the claim's status only", got)
			}
			if recorded := c.recorded(); len(recorded) != 2 || !strings.HasPrefix(recorded[0], "Warning "+spaceapi.ReasonInvalidParameters) || !strings.Contains(recorded[0], test.want) {
				t.Errorf("recorded %q, want %q on the claim and its pod", recorded, test.want)
			}
		})
	}
}

func TestProvision_writesTheSameFailureOnce(t *testing.T) {
	claim := claimFor("a", "b")
	c := newCluster(t, claim)
	c.fail("create namespaces", errors.New("forbidden"))
	for range 50 {
		_ = c.allocate(c.liveOne())
	}
	writes := 0
	for _, w := range c.wrote() {
		if w == "update resourceclaims" {
			writes++
		}
	}
	if recorded := c.recorded(); writes != 1 || len(recorded) != 2 {
		t.Errorf("the same failure was written %d times, want once; events: %q", writes, recorded)
	}
}

func TestProvision_isReadyThoughConsumersCannotBeRead(t *testing.T) {
	claim := usedBy(podOn("a", ""))
	c := newCluster(t, claim)
	c.fail("get pods", apierrors.NewForbidden(corev1.Resource("pods"), "a", errors.New("no permission")))
	err := c.allocate(c.liveOne())
	if err == nil || !strings.Contains(err.Error(), "pod team/a") {
		t.Errorf("got error %v", err)
	}
	if now := c.liveOne(); !isReady(now, driver, allocationOf(t, now)) {
		t.Errorf("the claim is not ready: %+v", now.Status.Devices)
	}
}

func TestEnsureNamespace_takesOnlyTheAllocationsOwn(t *testing.T) {
	foreign := func(ns *corev1.Namespace) { ns.Labels = map[string]string{"team": "other"} }
	for name, test := range map[string]struct {
		// cached and live change the namespace that exists; nil: it does not.
		cached, live func(*corev1.Namespace)
		reason       string
	}{
		"created where there is none":                {nil, nil, ""},
		"taken when the cache has it":                {unchanged, unchanged, ""},
		"taken when the cache lags":                  {nil, unchanged, ""},
		"rejected when it is not the driver's":       {nil, foreign, spaceapi.ReasonNameConflict},
		"rejected when it belongs to another claim":  {nil, func(ns *corev1.Namespace) { ns.Labels[spaceapi.KeysFor(driver).ClaimUID] = "other" }, spaceapi.ReasonNameConflict},
		"rejected while it is being deleted":         {nil, terminating, spaceapi.ReasonNamespaceTerminating},
		"rejected while it is deleted, as is cached": {terminating, terminating, spaceapi.ReasonNamespaceTerminating},
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
			err := c.ensureNamespace(t.Context(), desired, desired.spaces[0])
			live := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: desired.spaces[0].name}}
			if test.reason == "" && (err != nil || !c.read(live) || desired.spaces[0].namespace.UID != live.UID) {
				t.Errorf("got %v, error %v, want %v", desired.spaces[0].namespace, err, live)
			}
			if test.reason != "" && (err == nil || conditionReason(err) != test.reason) {
				t.Errorf("got error %v, want one of reason %s", err, test.reason)
			}
			if wrote := c.wrote(); slices.Contains(wrote, "create namespaces") != (test.cached == nil) || len(wrote) > 1 {
				t.Errorf("wrote %q", wrote)
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
		for i := range maxCached / 20 {
			p.Spec.PodSelector.MatchLabels[fmt.Sprintf("example.com/label-%d", i)] = "x"
		}
	}
	same := func(*networkingv1.NetworkPolicy) {}
	for name, test := range map[string]struct {
		// cached and live change the policy that exists; nil: it does not.
		cached, live func(*networkingv1.NetworkPolicy)
		// failure is the response to the first update.
		failure  error
		did      []string
		reported bool
	}{
		"created with one request":                     {nil, nil, nil, []string{"create"}, true},
		"left alone":                                   {same, same, nil, nil, false},
		"left alone though the cache lags":             {nil, same, nil, []string{"create", "get"}, false},
		"left alone though the cache has an older one": {other, same, nil, []string{"get"}, false},
		"restored": {other, other, nil, []string{"get", "update"}, true},
		"restored though it is too large for the cache":     {large, large, nil, []string{"get", "update"}, true},
		"restored though the cache lags":                    {nil, other, nil, []string{"create", "get", "update"}, true},
		"restored after another change":                     {other, other, conflict, []string{"get", "update", "get", "update"}, true},
		"reset when the API server moved, without an event": {moved, moved, nil, []string{"get", "update"}, false},
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
			desired := c.desired(claimFor("a"))
			desired.inUse = true
			err := c.ensure(t.Context(), desired, desired.spaces[0], space.NetworkPolicy.DeepCopy())
			if got := len(c.recorded()) > 0; err != nil || got != test.reported {
				t.Errorf("reported: %t, error %v, want reported: %t", got, err, test.reported)
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
func TestCreateOrRestore_replacesChangedBindings(t *testing.T) {
	c, ns := clusterWide(t)
	described := c.spaceWith(func(s *spaceconfig.SpaceConfig) { s.ClusterWideRoles = []string{"reader"} })
	binding := described.RoleBindings[0].DeepCopy()
	binding.RoleRef.Name = "cluster-admin"
	c.live(binding)
	wide := described.ClusterRoleBindings[0]
	wide.OwnerReferences = []metav1.OwnerReference{{Kind: "Namespace", Name: ns.Name, UID: ns.UID}}
	c.catchUp(binding, c.clusterRoleBinding("another-uid"))
	for _, want := range []client.Object{described.RoleBindings[0], wide} {
		live := want.DeepCopyObject().(client.Object)
		if _, changed, err := c.createOrRestore(t.Context(), &desiredSpace{}, want); err != nil || !changed {
			t.Errorf("changed: %t, error %v", changed, err)
		}
		resource := resourceOf(want)
		if got := c.wrote(); !slices.Equal(got, []string{"delete " + resource, "create " + resource}) {
			t.Errorf("wrote %q", got)
		}
		if !c.read(live) || restore(live, want) != nil {
			t.Errorf("it is now %+v", live)
		}
	}
}

// The cache may have an object that no longer exists.
func TestCreateOrRestore_recreatesAServiceAccountThatTheCacheHasAsTerminating(t *testing.T) {
	c := newCluster(t)
	want := c.spaceWith().ServiceAccount
	cached := want.DeepCopy()
	cached.DeletionTimestamp = ptr.To(metav1.Now())
	c.cached(cached)
	if _, created, err := c.createOrRestore(t.Context(), &desiredSpace{}, want.DeepCopy()); err != nil || !created {
		t.Errorf("created: %t, error %v", created, err)
	}
	cached.Finalizers = []string{"example.com/tenant"}
	c.gone(want)
	c.live(cached)
	if _, _, err := c.createOrRestore(t.Context(), &desiredSpace{}, want.DeepCopy()); err == nil {
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

func TestEnsure_putsANewQuotaInForce(t *testing.T) {
	c := newCluster(t)
	inForce := func() *corev1.ResourceQuota {
		t.Helper()
		want := c.spaceWith(func(s *spaceconfig.SpaceConfig) {
			s.ResourceQuota = &corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("3")}}
		}).ResourceQuota
		quota := want.DeepCopy()
		if err := c.ensure(t.Context(), &desiredClaim{}, &desiredSpace{}, want); err != nil {
			t.Fatal(err)
		}
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

func TestProvision_reportsThatADeletedNamespaceIsNoLongerAllowed(t *testing.T) {
	claim := ofClass(claimFor("a"), `"clusterRoles":["admin"]`)
	c := newClusterWith(t, func(config *Config) { config.Defaults.AllowedClusterRoles = []string{"admin"} }, claim)
	c.catchUp(claim)
	c.cached(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "admin"}})
	if _, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
		t.Fatal(err)
	}
	live := c.liveOne()
	c.cached(live)
	if !isReady(live, driver, allocationOf(t, live)) {
		t.Fatal("the claim is not Ready")
	}
	c.gone(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespaceFor(claim).Name}})
	c.config.Defaults.AllowedClusterRoles = nil
	_, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key})
	if live = c.liveOne(); err != nil || isReady(live, driver, allocationOf(t, live)) {
		t.Errorf("the claim is Ready without a namespace, or got error %v", err)
	}
}
