// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/kubectl/model"
)

// slice publishes a pool with a number of spaces and of CPUs, of which one is a space's.
func slice(pool string, spaces, cpu int64) *resourceapi.ResourceSlice {
	capacity := map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{}
	if spaces > 0 {
		capacity["spaces"] = resourceapi.DeviceCapacity{Value: *resource.NewQuantity(spaces, resource.DecimalSI)}
	}
	if cpu > 0 {
		capacity["cpu"] = resourceapi.DeviceCapacity{Value: *resource.NewQuantity(cpu, resource.DecimalSI), RequestPolicy: &resourceapi.CapacityRequestPolicy{Default: resource.NewQuantity(1, resource.DecimalSI)}}
	}
	return &resourceapi.ResourceSlice{Spec: resourceapi.ResourceSliceSpec{
		Driver: driver, Pool: resourceapi.ResourcePool{Name: pool, Generation: 1},
		Devices: []resourceapi.Device{{Name: "space", AllowMultipleAllocations: ptr.To(true), Capacity: capacity, Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
			spaceapi.PoolAttribute: {StringValue: ptr.To(pool)},
		}}},
	}}
}

func class(name, pool string) *resourceapi.DeviceClass {
	return &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourceapi.DeviceClassSpec{Selectors: []resourceapi.DeviceSelector{{
		CEL: &resourceapi.CELDeviceSelector{Expression: `device.driver == "` + driver + `" && device.attributes["` + driver + `"].pool == "` + pool + `"`},
	}}}}
}

