// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
)

// ofClass gives a claim's allocation parameters of its class.
func ofClass(claim *resourceapi.ResourceClaim, fields string, requests ...string) *resourceapi.ResourceClaim {
	config := resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClass, Requests: requests}
	config.Opaque = &resourceapi.OpaqueDeviceConfiguration{Driver: driver, Parameters: runtime.RawExtension{
		Raw: fmt.Appendf(nil, `{"apiVersion":%q,"kind":%q,%s}`, spaceapi.APIVersion, spaceapi.SpaceClassConfigKind, fields),
	}}
	claim.Status.Allocation.Devices.Config = append(claim.Status.Allocation.Devices.Config, config)
	return claim
}

func TestSpacesOfAClaimEndTogetherAtTheShortestLifetime(t *testing.T) {
	claim := ofClass(ofClass(claimOf("a", "b"), `"maxLifetime":"2h"`, "a"), `"maxLifetime":"1h"`, "b")
	c := newController(t)
	claim.Status.Allocation.AllocationTimestamp = ptr.To(metav1.NewTime(c.now.Now()))
	if p := c.planOf(claim); p.expired || p.lifetime != time.Hour || p.spaces() == nil {
		t.Errorf("at the start: expired %t, lifetime %s", p.expired, p.lifetime)
	}
	c.now.Step(time.Hour - time.Nanosecond)
	if p := c.planOf(claim); p.expired {
		t.Error("expired too soon")
	}
	c.now.Step(time.Nanosecond)
	if p := c.planOf(claim); !p.expired || p.spaces() != nil {
		t.Error("not expired in time")
	}
}

