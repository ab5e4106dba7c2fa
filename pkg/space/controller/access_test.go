// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

// newClusterWithAccess returns a cluster with a ready claim whose class gives others access.
func newClusterWithAccess(t *testing.T, fields string) *cluster {
	t.Helper()
	claim := withClassConfig(claimFor("a"), `"access":[
		{"subjects":[{"kind":"Group","name":"developers"}],"clusterRole":"edit"},
		{"subjects":[{"kind":"Group","name":"support"}],"clusterRole":"view","when":"Retained"},
		{"subjects":[{"kind":"User","name":"auditor"}],"clusterRole":"view","when":"Always"}]`+fields)
	c := newClusterWith(t, func(config *Config) { config.Defaults.AllowedClusterRoles = []string{"binder"} }, claim)
	c.syncCache(claim)
	c.resyncClaim(t)
	c.requests()
	c.recordedEvents()
	return c
}

// tenantsMayBind allows tenants to create RoleBindings.
func (c *cluster) tenantsMayBind() {
	c.putInCache(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "binder"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"rolebindings"}, Verbs: []string{"create"}},
	}})
}

// accessBinding returns the RoleBinding of an entry, or nil if it does not exist.
func (c *cluster) accessBinding(entry int) *rbacv1.RoleBinding {
	c.t.Helper()
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespaceFor(claimFor("a")).Name, Name: resources.AccessBindingName(entry)}}
	if !c.read(binding) {
		return nil
	}
	return binding
}

// wantAccess compares the roles and subjects that have access, by the number of the entry.
func (c *cluster) wantAccess(when string, want map[int]string) {
	c.t.Helper()
	got := map[int]string{}
	for entry := range spaceapi.MaxAccess {
		if binding := c.accessBinding(entry); binding != nil {
			got[entry+1] = binding.RoleRef.Name + " " + binding.Subjects[0].Name
		}
	}
	if !maps.Equal(got, want) {
		c.t.Errorf("%s: got access %v, want %v", when, got, want)
	}
}

// deprovisionAndSync reconciles the deallocated claim, and updates the cache.
func (c *cluster) deprovisionAndSync() {
	c.t.Helper()
	c.updateClaim(deallocate)
	c.mustReconcile()
	space := c.spaceFor(claimFor("a"))
	c.syncCache(space.Namespace, space.ServiceAccount, space.RoleBindings[0])
}

// give changes the subject of a RoleBinding.
func (c *cluster) give(entry int, user string) {
	c.t.Helper()
	binding := c.accessBinding(entry)
	binding.Subjects[0].Name = user
	if err := c.api.Update(c.t.Context(), binding); err != nil {
		c.t.Fatal(err)
	}
}

var (
	whileReady    = map[int]string{1: "edit developers", 3: "view auditor"}
	whileRetained = map[int]string{2: "view support", 3: "view auditor"}
)

func TestEnsureAccess_restoresRoleBindings(t *testing.T) {
	c := newClusterWithAccess(t, "")
	c.wantAccess("ready", whileReady)
	c.deleteInAPI(c.accessBinding(0))
	c.give(2, "mallory")
	c.resyncClaim(t)
	c.wantAccess("restored", whileReady)
	if events := strings.Join(c.recordedEvents(), "\n"); !strings.Contains(events, "Restored RoleBinding space-access-1") || !strings.Contains(events, "Restored RoleBinding space-access-3") {
		t.Errorf("recorded %q", events)
	}
}

func TestEnsureAccess_keepsTheSpaceReady(t *testing.T) {
	c := newClusterWithAccess(t, "")
	c.deleteInAPI(c.accessBinding(0))
	c.fail("create rolebindings", errors.New("no permission to bind it"))
	c.resyncClaim(t)
	if events := strings.Join(c.recordedEvents(), "\n"); !strings.Contains(events, spaceapi.ReasonAccessFailed) || !strings.Contains(events, "space-access-1: no permission to bind it") {
		t.Errorf("recorded %q", events)
	}
}

func TestDeprovision_revokesAccessFirst(t *testing.T) {
	c := newClusterWithAccess(t, "")
	c.deprovisionAndSync()
	c.wantAccess("deprovisioned", nil)
	if got, want := c.writes(), append(slices.Repeat([]string{"delete rolebindings"}, 3), revokeThenDelete...); !slices.Equal(got, want) {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

func TestDeprovision_keepsAccessToRetainedNamespaces(t *testing.T) {
	for name, prepare := range map[string]func(*cluster){"tenants cannot bind": func(*cluster) {}, "tenants can bind": (*cluster).tenantsMayBind} {
		t.Run(name, func(t *testing.T) {
			c := newClusterWithAccess(t, `,"retention":{"period":"1h"}`)
			prepare(c)
			before := c.accessBinding(2)
			c.deprovisionAndSync()
			if after := c.accessBinding(2); after == nil || after.ResourceVersion != before.ResourceVersion {
				t.Error("the access that does not end was interrupted")
			}
			c.mustReconcile()
			c.wantAccess("retained", whileRetained)

			// Others change it, and a previous leader that was paused creates the first one again.
			c.deleteInAPI(c.accessBinding(1))
			c.give(2, "mallory")
			binding := before.DeepCopy()
			binding.Name = resources.AccessBindingName(0)
			c.createInAPI(binding)
			c.mustReconcile()
			c.wantAccess("restored", whileRetained)
			c.requests()
			c.mustReconcile()
			if wrote := c.writes(); len(wrote) > 0 {
				t.Errorf("unchanged: wrote %q", wrote)
			}

			c.now.Step(time.Hour)
			c.mustReconcile()
			c.wantAccess("at the end", nil)
			if wrote := c.writes(); wrote[len(wrote)-1] != "delete namespaces" {
				t.Errorf("at the end: wrote %q", wrote)
			}
		})
	}
}

func TestDeprovision_revokesAccessThatTenantsChanged(t *testing.T) {
	c := newClusterWithAccess(t, `,"retention":{"period":"1h"}`)
	c.tenantsMayBind()
	c.give(2, "mallory")
	c.deprovisionAndSync()
	c.wantAccess("revoked", nil)
	c.mustReconcile()
	c.wantAccess("retained", whileRetained)
}

func TestEnsureRetainedAccess_reportsFailures(t *testing.T) {
	c := newClusterWithAccess(t, `,"retention":{"period":"1h"}`)
	c.deprovisionAndSync()
	c.recordedEvents()
	failure := errors.New("no permission to bind it")
	c.react("create rolebindings", func(client.Object) (bool, error) { return failure != nil, failure })
	if _, err := c.reconcile(); !errors.Is(err, failure) {
		t.Errorf("got error %v", err)
	}
	// One on the namespace, one on the claim.
	if recorded := c.recordedEvents(); len(recorded) != 2 || !strings.HasPrefix(recorded[0], "Warning AccessFailed") || !strings.Contains(recorded[0], "space-access-2") {
		t.Errorf("recorded %q", recorded)
	}
	failure = nil
	c.mustReconcile()
	c.wantAccess("retained", whileRetained)
}
