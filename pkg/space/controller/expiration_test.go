// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
)

const extensible = `"maxLifetime":"1h","maxExtension":"4h"`

// newClusterWithLifetime returns a cluster with a space in use that was allocated now, and whose class
// has these fields.
func newClusterWithLifetime(t *testing.T, class string) *cluster {
	t.Helper()
	claim := withClassConfig(claimFor("a"), class)
	c := newCluster(t)
	claim.Status.Allocation.AllocationTimestamp = &metav1.Time{Time: c.now.Now()}
	c.createInAPI(claim, podOn("pod", "node"))
	c.syncCache(claim)
	c.mustReconcile()
	c.syncSpace()
	return c
}

// syncSpace updates the claim, its namespace and the objects in it in the cache.
func (c *cluster) syncSpace() {
	c.t.Helper()
	claim := c.currentClaim()
	space := c.spaceFor(claim)
	c.syncCache(claim, space.Namespace, space.ServiceAccount, space.RoleBindings[0])
	c.requests()
	c.recordedEvents()
}

// extend sets the extension of the claim.
func (c *cluster) extend(extension string) {
	c.t.Helper()
	claim := c.currentClaim()
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, c.keys.Extension, extension)
	if err := c.api.Update(c.t.Context(), claim); err != nil {
		c.t.Fatal(err)
	}
	c.syncCache(claim)
	c.requests()
}

// lifetimes returns after which times the space expires, without and with the longest extension.
func (c *cluster) lifetimes(since time.Time) [2]time.Duration {
	c.t.Helper()
	claim := c.currentClaim()
	a := allocationOf(c.t, claim)
	_, data, err := claimstatus.Read(claim, driver, a, a.Results[0])
	if err != nil || data == nil || data.ExpirationTimestamp == nil || data.MaxExpirationTimestamp == nil {
		c.t.Fatalf("the status has %+v, error %v", data, err)
	}
	return [2]time.Duration{data.ExpirationTimestamp.Sub(since), data.MaxExpirationTimestamp.Sub(since)}
}

func TestReconcile_extendsTheLifetime(t *testing.T) {
	for name, test := range map[string]struct {
		class, extension string
		lifetimes        [2]time.Duration
		event            string
	}{
		"within the class":       {extensible, "1h30m", [2]time.Duration{150 * time.Minute, 5 * time.Hour}, ""},
		"as much as the class":   {extensible, "4h", [2]time.Duration{5 * time.Hour, 5 * time.Hour}, ""},
		"more than the class":    {extensible, "4h1s", [2]time.Duration{5 * time.Hour, 5 * time.Hour}, `Invalid value: "4h0m1s": the class allows at most 4h0m0s, which applies`},
		"not a duration":         {extensible, "soon", [2]time.Duration{time.Hour, 5 * time.Hour}, `Invalid value: "soon": must be a duration`},
		"a negative duration":    {extensible, "-1h", [2]time.Duration{time.Hour, 5 * time.Hour}, `Invalid value: "-1h": must be a duration`},
		"a class without it":     {`"maxLifetime":"1h"`, "1h", [2]time.Duration{time.Hour, time.Hour}, "the class allows at most 0s, which applies"},
		"the largest one":        {extensible, "2562047h", [2]time.Duration{5 * time.Hour, 5 * time.Hour}, "the class allows at most 4h0m0s"},
		"the largest of a class": {`"maxLifetime":"1h","maxExtension":"8760h"`, "8760h", [2]time.Duration{8761 * time.Hour, 8761 * time.Hour}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClusterWithLifetime(t, test.class)
			start := c.now.Now()
			before := c.currentClaim()
			c.extend(test.extension)
			if !c.claimChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: c.currentClaim()}) {
				t.Error("the extension is ignored")
			}
			for range 2 {
				c.mustReconcile()
			}
			if got := c.lifetimes(start); got != test.lifetimes {
				t.Errorf("the status has %s, want %s", got, test.lifetimes)
			}
			// One on the claim, one on its pod.
			events := c.recordedEvents()
			if want := map[bool]int{true: 2}[test.event != ""]; len(events) != want || want > 0 && (!strings.HasPrefix(events[0], "Warning InvalidExtension") || !strings.Contains(events[1], test.event)) {
				t.Errorf("recorded %q, want %q", events, test.event)
			}
			c.syncSpace()
			c.now.SetTime(start.Add(test.lifetimes[0] - time.Second))
			if desired := c.desired(c.currentClaim()); desired.expired || desired.expiresIn != time.Second {
				t.Errorf("a second before its end, expired: %t, expires in %s", desired.expired, desired.expiresIn)
			}
			c.now.Step(time.Second)
			if !c.desired(c.currentClaim()).expired {
				t.Error("it does not expire")
			}
		})
	}
}