func TestALifetimeBeginsWithTheNamespaceWhereAllocationsHaveNoTime(t *testing.T) {
	claim := ofClass(claimOf("a"), `"maxLifetime":"1h"`)
	c := newController(t, claim)
	if p := c.planOf(claim); p.expired {
		t.Fatal("expired before it was made")
	}
	ns := c.namespaceOf(claim)
	ns.CreationTimestamp = metav1.NewTime(c.now.Now())
	c.cached(ns)
	c.now.Step(time.Hour)
	p := c.planOf(claim)
	if !p.expired {
		t.Fatal("not expired")
	}
	// Once the namespace has gone, only the claim itself knows.
	if err := c.ensure(t.Context(), claim, p); err != nil {
		t.Fatal(err)
	}
	if err := c.namespaces.Delete(ns); err != nil {
		t.Fatal(err)
	}
	live, err := c.api.ResourceV1().ResourceClaims("team").Get(t.Context(), "claim", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !c.planOf(live).expired {
		t.Error("an expired space would be made again")
	}
}

func TestANamespaceIsKeptWithoutItsCredentials(t *testing.T) {
	c := newController(t)
	ns := c.namespaceOf(claimOf("a"))
	ns.Annotations[c.keys.Retain] = "1h"
	c.live(c.cached(ns).DeepCopy())
	if err := c.endOthers(t.Context(), key, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := c.wrote(), []string{"delete rolebindings", "delete serviceaccounts", "patch namespaces"}; !slices.Equal(got, want) {
		t.Fatalf("wrote %q, want %q", got, want)
	}
	// One on the namespace, one on the claim.
	if said := c.said(); len(said) != 2 || said[0] != said[1] || !strings.HasPrefix(said[0], "Normal Retained") || !strings.Contains(said[0], "2026-03-01T13:00:00Z") {
		t.Errorf("said %q", said)
	}
	kept, err := c.api.CoreV1().Namespaces().Get(t.Context(), ns.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.cached(kept)
	c.now.Step(time.Hour - time.Second)
	// As after a restart, which forgets what was settled.
	c.settled.forget(ns.UID)
	c.api.ClearActions()
	if err := c.endOthers(t.Context(), key, nil); err != nil || len(c.wrote()) > 0 {
		t.Errorf("too soon: error %v, wrote %q", err, c.wrote())
	}
	c.now.Step(time.Second)
	if err := c.endOthers(t.Context(), key, nil); err != nil || !slices.Contains(c.wrote(), "delete namespaces") {
		t.Errorf("in time: error %v, wrote %q", err, c.wrote())
	}
}

func TestAStuckNamespaceIsReportedAgainOnlyAfterAWhileOrWithAnotherReason(t *testing.T) {
	c := newController(t)
	ns := c.namespaceOf(claimOf("a"))
	ns.DeletionTimestamp = ptr.To(metav1.NewTime(c.now.Now()))
	said := func() int {
		t.Helper()
		c.reportStuck(t.Context(), ns)
		return len(c.said())
	}
	if n := said(); n != 0 {
		t.Errorf("at once: said %d things", n)
	}
	c.now.Step(c.NamespaceDeletionTimeout)
	// One on the namespace, one on the claim.
	if n := said(); n != 2 {
		t.Errorf("when it was due: said %d things", n)
	}
	if n := said(); n != 0 {
		t.Errorf("again at once: said %d things", n)
	}
	ns.Status.Conditions = []corev1.NamespaceCondition{
		{Type: corev1.NamespaceDeletionDiscoveryFailure, Status: corev1.ConditionFalse, Message: "fine"},
		{Type: corev1.NamespaceFinalizersRemaining, Status: corev1.ConditionTrue, Message: "example.com/x in 1 resource instances"},
	}
	c.reportStuck(t.Context(), ns)
	if said := c.said(); len(said) != 2 || !strings.Contains(said[0], "NamespaceFinalizersRemaining: example.com/x") || strings.Contains(said[0], "fine") {
		t.Errorf("with a reason: said %q", said)
	}
	c.now.Step(c.NamespaceDeletionTimeout)
	if n := said(); n != 2 {
		t.Errorf("after a while: said %d things", n)
	}
	if n := len(c.stuck.said); n != 1 {
		t.Errorf("%d namespaces count as stuck", n)
	}
	c.stuck.forget(ns.UID)
	if n := len(c.stuck.said); n != 0 {
		t.Errorf("%d namespaces count as stuck after they have gone", n)
	}
}

func TestTheSchedulerIsToldToGiveUpLaterEachTime(t *testing.T) {
	claim := claimOf("a")
	claim.Status.Allocation.Devices.Results[0].BindingConditions = []string{spaceapi.ConditionReady}
	c := newController(t)
	failing := func(share types.UID) bool {
		claim.Status.Allocation.Devices.Results[0].ShareID = &share
		return c.giveUp(allocationOf(t, claim))
	}
	for i, delay := range []time.Duration{firstFailure, 2 * firstFailure, 4 * firstFailure} {
		share := types.UID(fmt.Sprint("share-", i))
		if failing(share) {
			t.Errorf("allocation %d was given up at once", i)
		}
		c.now.Step(delay - time.Second)
		if failing(share) {
			t.Errorf("allocation %d was given up before %s", i, delay)
		}
		c.now.Step(time.Second)
		for range 2 {
			if !failing(share) {
				t.Errorf("allocation %d was not given up after %s", i, delay)
			}
		}
	}
	for range 100 {
		share := types.UID(c.now.Now().String())
		failing(share)
		c.now.Step(lastFailure)
		if !failing(share) {
			t.Fatal("the delay grows without end")
		}
	}
	c.failed.forget(key)
	if failing("x"); func() bool { c.now.Step(firstFailure); return !failing("x") }() {
		t.Error("a claim that had its space meanwhile waits longer")
	}
	claim.Status.Allocation.Devices.Results[0].BindingConditions = nil
	if failing("x") {
		t.Error("without binding conditions, nobody waits to be told")
	}
}

func TestAFailureConditionGoesWithTheFailure(t *testing.T) {
	claim := claimOf("a")
	a := allocationOf(t, claim)
	conditions := func(failed bool) string {
		entry := status.Entry{Share: a.Shares[0], Failed: failed, Ready: metav1.Condition{Status: metav1.ConditionFalse, Reason: "R", Message: "m"}}
		if _, err := status.Apply(claim, driver, []status.Entry{entry}, metav1.Now()); err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, condition := range claim.Status.Devices[0].Conditions {
			out = append(out, condition.Type+"="+string(condition.Status))
		}
		return strings.Join(out, " ")
	}
	for _, step := range []struct {
		failed bool
		want   string
	}{{false, "Ready=False"}, {true, "Ready=False Failed=True"}, {false, "Ready=False Failed=False"}} {
		if got := conditions(step.failed); got != step.want {
			t.Errorf("got %s, want %s", got, step.want)
		}
	}
}

func TestTheSweepLooksAtWhatIsOutOfStepOnly(t *testing.T) {
	ready := claimOf("a")
	c := newController(t)
	a := allocationOf(t, ready)
	p := c.planOf(ready)
	entry := c.readyEntry(a, a.Shares[0], c.nameOf(a, a.Shares[0], parameters.Effective{}), provisioned{serviceAccountUID: "u"})
	if _, err := status.Apply(ready, driver, []status.Entry{entry}, metav1.Now()); err != nil {
		t.Fatal(err)
	}
	addClaim := func(claim *resourceapi.ResourceClaim) {
		if err := c.claimInformer.GetIndexer().Add(claim); err != nil {
			t.Fatal(err)
		}
	}
	addClaim(ready)
	c.cached(c.namespaceOf(ready))
	c.sweep(t.Context())
	if n := c.queue.Len(); n != 0 {
		t.Fatalf("%d claims are looked at although all is in step; plan %v", n, p)
	}
	gone := claimOf("a")
	gone.Name, gone.UID = "gone", "gone-uid"
	c.cached(c.namespaceOf(gone))
	fresh := claimOf("a")
	fresh.Name, fresh.UID = "fresh", "fresh-uid"
	addClaim(fresh)
	c.sweep(t.Context())
	var names []string
	for range c.queue.Len() {
		key, _ := c.queue.Get()
		names = append(names, key.Name)
	}
	if slices.Sort(names); !slices.Equal(names, []string{"fresh", "gone"}) {
		t.Errorf("looked at %q", names)
	}
}

func TestASampleOfWhatARoleAllows(t *testing.T) {
	role := func(rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole { return &rbacv1.ClusterRole{Rules: rules} }
	if got := sampleOf(role(rbacv1.PolicyRule{NonResourceURLs: []string{"/x"}, Verbs: []string{"get"}})); got != nil {
		t.Errorf("a role for URLs gives %v", got)
	}
	got := sampleOf(role(rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/"}},
		rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"deployments/scale"}, Verbs: []string{"patch"}, ResourceNames: []string{"one"}}))
	if got == nil || got.Group != "apps" || got.Resource != "deployments" || got.Subresource != "scale" || got.Verb != "patch" || got.Name != "one" {
		t.Errorf("got %v", got)
	}
	for name, test := range map[string]struct {
		role *rbacv1.ClusterRole
		want bool
	}{
		"no role":    {nil, false},
		"everything": {role(rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}), true},
		"reading":    {role(rbacv1.PolicyRule{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"rolebindings"}, Verbs: []string{"get", "list"}}), false},
		"creating":   {role(rbacv1.PolicyRule{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles", "rolebindings"}, Verbs: []string{"get", "create"}}), true},
		"elsewhere":  {role(rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"*"}, Verbs: []string{"*"}}), false},
	} {
		if got := letsBind(test.role); got != test.want {
			t.Errorf("%s: letsBind is %t", name, got)
		}
	}
}

func TestRightsThatAreNotInEffectKeepASpaceFromBeingReady(t *testing.T) {
	claim := claimOf("a")
	c := newController(t, claim)
	asked := 0
	c.api.PrependReactor("create", "subjectaccessreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		asked++
		return true, &authorizationv1.SubjectAccessReview{Status: authorizationv1.SubjectAccessReviewStatus{Allowed: asked == 3}}, nil
	})
	if err := c.awaitRights(t.Context(), "ns", "space", "absent", false); err == nil || !strings.Contains(err.Error(), "ClusterRole absent") {
		t.Errorf("a role that does not exist: %v", err)
	}
	if err := c.awaitRights(t.Context(), "ns", "space", "edit", false); err != nil || asked != 3 {
		t.Errorf("rights that come with the third look: %v after %d", err, asked)
	}
	if err := c.awaitRights(t.Context(), "ns", "space", "edit", false); err == nil || !strings.Contains(err.Error(), "ns/space may not yet do what ClusterRole edit gives (create pods)") {
		t.Errorf("rights that never come: %v", err)
	}
}

