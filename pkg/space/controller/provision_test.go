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

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceconfig "github.com/space-dra/space-dra-driver/pkg/space/config"
)

func TestProvision_recreatesADeletedNamespace(t *testing.T) {
	claim := claimFor("a")
	c := newCluster(t, claim)
	for _, inUse := range []bool{false, true} {
		if inUse {
			c.deleteInAPI(c.namespaceFor(claim))
			if err := c.provisionClaim(c.currentClaim()); err == nil || conditionReason(err) != spaceapi.ReasonNamespaceTerminating {
				t.Errorf("got error %v", err)
			}
			if wrote := c.writes(); !slices.Equal(wrote, []string{"update resourceclaims"}) {
				t.Errorf("wrote %q, want Ready to be cleared first", wrote)
			}
		}
		if err := c.provisionClaim(c.currentClaim()); err != nil {
			t.Fatal(err)
		}
		if wrote := c.writes(); !slices.Contains(wrote, "create namespaces") || !slices.Contains(wrote, "create subjectaccessreviews") {
			t.Errorf("wrote %q, want all objects", wrote)
		}
	}
}

func TestProvision_doesNotReuseARetainedNamespace(t *testing.T) {
	claim := claimFor("a")
	c := newCluster(t, claim)
	ns := c.namespaceFor(claim)
	ns.Annotations[c.keys.RetainedUntil] = c.now.Now().Add(time.Hour).Format(time.RFC3339)
	c.createInAPI(ns)
	c.putInCache(ns)
	err := c.provisionClaim(c.currentClaim())
	if err == nil || !strings.Contains(err.Error(), "retained from an earlier use") {
		t.Errorf("got error %v", err)
	}
	if got := c.writes(); len(got) == 0 || got[0] != "delete namespaces" {
		t.Errorf("wrote %q, want the namespace to be deleted", got)
	}
}

func TestProvision_doesNotRetryInvalidParameters(t *testing.T) {
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
			c.syncCache(claim)
			// With an error, it would be retried.
			if err := c.provisionClaim(claim); err != nil {
				t.Errorf("got error %v", err)
			}
			if got := c.writes(); !slices.Equal(got, []string{"update resourceclaims"}) {
				t.Errorf("wrote %q, want the claim's status only", got)
			}
			if recorded := c.recordedEvents(); len(recorded) != 2 || !strings.HasPrefix(recorded[0], "Warning "+spaceapi.ReasonInvalidParameters) || !strings.Contains(recorded[0], test.want) {
				t.Errorf("recorded %q, want %q on the claim and its pod", recorded, test.want)
			}
		})
	}
}

func TestProvision_reportsTheSameFailureOnce(t *testing.T) {
	claim := claimFor("a", "b")
	c := newCluster(t, claim)
	c.fail("create namespaces", errors.New("forbidden"))
	for range 50 {
		_ = c.provisionClaim(c.currentClaim())
	}
	writes := 0
	for _, w := range c.writes() {
		if w == "update resourceclaims" {
			writes++
		}
	}
	if recorded := c.recordedEvents(); writes != 1 || len(recorded) != 2 {
		t.Errorf("the same failure was written %d times, want once; events: %q", writes, recorded)
	}
}

func TestProvision_isReadyIfConsumersCannotBeRead(t *testing.T) {
	claim := claimUsedBy(podOn("a", ""))
	c := newCluster(t, claim)
	c.fail("get pods", apierrors.NewForbidden(corev1.Resource("pods"), "a", errors.New("no permission")))
	err := c.provisionClaim(c.currentClaim())
	if err == nil || !strings.Contains(err.Error(), "pod team/a") {
		t.Errorf("got error %v", err)
	}
	if now := c.currentClaim(); !isReady(now, driver, allocationOf(t, now)) {
		t.Errorf("the claim is not ready: %+v", now.Status.Devices)
	}
}

func TestEnsureNamespace_usesOwnNamespacesOnly(t *testing.T) {
	foreign := func(ns *corev1.Namespace) { ns.Labels = map[string]string{"team": "other"} }
	for name, test := range map[string]struct {
		// cached and live change the namespace in the cache and in the API server. If nil, it does not exist.
		cached, live func(*corev1.Namespace)
		reason       string
	}{
		"created if there is none":                         {nil, nil, ""},
		"used if it is in the cache":                       {unchanged, unchanged, ""},
		"used if the cache lags":                           {nil, unchanged, ""},
		"rejected if it is not a space":                    {nil, foreign, spaceapi.ReasonNameConflict},
		"rejected if it belongs to another claim":          {nil, func(ns *corev1.Namespace) { ns.Labels[spaceapi.KeysFor(driver).ClaimUID] = "other" }, spaceapi.ReasonNameConflict},
		"rejected while it is being deleted":               {nil, terminating, spaceapi.ReasonNamespaceTerminating},
		"rejected while it is being deleted, in the cache": {terminating, terminating, spaceapi.ReasonNamespaceTerminating},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			claim := claimFor("a")
			if test.cached != nil {
				ns := c.namespaceFor(claim)
				test.cached(ns)
				c.putInCache(ns)
			}
			if test.live != nil {
				ns := c.namespaceFor(claim)
				test.live(ns)
				c.createInAPI(ns)
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
			if wrote := c.writes(); slices.Contains(wrote, "create namespaces") != (test.cached == nil) || len(wrote) > 1 {
				t.Errorf("wrote %q", wrote)
			}
		})
	}
}