func TestReconcile_doesNotExtendAnExpiredSpace(t *testing.T) {
	c := newClusterWithLifetime(t, extensible)
	c.now.Step(time.Hour)
	c.mustReconcile()
	if got := c.writes(); !slices.Contains(got, "delete namespaces") {
		t.Fatalf("at the end, wrote %q", got)
	}
	c.syncSpace()
	c.extend("4h")
	c.mustReconcile()
	if got := c.writes(); len(got) > 0 {
		t.Errorf("after its end, wrote %q", got)
	}
}

func TestNewDesiredClaim_allSpacesExpireWithTheFirst(t *testing.T) {
	c := newCluster(t)
	claim := withClassConfig(withClassConfig(claimFor("a", "b", "c"), `"maxLifetime":"1h","maxExtension":"4h"`, "a"), `"maxLifetime":"2h","maxExtension":"1h"`, "b")
	claim.Annotations = map[string]string{c.keys.Extension: "3h"}
	if d := c.desired(claim); d.lifetime != 3*time.Hour || d.maxLifetime != 3*time.Hour {
		t.Errorf("the lifetime is %s, at most %s", d.lifetime, d.maxLifetime)
	}
}

func TestReportExpiration_reportsOnceBeforeEachEnd(t *testing.T) {
	c := newClusterWithLifetime(t, extensible)
	start := c.now.Now()
	reconciled := func(after, next time.Duration) []string {
		t.Helper()
		c.now.SetTime(start.Add(after))
		result, err := c.reconcile()
		if err != nil {
			t.Fatal(err)
		}
		events := c.recordedEvents()
		c.syncSpace()
		if result.RequeueAfter != next {
			t.Errorf("after %s, reconciles again after %s, want %s", after, result.RequeueAfter, next)
		}
		return events
	}
	// A tenth of an hour, and not ten minutes.
	if events := reconciled(54*time.Minute-time.Second, time.Second); len(events) > 0 {
		t.Errorf("too early, recorded %q", events)
	}
	events := reconciled(54*time.Minute, 6*time.Minute)
	const want = "Warning ExpiresSoon the space expires at 2026-03-01T13:00:00Z. To extend its lifetime, at most until 2026-03-01T17:00:00Z: kubectl space extend claim DURATION --namespace team"
	if len(events) != 2 || events[0] != want || !strings.Contains(events[1], "ResourceClaim claim: the space expires") {
		t.Errorf("recorded %q, want %q", events, want)
	}
	if events := reconciled(55*time.Minute, 5*time.Minute); len(events) > 0 {
		t.Errorf("again, recorded %q", events)
	}
	c.extend("4h")
	// Its status changes, which counts as a restore.
	if events := reconciled(56*time.Minute, firstRetry); len(events) > 0 {
		t.Errorf("after an extension, recorded %q", events)
	}
	if events := reconciled(290*time.Minute, 10*time.Minute); len(events) != 2 || !strings.Contains(events[0], "2026-03-01T17:00:00Z, and its class allows no further extension") {
		t.Errorf("before the last end, recorded %q", events)
	}
}

func TestReportExpiration_isSilentWithoutALimit(t *testing.T) {
	c := newClusterWithLifetime(t, `"maxExtension":"1h"`)
	c.extend("1h")
	result, err := c.reconcile()
	if events := c.recordedEvents(); err != nil || result.RequeueAfter != 0 || len(events) > 0 {
		t.Errorf("reconciles again after %s, error %v, recorded %q", result.RequeueAfter, err, events)
	}
}

func TestStripClaim_keepsTheExtensionOfALargeClaim(t *testing.T) {
	c := newCluster(t)
	claim := claimFor("a")
	claim.Annotations = map[string]string{"large": strings.Repeat("x", 20<<10), c.keys.Extension: "1h"}
	c.putInCache(claim)
	cached := claimKey()
	if err := c.client.Get(t.Context(), key, cached); err != nil || cached.Annotations[c.keys.Extension] != "1h" || cached.Annotations["large"] != "" {
		t.Errorf("the cache has %d annotations, error %v", len(cached.Annotations), err)
	}
}