func TestASpaceInUseWithoutItsNamespaceIsNotReadyUntilAllIsMadeAgain(t *testing.T) {
	claim := claimOf("a")
	c := newController(t, claim)
	p := c.planOf(claim)
	for range 2 {
		live, err := c.api.ResourceV1().ResourceClaims("team").Get(t.Context(), "claim", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c.api.ClearActions()
		if err := c.ensure(t.Context(), live, p); err != nil {
			t.Fatal(err)
		}
		wrote := c.wrote()
		if !slices.Contains(wrote, "create namespaces") || !slices.Contains(wrote, "create subjectaccessreviews") {
			t.Errorf("wrote %q, want a whole space", wrote)
		}
		// As somebody does while no controller looks.
		if err := c.api.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("namespaces"), "", c.namespaceOf(claim).Name); err != nil {
			t.Fatal(err)
		}
	}
	if said := strings.Join(c.said(), "\n"); !strings.Contains(said, "Warning NamespaceTerminating somebody deleted") {
		t.Errorf("said %q", said)
	}
}

func TestARetainedNamespaceIsNotTakenForAnotherUse(t *testing.T) {
	claim := claimOf("a")
	c := newController(t, claim)
	ns := c.namespaceOf(claim)
	ns.Annotations[c.keys.RetainedUntil] = c.now.Now().Add(time.Hour).Format(time.RFC3339)
	c.live(c.cached(ns).DeepCopy())
	err := c.ensure(t.Context(), claim, c.planOf(claim))
	if err == nil || !strings.Contains(err.Error(), "retained from an earlier use") {
		t.Errorf("got error %v", err)
	}
	if got := c.wrote(); len(got) == 0 || got[0] != "delete namespaces" {
		t.Errorf("wrote %q, want the namespace to go", got)
	}
}

func TestRightsThatTenantsGiveMeanwhileAreRevokedToo(t *testing.T) {
	c := newController(t)
	given := 0
	c.api.PrependReactor("list", "rolebindings", func(clienttesting.Action) (bool, runtime.Object, error) {
		given++
		if given > 3 {
			return true, &rbacv1.RoleBindingList{}, nil
		}
		return true, &rbacv1.RoleBindingList{Items: []rbacv1.RoleBinding{{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("given-", given)}}}}, nil
	})
	if err := c.revokeTenants(t.Context(), "ns"); err != nil {
		t.Fatal(err)
	}
	if got := len(c.wrote()); got != 3 {
		t.Errorf("wrote %q", c.wrote())
	}
	given = -1000
	if err := c.revokeTenants(t.Context(), "ns"); err == nil {
		t.Error("rights that are given without end: no error")
	}
}