func TestEnsure_restoresTheNetworkPolicy(t *testing.T) {
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
		// cached and live change the policy in the cache and in the API server. If nil, it does not exist.
		cached, live func(*networkingv1.NetworkPolicy)
		// failure is the response to the first update.
		failure  error
		requests []string
		reported bool
	}{
		"created with one request":                      {nil, nil, nil, []string{"create"}, true},
		"not changed":                                   {same, same, nil, nil, false},
		"not changed if the cache lags":                 {nil, same, nil, []string{"create", "get"}, false},
		"not changed if the cache has an older version": {other, same, nil, []string{"get"}, false},
		"restored": {other, other, nil, []string{"get", "update"}, true},
		"restored if it is too large for the cache":                      {large, large, nil, []string{"get", "update"}, true},
		"restored if the cache lags":                                     {nil, other, nil, []string{"create", "get", "update"}, true},
		"restored after a conflict":                                      {other, other, conflict, []string{"get", "update", "get", "update"}, true},
		"updated with the addresses of the API server, without an event": {moved, moved, nil, []string{"get", "update"}, false},
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
				c.putInCache(changed(test.cached))
			}
			if test.live != nil {
				c.createInAPI(changed(test.live))
			}
			c.react("update networkpolicies", func(client.Object) (bool, error) {
				err := test.failure
				test.failure = nil
				return err != nil, err
			})
			desired := c.desired(claimFor("a"))
			desired.inUse = true
			err := c.ensure(t.Context(), desired, desired.spaces[0], space.NetworkPolicy.DeepCopy())
			if got := len(c.recordedEvents()) > 0; err != nil || got != test.reported {
				t.Errorf("reported: %t, error %v, want reported: %t", got, err, test.reported)
			}
			var requests []string
			for _, call := range c.requests() {
				requests = append(requests, strings.Fields(call)[0])
			}
			if !slices.Equal(requests, test.requests) {
				t.Errorf("got requests %q, want %q", requests, test.requests)
			}
			live := space.NetworkPolicy.DeepCopy()
			if !c.read(live) || !equality.Semantic.DeepEqual(live.Spec, space.NetworkPolicy.Spec) {
				t.Errorf("got %+v", live)
			}
			if test.live != nil && len(live.Finalizers) != 1 {
				t.Error("a finalizer was removed")
			}
		})
	}
}

// The role of a binding is immutable.
func TestCreateOrRestore_replacesBindings(t *testing.T) {
	c, ns := newClusterWithClusterWideRole(t)
	described := c.spaceWith(func(s *spaceconfig.SpaceConfig) { s.ClusterWideRoles = []string{"reader"} })
	binding := described.RoleBindings[0].DeepCopy()
	binding.RoleRef.Name = "cluster-admin"
	c.createInAPI(binding)
	wide := described.ClusterRoleBindings[0]
	wide.OwnerReferences = []metav1.OwnerReference{{Kind: "Namespace", Name: ns.Name, UID: ns.UID}}
	c.syncCache(binding, c.clusterRoleBinding("another-uid"))
	for _, want := range []client.Object{described.RoleBindings[0], wide} {
		live := want.DeepCopyObject().(client.Object)
		if _, changed, err := c.createOrRestore(t.Context(), &desiredSpace{}, want); err != nil || !changed {
			t.Errorf("changed: %t, error %v", changed, err)
		}
		resource := resourceOf(want)
		if got := c.writes(); !slices.Equal(got, []string{"delete " + resource, "create " + resource}) {
			t.Errorf("wrote %q", got)
		}
		if !c.read(live) || withDesiredFields(live, want) != nil {
			t.Errorf("got %+v", live)
		}
	}
}

