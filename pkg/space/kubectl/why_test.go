// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// from makes an event one of a component.
func from(component string, e *corev1.Event) *corev1.Event {
	e.Source.Component = component
	return e
}

// aboutAnother makes an event one about another object of the same name.
func aboutAnother(e *corev1.Event) *corev1.Event {
	e.InvolvedObject.UID = "another"
	return e
}

func TestWhyPod_explainsWhyThereIsNoSpace(t *testing.T) {
	const prepare = "FailedPrepareDynamicResources"
	waits := func() *resourceapi.ResourceClaim { return claim("c", driver) }
	unscheduled := pod("p", "", "c")
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
	full := because("Unschedulable", "0/2 nodes are available: 2 cannot allocate all claims.")
	two := waits()
	two.Spec.Devices.Requests = append(two.Spec.Devices.Requests, *two.Spec.Devices.Requests[0].DeepCopy())
	two.Spec.Devices.Requests[1].Name = "other"
	foreign := allocated(claim("c", "gpu"), "gpus", "p")
	foreign.Status.Allocation.Devices.Results[0].Driver = "gpu.example.com"

	for name, test := range map[string]struct {
		objects []any
		words   string
	}{
		"a ready space":                    {[]any{made(), pod("p", "n", "c")}, "is ready. Pod p is starting on node n."},
		"a ready space of a pod that runs": {[]any{made(), running("p", "c")}, "it is ready."},
		"a pod without a claim":            {[]any{pod("p", "n")}, "requests no space: its spec names no ResourceClaim"},
		"a claim that is not there":        {[]any{unscheduled}, "ResourceClaim c, which does not exist"},
		"a template's claim to be":         {[]any{template}, "ResourceClaim c of pod p is not created from its template yet"},
		"a claim over quota": {[]any{template, from("resource_claim", event("p", "FailedResourceClaimCreation", "exceeded quota: space"))},
			"could not be created from its template: exceeded quota: space (event from resource_claim)."},
		"another driver's claim": {[]any{foreign, pod("p", "n", "c")}, "requests no space"},
		"a claim without a pod":  {[]any{waits()}, "No pod uses ResourceClaim c"},
		"a claim whose pods can't be read": {[]any{waits(), listPods},
			"You cannot list pods"},
		"a pod not scheduled yet": {[]any{waits(), unscheduled, slice("spaces", 0, 0)},
			"waits for pod p to be scheduled. No message of the scheduler"},
		"a class that is not there": {[]any{claim("c", "nope"), because("Unschedulable", "device class nope does not exist"), class("other", "x"), listSlices},
			"DeviceClass nope, which does not exist"},
		"nothing published": {[]any{waits(), full}, "has published no pool"},
		"a full pool": {[]any{waits(), full, slice("spaces", 1, 0), ready(t, "other", "q")},
			"There is no room for ResourceClaim c on the nodes that pod p can run on: of pool spaces 1 of 1 spaces are in use."},
		"a full pool among others": {[]any{claim("c", "few"), class("few", "spaces"), full, slice("spaces", 1, 0), slice("more", 5, 0), ready(t, "other", "q")},
			"no room for ResourceClaim c on the nodes that pod p can run on: of pool spaces 1 of 1 spaces are in use."},
		"a spent budget": {[]any{waits(), full, slice("spaces", 0, 2), ready(t, "other", "q")},
			"no room for ResourceClaim c on the nodes that pod p can run on: of pool spaces 2 of 2 cpu are in use."},
		"a full pool, for a user": {[]any{waits(), full, listSlices}, "its pool is full, or has no space for the nodes that the pod can run on. To find out which, you need permission to list resourceslices. The scheduler reports"},
		"no node, for a user": {[]any{waits(), because("Unschedulable", "2 Insufficient cpu"), listSlices},
			"Pod p cannot be scheduled, so ResourceClaim c is not allocated. The scheduler reports: 2 Insufficient cpu."},
		"no node, for who may read all": {[]any{waits(), because("Unschedulable", "2 Insufficient cpu"), slice("spaces", 5, 0)},
			"so ResourceClaim c is not allocated. The scheduler reports: 2 Insufficient cpu."},
		"no node with spaces": {[]any{waits(), full, slice("spaces", 5, 0)}, "no room for ResourceClaim c on the nodes that pod p can run on: of pool spaces 0 of 5 spaces are in use."},
		"no node for a ready space": {[]any{ready(t, "c", "q"), because("Unschedulable", "2 Insufficient cpu")},
			"no node for pod p to use it on"},
		"an exclusive claim": {[]any{ready(t, "c", "q"), because("Unschedulable", "ResourceClaim c is exclusive and in use by pod q")},
			"in use by pod q."},
		"a refused claim": {[]any{failed(spaceapi.ReasonInvalidParameters, "clusterRole: admin is not one of edit"), pod("p", "n", "c")},
			"ResourceClaim c has invalid parameters: clusterRole: admin is not one of edit. This is final"},
		"a slow controller":       {[]any{allocated(waits(), "spaces", "p"), pod("p", "n", "c")}, "check that the controller runs"},
		"a failing one":           {[]any{failed(spaceapi.ReasonProvisioningFailed, "quota is bad"), pod("p", "n", "c")}, "could not be provisioned, and the driver retries: quota is bad."},
		"a taken name":            {[]any{failed(spaceapi.ReasonNameConflict, "ns x"), pod("p", "n", "c")}, "does not belong to the claim: ns x."},
		"a deleted space":         {[]any{failed(spaceapi.ReasonNamespaceTerminating, "ns x"), pod("p", "n", "c")}, "recreated when it no longer exists: ns x."},
		"an expired one":          {[]any{failed(spaceapi.ReasonExpired, "1h"), pod("p", "n", "c")}, "its maximum lifetime: 1h. This is final"},
		"a claim of a PodGroup":   {[]any{failed(spaceapi.ReasonUnsupportedConsumer, "it is reserved for podgroups x"), pod("p", "n", "c")}, "gets no space: it is reserved for podgroups x. Use a claim"},
		"an unknown reason":       {[]any{failed("Novel", "news"), pod("p", "n", "c")}, "is not ready, with reason Novel: news."},
		"a claim that is deleted": {[]any{deleted}, "ResourceClaim c is being deleted"},
		"no plugin": {[]any{made(), pod("p", "n", "c"), from("kubelet", event("p", prepare, "DRA driver "+driver+" is not registered"))},
			"the kubelet plugin does not run on node n, which pod p needs: DRA driver " + driver + " is not registered (event from kubelet)."},
		"a failing node": {[]any{made(), pod("p", "n", "c"), from("kubelet", event("p", prepare, "disk full"))},
			"node n could not prepare it for pod p: disk full (event from kubelet)."},
		"a node that a tenant says fails": {[]any{made(), pod("p", "n", "c"), from("tenant", event("p", prepare, "disk full"))}, "disk full (event from tenant)."},
		"a node that failed for an earlier pod": {[]any{made(), pod("p", "n", "c"), aboutAnother(event("p", prepare, "disk full"))},
			"is ready. Pod p is starting on node n."},
		"a stuck namespace of a claim that is gone": {[]any{old}, "finalizer example.com/keep remains. The driver removes no finalizers."},
		"a namespace that goes":                     {[]any{going}, "is being deleted: that usually takes a few seconds."},
		"a namespace that is kept":                  {[]any{retained}, "is retained for debugging until 2026-03-01T13:00:00Z."},
		"a namespace that the controller leaves":    {[]any{namespace(made())}, "is to be deprovisioned. Until then, its credentials may be valid, and its namespace " + nameOf(made()) + " exists. That usually takes a second or two: check that the controller runs"},
		"a namespace that the controller cannot revoke": {[]any{namespace(made()), from("space-controller", event("c", "DeprovisioningFailed", "delete the RoleBindings in namespace "+nameOf(made())+": no"))},
			"to be deprovisioned, but that fails, and its credentials may still be valid: delete the RoleBindings in namespace " + nameOf(made()) + ": no (event from space-controller). The driver retries"},
		"a stuck namespace that the controller cannot revoke": {[]any{old, from("space-controller", event("c", "DeprovisioningFailed", "in namespace "+nameOf(made())+": no"))},
			": no (event from space-controller); finalizer example.com/keep remains. The driver retries"},
		"a namespace that was revoked at last": {[]any{retained, event("c", "DeprovisioningFailed", "in namespace "+nameOf(made())), event("c", "NamespaceRetained", "namespace "+nameOf(made()))},
			"its credentials are revoked. Its namespace " + nameOf(made()) + " is retained"},
		"a namespace beside one that cannot be revoked": {[]any{retained, event("c", "DeprovisioningFailed", "in namespace ephemeral-ns-other")}, "its credentials are revoked."},
		"a namespace of another claim of the name":      {[]any{retained, aboutAnother(event("c", "DeprovisioningFailed", "in namespace "+nameOf(made())))}, "its credentials are revoked."},
		"an expired one that cannot be revoked": {[]any{failed(spaceapi.ReasonExpired, "its credentials are revoked"), pod("p", "n", "c"), event("c", "DeprovisioningFailed", "in namespace "+nameOf(made())+": no")},
			"but that fails, and its credentials may still be valid: in namespace " + nameOf(made()) + ": no (event from <unknown>). The driver retries"},
		"a pod that is done":                         {[]any{done}, "has terminated (Succeeded)"},
		"a pod behind gates":                         {[]any{waits(), because("SchedulingGated", "blocked"), slice("spaces", 1, 0)}, "waits for pod p to be scheduled, which has scheduling gates."},
		"a pod behind gates, for a user":             {[]any{waits(), because("SchedulingGated", "blocked"), listSlices}, "waits for pod p to be scheduled, which has scheduling gates."},
		"a pod behind gates, with a ready space":     {[]any{made(), because("SchedulingGated", "blocked")}, "is ready, but pod p is not scheduled: it has scheduling gates."},
		"a pool with too few spaces for the claim":   {[]any{two, full, slice("spaces", 2, 0), ready(t, "other", "q")}, "no room for ResourceClaim c on the nodes that pod p can run on: of pool spaces 1 of 2 spaces are in use."},
		"a space that is ready, and one that is not": {[]any{made(), claim("d", driver), pod("p", "", "c", "d"), slice("spaces", 9, 0)}, "ResourceClaim d waits"},
	} {
		s := of(test.objects...)
		var got string
		if p, c := s.pod("team", "p"), s.claim("team", "c"); p != nil {
			got = s.whyPod(p)
		} else if c != nil {
			got = s.whyClaim(c, nil)
		} else {
			got = s.whyRemaining("team", "c", "")
		}
		if !strings.Contains(got, test.words) {
			t.Errorf("%s: got %s\nwant %s", name, got, test.words)
		}
		if strings.Contains(got, "\n") || strings.Contains(got, "..") {
			t.Errorf("%s: this is no paragraph: %q", name, got)
		}
	}
}