func TestWhyThereIsNoSpace(t *testing.T) {
	const scheduler, prepare = "FailedScheduling", "FailedPrepareDynamicResources"
	waits := func() *resourceapi.ResourceClaim { return claim("c", driver) }
	unscheduled := pod("p", "", "c")
	full := event("Pod", "p", scheduler, "0/2 nodes are available: 2 cannot allocate all claims.")
	failed := func(reason, message string) *resourceapi.ResourceClaim {
		return says(t, allocated(waits(), "spaces", "p"), reason, message)
	}
	made := func() *resourceapi.ResourceClaim { return ready(t, "c", "p") }
	old := namespace(made())
	old.DeletionTimestamp = &metav1.Time{Time: now.Add(-time.Hour)}
	old.Status.Conditions = []corev1.NamespaceCondition{{Status: corev1.ConditionTrue, Message: "finalizer example.com/keep remains"}}
	deleted := waits()
	deleted.DeletionTimestamp = &metav1.Time{Time: now}
	template := pod("p", "")
	template.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "c", ResourceClaimTemplateName: ptr.To("t")}}
	retained := namespace(made())
	retained.Annotations[keys.RetainedUntil] = "2026-03-01T13:00:00Z"
	going := namespace(made())
	going.DeletionTimestamp = &metav1.Time{Time: now.Add(-time.Second)}
	done := pod("p", "n", "c")
	done.Status.Phase = corev1.PodSucceeded
	because := func(reason, message string) *corev1.Pod {
		p := pod("p", "", "c")
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message}}
		return p
	}
	two := waits()
	two.Spec.Devices.Requests = append(two.Spec.Devices.Requests, *two.Spec.Devices.Requests[0].DeepCopy())
	two.Spec.Devices.Requests[1].Name = "other"
	foreign := allocated(claim("c", "gpu"), "gpus", "p")
	foreign.Status.Allocation.Devices.Results[0].Driver = "gpu.example.com"

	for name, test := range map[string]struct {
		objects []any
		cause   model.Cause
		words   string
	}{
		"a ready space":                    {[]any{made(), pod("p", "n", "c")}, model.CauseStarting, "is ready. Pod p is starting on node n."},
		"a ready space of a pod that runs": {[]any{made(), running("p", "c")}, model.CauseNone, "it is ready."},
		"a pod without a claim":            {[]any{pod("p", "n")}, model.CauseNoClaim, "names no ResourceClaim"},
		"a claim that is not there":        {[]any{unscheduled}, model.CauseClaimMissing, "ResourceClaim c, which does not exist"},
		"a template's claim to be":         {[]any{template}, model.CauseClaimNotMade, "has not been made"},
		"a claim over quota": {[]any{template, event("Pod", "p", "FailedResourceClaimCreation", "exceeded quota: space")},
			model.CauseClaimNotMade, "exceeded quota: space."},
		"another driver's claim": {[]any{foreign, pod("p", "n", "c")}, model.CauseOtherDriver, "asks for no space"},
		"a claim without a pod":  {[]any{waits()}, model.CauseUnused, "No pod uses ResourceClaim c"},
		"a claim whose pods can't be read": {[]any{waits(), model.ListPods},
			model.CausePending, "you may not list pods"},
		"a pod not scheduled yet": {[]any{waits(), unscheduled, slice("spaces", 0, 0)},
			model.CausePending, "has not said anything"},
		"a class that is not there": {[]any{claim("c", "nope"), unscheduled, class("other", "x"), model.ListSlices, event("Pod", "p", scheduler, "device class nope does not exist")},
			model.CauseNoClass, "DeviceClass nope, which does not exist"},
		"nothing published": {[]any{waits(), unscheduled, full}, model.CauseNotPublished, "has published no pool"},
		"a full pool": {[]any{waits(), unscheduled, full, slice("spaces", 1, 0), ready(t, "other", "q")},
			model.CausePoolFull, "of pool spaces 1 of 1 spaces are in use"},
		"a full pool among others": {[]any{claim("c", "few"), class("few", "spaces"), unscheduled, full, slice("spaces", 1, 0), slice("more", 5, 0), ready(t, "other", "q")},
			model.CausePoolFull, "of pool spaces 1 of 1"},
		"a spent budget": {[]any{waits(), unscheduled, full, slice("spaces", 0, 2), ready(t, "other", "q")},
			model.CausePoolFull, "2 of 2 cpu are in use"},
		"a full pool, for a user": {[]any{waits(), unscheduled, full, model.ListSlices}, model.CausePoolFull, "list resourceslices. The scheduler says"},
		"no node, for a user": {[]any{waits(), unscheduled, model.ListSlices, event("Pod", "p", scheduler, "2 Insufficient cpu")},
			model.CauseNoNode, "2 Insufficient cpu."},
		"no node, for who may read all": {[]any{waits(), unscheduled, slice("spaces", 5, 0), event("Pod", "p", scheduler, "2 Insufficient cpu")},
			model.CauseNoNode, "for which ResourceClaim c would be allocated. The scheduler says: 2 Insufficient cpu."},
		"no node with spaces": {[]any{waits(), unscheduled, full, slice("spaces", 5, 0)}, model.CauseNoNode, "no node that the pod can run on"},
		"no node for a ready space": {[]any{ready(t, "c", "q"), unscheduled, event("Pod", "p", scheduler, "2 Insufficient cpu")},
			model.CauseNoNode, "no node for pod p to use it on"},
		"an exclusive claim": {[]any{ready(t, "c", "q"), unscheduled, event("Pod", "p", scheduler, "ResourceClaim c is exclusive and in use by pod q")},
			model.CauseExclusive, "in use by pod q."},
		"a refused claim": {[]any{failed(spaceapi.ReasonInvalidParameters, "clusterRole: admin is not one of edit"), pod("p", "n", "c")},
			model.CauseInvalid, "clusterRole: admin is not one of edit. That is final"},
		"a slow controller":  {[]any{allocated(waits(), "spaces", "p"), pod("p", "n", "c")}, model.CauseProvisioning, "whether the controller runs"},
		"a failing one":      {[]any{failed(spaceapi.ReasonProvisioningFailed, "quota is bad"), pod("p", "n", "c")}, model.CauseFailing, "quota is bad"},
		"a taken name":       {[]any{failed(spaceapi.ReasonNameConflict, "ns x"), pod("p", "n", "c")}, model.CauseConflict, "none of the driver's: ns x"},
		"a deleted space":    {[]any{failed(spaceapi.ReasonNamespaceTerminating, "ns x"), pod("p", "n", "c")}, model.CauseTerminating, "once it has gone"},
		"an expired one":     {[]any{failed(spaceapi.ReasonExpired, "1h"), pod("p", "n", "c")}, model.CauseExpired, "maxLifetime: 1h"},
		"an unknown reason":  {[]any{failed("Novel", "news"), pod("p", "n", "c")}, model.CauseProvisioning, "reason Novel: news"},
		"a claim on its way": {[]any{deleted}, model.CauseEnded, "is being deleted"},
		"no plugin": {[]any{made(), pod("p", "n", "c"), event("Pod", "p", prepare, "DRA driver "+driver+" is not registered")},
			model.CausePluginMissing, "does not run on node n"},
		"a failing node":    {[]any{made(), pod("p", "n", "c"), event("Pod", "p", prepare, "disk full")}, model.CausePrepare, "disk full"},
		"a stuck namespace": {[]any{waits(), old}, model.CauseStuck, "finalizer example.com/keep remains"},
		"a stuck namespace of a claim that waits": {[]any{waits(), old, unscheduled, full, slice("spaces", 1, 0), ready(t, "other", "q")},
			model.CausePoolFull, "Besides: A space of ResourceClaim c has ended"},
		"a stuck namespace of a claim that is gone":  {[]any{old}, model.CauseStuck, "finalizer example.com/keep remains. The driver removes no finalizers."},
		"a namespace that goes":                      {[]any{going}, model.CauseEnded, "is being deleted."},
		"a namespace that is kept":                   {[]any{retained}, model.CauseRetained, "until 2026-03-01T13:00:00Z."},
		"a namespace that the controller leaves":     {[]any{namespace(made())}, model.CauseEnded, "whether the controller runs"},
		"a pod that is done":                         {[]any{done}, model.CauseDone, "is done (Succeeded)"},
		"a pod behind gates":                         {[]any{waits(), because("SchedulingGated", "blocked"), slice("spaces", 1, 0)}, model.CauseGated, "scheduling gates"},
		"a pod behind gates, for a user":             {[]any{waits(), because("SchedulingGated", "blocked"), model.ListSlices}, model.CauseGated, "scheduling gates"},
		"a pod behind gates, with a ready space":     {[]any{made(), because("SchedulingGated", "blocked")}, model.CauseGated, "is ready, but pod p is not scheduled: its scheduling gates"},
		"a full pool, as the pod itself says":        {[]any{waits(), because("Unschedulable", "cannot allocate all claims."), slice("spaces", 1, 0), ready(t, "other", "q"), model.ListEvents}, model.CausePoolFull, "says: cannot allocate all claims."},
		"a pool with too few spaces for the claim":   {[]any{two, unscheduled, full, slice("spaces", 2, 0), ready(t, "other", "q")}, model.CausePoolFull, "1 of 2 spaces are in use and the claim needs 2."},
		"a space that is ready, and one that is not": {[]any{made(), claim("d", driver), pod("p", "", "c", "d"), slice("spaces", 9, 0)}, model.CausePending, "ResourceClaim d waits"},
	} {
		s := of(test.objects...)
		var got model.Explanation
		if p, c := s.Pod("team", "p"), s.Claim("team", "c"); p != nil {
			got = s.WhyPod(p)
		} else if c != nil {
			got = s.WhyClaim(c)
		} else {
			got = *s.WhyLeft("team", "c", "")
		}
		if got.Cause != test.cause || !strings.Contains(got.Text, test.words) {
			t.Errorf("%s: got %s: %s\nwant %s with %q", name, got.Cause, got.Text, test.cause, test.words)
		}
		if strings.Contains(got.Text, "\n") || strings.Contains(got.Text, "..") {
			t.Errorf("%s: this is no paragraph: %q", name, got.Text)
		}
	}
}

func TestWhatIsUsedOfPools(t *testing.T) {
	exclusive := slice("local/node-a", 0, 0)
	exclusive.Spec.NodeName = ptr.To("node-a")
	exclusive.Spec.Devices = []resourceapi.Device{{Name: "space-0"}, {Name: "space-1"}}
	named := slice("local/node-b", 1, 0)
	named.Spec.NodeName = ptr.To("node-b")
	stale := slice("spaces", 99, 99)
	stale.Spec.Pool.Generation = 0
	pools := of(slice("spaces", 3, 4), stale, exclusive, named, slice("open", 0, 0), ready(t, "c", "p")).Pools()
	var got []string
	for _, pool := range pools {
		for _, a := range pool.Amounts {
			total := "-"
			if a.Total != nil {
				total = a.Total.String() + " free " + a.Free().String()
			}
			got = append(got, strings.Join(append([]string{pool.Name, a.Resource, a.Used.String(), total}, pool.Nodes...), " "))
		}
	}
	want := "local/node-a spaces 0 2 free 2 node-a|local/node-b spaces 0 1 free 1 node-b|open spaces 0 -|spaces spaces 1 3 free 2|spaces cpu 2 4 free 2"
	if text := strings.Join(got, "|"); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}
