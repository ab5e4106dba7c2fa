// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
	"github.com/space-dra/space-dra-driver/pkg/space/pool"
)

// countAll counts what is in the caches, as the handlers do when they are first called.
func (c *cluster) countAll() {
	for claim := range c.allClaims() {
		c.recount(claimKey(claim))
	}
	for ns := range c.allNamespaces() {
		c.recountNamespace(ns.Name)
	}
}

func TestSpacesAreCountedByTheLeaderOnly(t *testing.T) {
	claim := claimOf("a", "b")
	c := newController(t, claim)
	c.put(claim.DeepCopy())
	other := func(name string, change func(*corev1.Namespace)) {
		ns := c.namespaceOf(claim).DeepCopy()
		ns.Name, ns.UID = name, types.UID(name)
		ns.Labels[c.keys.AllocationID] = "another"
		change(ns)
		c.cached(ns)
	}
	other("going", func(ns *corev1.Namespace) { ns.DeletionTimestamp = ptr.To(metav1.Now()) })
	other("kept", func(ns *corev1.Namespace) { ns.Annotations[c.keys.RetainedUntil] = "2026-03-01T13:00:00Z" })
	if got := c.count(); len(got) > 0 {
		t.Errorf("a standby counts %v", got)
	}
	c.leads.Store(true)
	c.countAll()
	want := map[metrics.Spaces]int{
		{State: metrics.StatePending, Pool: "spaces"}: 2,
		{State: metrics.StateTerminating}:             1,
		{State: metrics.StateRetained}:                1,
	}
	if got := c.count(); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}

	if err := c.ensure(t.Context(), claim, c.planOf(claim)); err != nil {
		t.Fatal(err)
	}
	live, err := c.api.ResourceV1().ResourceClaims("team").Get(t.Context(), "claim", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.put(live)
	c.countAll()
	delete(want, metrics.Spaces{State: metrics.StatePending, Pool: "spaces"})
	want[metrics.Spaces{State: metrics.StateReady, Pool: "spaces"}] = 2
	if got := c.count(); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

func TestLimitsArePartOfWhatTheLeaderShows(t *testing.T) {
	claim := claimOf("a")
	claim.Status.Allocation.Devices.Results[0].Pool = "node/n1"
	c := newControllerWith(t, func(config *Config) {
		config.Pools = []pool.Pool{
			{Name: "few", Limit: ptr.To[int64](3)},
			{Name: "many"},
			{Name: "node", PerNode: &pool.PerNode{Limit: ptr.To[int64](5)}},
		}
	})
	c.put(claim)
	if got := c.poolLimits(); len(got) > 0 {
		t.Errorf("a standby shows %v", got)
	}
	c.leads.Store(true)
	c.countAll()
	if got, want := c.poolLimits(), map[string]int64{"few": 3, "node/n1": 5}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestASpaceWhoseTimeIsOverIsNotPending(t *testing.T) {
	claim := claimOf("a")
	c := newController(t, claim)
	a := identity.Of(claim, driver)
	if err := c.report(t.Context(), claim, a, spaceapi.ReasonExpired, errors.New("its time is over")); err != nil {
		t.Fatal(err)
	}
	live, err := c.api.ResourceV1().ResourceClaims("team").Get(t.Context(), "claim", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.put(live)
	c.leads.Store(true)
	c.countAll()
	if got, want := c.count(), (map[metrics.Spaces]int{{State: metrics.StateExpired, Pool: "spaces"}: 1}); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

// looked counts by looking at everything.
func (c *cluster) looked() map[metrics.Spaces]int {
	out := map[metrics.Spaces]int{}
	for claim := range c.allClaims() {
		for _, spaces := range c.spacesOf(claim, identity.Of(claim, driver)) {
			out[spaces]++
		}
	}
	for ns := range c.allNamespaces() {
		if retained := ns.DeletionTimestamp == nil && !c.keptUntil(ns).IsZero(); retained {
			out[metrics.Spaces{State: metrics.StateRetained}]++
		} else if !c.inStep(ns) {
			out[metrics.Spaces{State: metrics.StateTerminating}]++
		}
	}
	return out
}

// change has an object changed in a cache, or gone from it, and the handler told.
func (c *cluster) change(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler, key string, to metav1.Object) {
	c.t.Helper()
	before, existed, err := informer.GetIndexer().GetByKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	if to == nil {
		if existed {
			if err := informer.GetIndexer().Delete(before); err != nil {
				c.t.Fatal(err)
			}
			handler.OnDelete(before)
		}
		return
	}
	c.put(to)
	after, _, err := informer.GetIndexer().GetByKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	if existed {
		handler.OnUpdate(before, after)
	} else {
		handler.OnAdd(after, false)
	}
}

func TestWhatWentUnnoticedIsNoLongerCountedAfterTheNextSweep(t *testing.T) {
	c := newController(t)
	c.leads.Store(true)
	claim := c.served()
	c.put(claim)
	ns := c.namespaceOf(claim).DeepCopy()
	ns.DeletionTimestamp = ptr.To(metav1.Now())
	c.cached(ns)
	c.countAll()
	if got := c.count(); len(got) != 2 {
		t.Fatalf("counted %v, want a space that ends and some that are ready", got)
	}
	for informer, key := range map[cache.SharedIndexInformer]string{c.claimInformer: claimKey(claim).String(), c.namespaceInformer: ns.Name} {
		obj, _, err := informer.GetIndexer().GetByKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := informer.GetIndexer().Delete(obj); err != nil {
			t.Fatal(err)
		}
	}
	c.sweep(t.Context())
	if got := c.count(); len(got) > 0 {
		t.Errorf("counted %v, want nothing", got)
	}
}

func TestTheCountIsThatOfWhatIsThereWhateverHappened(t *testing.T) {
	c := newController(t)
	c.leads.Store(true)
	claims, namespaces := c.claimEvents(), c.namespaceEvents(t.Context())
	whole := c.served()
	random := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	for step := range 500 {
		claim := whole.DeepCopy()
		claim.Name = fmt.Sprintf("claim-%d", random.IntN(4))
		if random.IntN(3) == 0 {
			claim.UID = "another"
		}
		a := identity.Of(claim, driver)
		ns := c.Settings.For(a, a.Shares[0], a.Shares[0].NamespaceName("ns-"), parameters.Effective{}).Namespace
		ns.UID = types.UID(ns.Name)
		switch what := random.IntN(10); what {
		case 0:
			c.change(c.claimInformer, claims, claimKey(claim).String(), nil)
		case 1:
			c.change(c.namespaceInformer, namespaces, ns.Name, nil)
		case 2, 3, 4, 5:
			switch what {
			case 3:
				claim.Status.Devices = nil
			case 4:
				claim.Status.Allocation = nil
			case 5:
				claim.Status.Allocation.Devices.Results[0].Pool = "few"
			}
			c.change(c.claimInformer, claims, claimKey(claim).String(), claim)
		default:
			switch what {
			case 6:
				ns.DeletionTimestamp = ptr.To(metav1.Now())
			case 7:
				ns.Annotations[c.keys.RetainedUntil] = "2026-03-01T13:00:00Z"
			case 8:
				delete(ns.Annotations, c.keys.ClaimName)
			}
			c.change(c.namespaceInformer, namespaces, ns.Name, ns)
		}
		got, want := c.count(), c.looked()
		if !maps.Equal(got, want) {
			t.Fatalf("step %d: counted %v, want %v", step, got, want)
		}
		for spaces := range got {
			seen[spaces.State] = true
		}
	}
	for _, state := range []string{metrics.StatePending, metrics.StateReady, metrics.StateRetained, metrics.StateTerminating} {
		if !seen[state] {
			t.Errorf("no space was ever %s", state)
		}
	}
}