// The cache may have an object that no longer exists.
func TestCreateOrRestore_recreatesATerminatingServiceAccount(t *testing.T) {
	c := newCluster(t)
	want := c.spaceWith().ServiceAccount
	cached := want.DeepCopy()
	cached.DeletionTimestamp = ptr.To(metav1.Now())
	c.putInCache(cached)
	if _, created, err := c.createOrRestore(t.Context(), &desiredSpace{}, want.DeepCopy()); err != nil || !created {
		t.Errorf("created: %t, error %v", created, err)
	}
	cached.Finalizers = []string{"example.com/tenant"}
	c.deleteInAPI(want)
	c.createInAPI(cached)
	if _, _, err := c.createOrRestore(t.Context(), &desiredSpace{}, want.DeepCopy()); err == nil {
		t.Error("a ServiceAccount that is being deleted is used")
	}
}

func TestCreateDefaultServiceAccount_addsImagePullSecrets(t *testing.T) {
	c := newCluster(t)
	space := c.spaceWith(func(s *spaceconfig.SpaceConfig) {
		s.CopyFrom = &spaceapi.CopyFrom{Namespace: "templates", ImagePullSecrets: []spaceapi.CopySource{{Name: "pull"}}}
	})
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: space.Namespace.Name, Name: "default"}}
	c.createInAPI(account)
	for range 2 {
		if err := c.createDefaultServiceAccount(t.Context(), space.DefaultServiceAccount.DeepCopy()); err != nil {
			t.Fatal(err)
		}
	}
	if c.read(account); !slices.Equal(account.ImagePullSecrets, []corev1.LocalObjectReference{{Name: "pull"}}) {
		t.Errorf("got imagePullSecrets %v", account.ImagePullSecrets)
	}
}

func TestEnsure_setsTheStatusOfAQuota(t *testing.T) {
	c := newCluster(t)
	ensure := func() *corev1.ResourceQuota {
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
	quota := ensure()
	if wrote := c.writes(); len(wrote) != 2 {
		t.Errorf("wrote %q", wrote)
	}
	// The controller crashes between the two writes.
	quota.Status = corev1.ResourceQuotaStatus{}
	quota.Finalizers = []string{"example.com/theirs"}
	if err := errors.Join(c.api.Update(t.Context(), quota), c.api.Status().Update(t.Context(), quota)); err != nil {
		t.Fatal(err)
	}
	c.syncCache(quota)
	if again := ensure(); len(again.Finalizers) != 1 || len(again.Labels) == 0 {
		t.Errorf("got %+v", again)
	}
	c.syncCache(quota)
	c.requests()
	ensure()
	if wrote := c.writes(); len(wrote) > 0 {
		t.Errorf("wrote %q to a quota with a status", wrote)
	}
}

func TestProvision_rejectsADeletedNamespaceThatIsNoLongerAllowed(t *testing.T) {
	claim := withClassConfig(claimFor("a"), `"clusterRoles":["admin"]`)
	c := newClusterWith(t, func(config *Config) { config.Defaults.AllowedClusterRoles = []string{"admin"} }, claim)
	c.syncCache(claim)
	c.putInCache(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "admin"}})
	c.mustReconcile()
	live := c.currentClaim()
	c.putInCache(live)
	if !isReady(live, driver, allocationOf(t, live)) {
		t.Fatal("the claim is not Ready")
	}
	c.deleteInAPI(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespaceFor(claim).Name}})
	c.config.Defaults.AllowedClusterRoles = nil
	_, err := c.reconcile()
	if live = c.currentClaim(); err != nil || isReady(live, driver, allocationOf(t, live)) {
		t.Errorf("want the claim to be not Ready, got error %v", err)
	}
}

// mutate simulates admission plugins that change objects that the controller writes.
func (c *cluster) mutate(resource string, change func(client.Object)) {
	for _, verb := range []string{"create", "update"} {
		c.react(verb+" "+resource, func(obj client.Object) (bool, error) {
			change(obj)
			return false, nil
		})
	}
}

func TestEnsure_keepsChangesByAdmission(t *testing.T) {
	writes := 0
	for name, test := range map[string]struct {
		resource string
		of       func(c *cluster) client.Object
		mutate   func(client.Object)
		words    string
		// change is a later change by another client.
		change func(client.Object)
	}{
		"an entry of a quota": {"resourcequotas", func(c *cluster) client.Object {
			return c.spaceWith(func(s *spaceconfig.SpaceConfig) {
				s.ResourceQuota = &corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("3")}}
			}).ResourceQuota
		}, func(obj client.Object) {
			obj.(*corev1.ResourceQuota).Spec.Hard["count/secrets"] = resource.MustParse("7")
		}, `{"spec":{"hard":{"count/secrets":"7"}}}`, func(obj client.Object) {
			obj.(*corev1.ResourceQuota).Spec.Hard["pods"] = resource.MustParse("300")
		}},
		"a rule of a NetworkPolicy, and an annotation with a new value each time": {"networkpolicies", func(c *cluster) client.Object {
			return c.spaceWith().NetworkPolicy
		}, func(obj client.Object) {
			writes++
			obj.SetAnnotations(map[string]string{"example.com/write": strings.Repeat("x", writes)})
			policy := obj.(*networkingv1.NetworkPolicy)
			policy.Spec.Egress = append(policy.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "198.51.100.0/24"}}}})
		}, "198.51.100.0/24", func(obj client.Object) {
			obj.(*networkingv1.NetworkPolicy).Spec.Ingress = nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClusterWith(t, func(config *Config) { config.Defaults.Network = spaceapi.NetworkIsolated })
			desired := c.desired(claimFor("a"))
			ensure := func() (wrote, events []string) {
				t.Helper()
				if err := c.ensure(t.Context(), desired, desired.spaces[0], test.of(c)); err != nil {
					t.Fatal(err)
				}
				c.syncCache(test.of(c))
				wrote = slices.DeleteFunc(c.writes(), func(call string) bool { return call == "update resourcequotas" && !desired.inUse }) // its status
				return wrote, c.recordedEvents()
			}
			// Without changes by admission.
			ensure()
			c.mutate(test.resource, test.mutate)
			c.deleteInAPI(test.of(c))
			c.syncCache(test.of(c))
			wrote, events := ensure()
			if !slices.Equal(wrote, []string{"create " + test.resource}) || len(events) != 1 || !strings.Contains(events[0], spaceapi.ReasonChangedByAdmission) || !strings.Contains(events[0], test.words) {
				t.Errorf("wrote %q, recorded %q", wrote, events)
			}
			desired.inUse = true
			if wrote, events := ensure(); len(wrote) > 0 || len(events) > 0 {
				t.Errorf("again: wrote %q, recorded %q", wrote, events)
			}
			changed := test.of(c)
			c.read(changed)
			test.change(changed)
			if err := c.api.Update(t.Context(), changed); err != nil {
				t.Fatal(err)
			}
			c.syncCache(changed)
			c.requests()
			if wrote, events := ensure(); len(wrote) != 1 || len(events) != 2 || !strings.Contains(events[1], spaceapi.ReasonRestored) {
				t.Errorf("after a change by another client: wrote %q, recorded %q", wrote, events)
			}
			if wrote, events := ensure(); len(wrote) > 0 || len(events) > 0 {
				t.Errorf("after the restore: wrote %q, recorded %q", wrote, events)
			}
			// The controller restarts.
			c.admissionChanges.Clear()
			if wrote, events := ensure(); len(wrote) != 1 || len(events) != 1 || !strings.Contains(events[0], spaceapi.ReasonChangedByAdmission) {
				t.Errorf("after a restart: wrote %q, recorded %q", wrote, events)
			}
			if wrote, events := ensure(); len(wrote) > 0 || len(events) > 0 {
				t.Errorf("again after a restart: wrote %q, recorded %q", wrote, events)
			}
		})
	}
}

func TestEnsureNamespace_reportsChangesByAdmission(t *testing.T) {
	keys := spaceapi.KeysFor(driver)
	for name, test := range map[string]struct {
		key, value string
		reported   bool
		reason     string
	}{
		"another label":           {"cost-center", "x", false, ""},
		"a Pod Security Standard": {"pod-security.kubernetes.io/enforce", "restricted", true, ""},
		"the UID of the claim":    {keys.ClaimUID, "another", true, spaceapi.ReasonNameConflict},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.mutate("namespaces", func(obj client.Object) { obj.GetLabels()[test.key] = test.value })
			desired := c.desired(claimFor("a"))
			err := c.ensureNamespace(t.Context(), desired, desired.spaces[0])
			if test.reason == "" && err != nil || test.reason != "" && (err == nil || conditionReason(err) != test.reason) {
				t.Errorf("got error %v, want reason %q", err, test.reason)
			}
			if events := strings.Join(c.recordedEvents(), "\n"); strings.Contains(events, test.key) != test.reported {
				t.Errorf("recorded %q", events)
			}
		})
	}
}

func TestRecordNodes_reportsFailures(t *testing.T) {
	pod := podOn("a", "node-a")
	c := newCluster(t, claimUsedBy(pod), pod)
	c.syncCache(claimUsedBy(pod))
	c.fail("patch namespaces", apierrors.NewForbidden(corev1.Resource("namespaces"), "ns", errors.New("a policy denies label cost-center")))
	if _, err := c.reconcile(); err == nil {
		t.Error("got no error")
	}
	var reported int
	for _, recorded := range c.recordedEvents() {
		if strings.Contains(recorded, spaceapi.ReasonNodesNotRecorded) && strings.Contains(recorded, "label cost-center") {
			reported++
		}
	}
	if reported != 2 {
		t.Errorf("%d events, want one on the claim and one on the pod", reported)
	}
}
