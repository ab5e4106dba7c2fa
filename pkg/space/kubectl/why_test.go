// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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
	pending := func() *resourceapi.ResourceClaim { return claim("c", driver) }
	unscheduled := pod("p", "", "c")
	failed := func(reason, message string) *resourceapi.ResourceClaim {
		return withCondition(t, allocated(pending(), "spaces", "p"), reason, message)
	}
	provisioned := func() *resourceapi.ResourceClaim { return ready(t, "c", "p") }
	stuck := namespace(provisioned())
	stuck.DeletionTimestamp = &metav1.Time{Time: now.Add(-time.Hour)}
	stuck.Status.Conditions = []corev1.NamespaceCondition{{Status: corev1.ConditionTrue, Message: "finalizer example.com/keep remains"}}
	deleted := pending()
	deleted.DeletionTimestamp = &metav1.Time{Time: now}
	template := pod("p", "")
	template.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "c", ResourceClaimTemplateName: ptr.To("t")}}
	retained := namespace(provisioned())
	retained.Annotations[keys.RetainedUntil] = "2026-03-01T13:00:00Z"
	terminating := namespace(provisioned())
	terminating.DeletionTimestamp = &metav1.Time{Time: now.Add(-time.Second)}
	terminated := pod("p", "n", "c")
	terminated.Status.Phase = corev1.PodSucceeded
	unscheduledPod := func(reason, message string) *corev1.Pod {
		p := pod("p", "", "c")
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message}}
		return p
	}
	extended := unscheduledPod("Unschedulable", "2 Insufficient example.com/space")
	extended.Spec.ResourceClaims = nil
	full := unscheduledPod("Unschedulable", "0/2 nodes are available: 2 cannot allocate all claims.")
	two := pending()
	two.Spec.Devices.Requests = append(two.Spec.Devices.Requests, *two.Spec.Devices.Requests[0].DeepCopy())
	two.Spec.Devices.Requests[1].Name = "other"
	foreign := allocated(claim("c", "gpu"), "gpus", "p")
	foreign.Status.Allocation.Devices.Results[0].Driver = "gpu.example.com"

	for name, test := range map[string]struct {
		objects []any
		want    string
	}{
		"a ready space":                                     {[]any{provisioned(), pod("p", "n", "c")}, "is ready. Pod p is starting on node n."},
		"a ready space of a pod that runs":                  {[]any{provisioned(), running("p", "c")}, "it is ready."},
		"a pod without a claim":                             {[]any{pod("p", "n")}, "requests no space: its spec names no ResourceClaim"},
		"an extended resource that no claim provides":       {[]any{extended}, "Pod p has no ResourceClaim yet, and is not scheduled: 2 Insufficient example.com/space."},
		"a missing claim":                                   {[]any{unscheduled}, "ResourceClaim c, which does not exist"},
		"a claim that is not created from its template yet": {[]any{template}, "ResourceClaim c of pod p is not created from its template yet"},
		"a claim over quota": {[]any{template, from("resource_claim", event("p", "FailedResourceClaimCreation", "exceeded quota: space"))},
			"could not be created from its template: exceeded quota: space (event from resource_claim)."},
		"another driver's claim": {[]any{foreign, pod("p", "n", "c")}, "requests no space"},
		"a claim without a pod":  {[]any{pending()}, "No pod uses ResourceClaim c"},
		"a claim, without permission to list pods": {[]any{pending(), listPods},
			"You cannot list pods"},
		"a pod that is not scheduled yet": {[]any{pending(), unscheduled, slice("spaces", 0, 0)},
			"waits for pod p to be scheduled. No message of the scheduler"},
		"a missing class": {[]any{claim("c", "nope"), unscheduledPod("Unschedulable", "device class nope does not exist"), class("other", "x"), listSlices},
			"DeviceClass nope, which does not exist"},
		"no published pool": {[]any{pending(), full}, "has published no pool"},
		"a full pool": {[]any{pending(), full, slice("spaces", 1, 0), ready(t, "other", "q")},
			"There is no room for ResourceClaim c on the nodes that pod p can run on: 1 of 1 spaces of pool spaces are in use."},
		"a full pool among others": {[]any{claim("c", "limited"), class("limited", "spaces"), full, slice("spaces", 1, 0), slice("more", 5, 0), ready(t, "other", "q")},
			"no room for ResourceClaim c on the nodes that pod p can run on: 1 of 1 spaces of pool spaces are in use."},
		"a used budget": {[]any{pending(), full, slice("spaces", 0, 2), ready(t, "other", "q")},
			"no room for ResourceClaim c on the nodes that pod p can run on: 2 of 2 cpu of pool spaces are in use."},
		"a full pool, without permission to list resourceslices": {[]any{pending(), full, listSlices}, "its pool is full, or has no space for the nodes that the pod can run on. To find out which, you need permission to list resourceslices. The scheduler reports"},
		"no node, without permission to list resourceslices": {[]any{pending(), unscheduledPod("Unschedulable", "2 Insufficient cpu"), listSlices},
			"Pod p cannot be scheduled, so ResourceClaim c is not allocated. The scheduler reports: 2 Insufficient cpu."},
		"no node, with all permissions": {[]any{pending(), unscheduledPod("Unschedulable", "2 Insufficient cpu"), slice("spaces", 5, 0)},
			"so ResourceClaim c is not allocated. The scheduler reports: 2 Insufficient cpu."},
		"no node with spaces": {[]any{pending(), full, slice("spaces", 5, 0)}, "no room for ResourceClaim c on the nodes that pod p can run on: 0 of 5 spaces of pool spaces are in use."},
		"no node for a ready space": {[]any{ready(t, "c", "q"), unscheduledPod("Unschedulable", "2 Insufficient cpu")},
			"no node for pod p to use it on"},
		"an exclusive claim": {[]any{ready(t, "c", "q"), unscheduledPod("Unschedulable", "ResourceClaim c is exclusive and in use by pod q")},
			"in use by pod q."},
		"invalid parameters": {[]any{failed(spaceapi.ReasonInvalidParameters, "clusterRole: admin is not one of edit"), pod("p", "n", "c")},
			"ResourceClaim c has invalid parameters: clusterRole: admin is not one of edit. This is final"},
		"a slow controller":           {[]any{allocated(pending(), "spaces", "p"), pod("p", "n", "c")}, "check that the controller runs"},
		"a failure of the controller": {[]any{failed(spaceapi.ReasonProvisioningFailed, "quota is bad"), pod("p", "n", "c")}, "could not be provisioned, and the driver retries: quota is bad."},
		"a name conflict":             {[]any{failed(spaceapi.ReasonNameConflict, "ns x"), pod("p", "n", "c")}, "does not belong to the claim: ns x."},
		"a terminating namespace":     {[]any{failed(spaceapi.ReasonNamespaceTerminating, "ns x"), pod("p", "n", "c")}, "recreated when it no longer exists: ns x."},
		"an expired space":            {[]any{failed(spaceapi.ReasonExpired, "1h"), pod("p", "n", "c")}, "The space of ResourceClaim c has expired: 1h. This is final"},
		"a claim of a PodGroup":       {[]any{failed(spaceapi.ReasonUnsupportedConsumer, "it is reserved for podgroups x"), pod("p", "n", "c")}, "gets no space: it is reserved for podgroups x. Use a claim"},
		"an unknown reason":           {[]any{failed("Novel", "news"), pod("p", "n", "c")}, "is not ready, with reason Novel: news."},
		"a deleted claim":             {[]any{deleted}, "ResourceClaim c is being deleted"},
		"no kubelet plugin": {[]any{provisioned(), pod("p", "n", "c"), from("kubelet", event("p", prepare, "DRA driver "+driver+" is not registered"))},
			"the kubelet plugin does not run on node n, which pod p needs: DRA driver " + driver + " is not registered (event from kubelet)."},
		"a failure of the node": {[]any{provisioned(), pod("p", "n", "c"), from("kubelet", event("p", prepare, "disk full"))},
			"node n could not prepare it for pod p: disk full (event from kubelet)."},
		"a failure that a tenant reports": {[]any{provisioned(), pod("p", "n", "c"), from("tenant", event("p", prepare, "disk full"))}, "disk full (event from tenant)."},
		"a failure for an earlier pod": {[]any{provisioned(), pod("p", "n", "c"), aboutAnother(event("p", prepare, "disk full"))},
			"is ready. Pod p is starting on node n."},
		"a stuck namespace of a deleted claim":      {[]any{stuck}, "finalizer example.com/keep remains. The driver only removes finalizers of RoleBindings."},
		"a namespace that is being deleted":         {[]any{terminating}, "is being deleted: that usually takes a few seconds."},
		"a retained namespace":                      {[]any{retained}, "is retained for debugging until 2026-03-01T13:00:00Z."},
		"a namespace that is not deprovisioned yet": {[]any{namespace(provisioned())}, "is to be deprovisioned. Until then, its credentials may be valid, and its namespace " + spaceName(provisioned()) + " exists. That usually takes a second or two: check that the controller runs"},
		"a failed revocation": {[]any{namespace(provisioned()), from("space-controller", event("c", "DeprovisioningFailed", "delete the RoleBindings in namespace "+spaceName(provisioned())+": no"))},
			"to be deprovisioned, but that fails, and its credentials may still be valid: delete the RoleBindings in namespace " + spaceName(provisioned()) + ": no (event from space-controller). The driver retries"},
		"a failed revocation, and a stuck namespace": {[]any{stuck, from("space-controller", event("c", "DeprovisioningFailed", "in namespace "+spaceName(provisioned())+": no"))},
			": no (event from space-controller); finalizer example.com/keep remains. The driver retries"},
		"a revocation that succeeded later": {[]any{retained, event("c", "DeprovisioningFailed", "in namespace "+spaceName(provisioned())), event("c", "NamespaceRetained", "namespace "+spaceName(provisioned()))},
			"its credentials are revoked. Its namespace " + spaceName(provisioned()) + " is retained"},
		"a failed revocation of another namespace":               {[]any{retained, event("c", "DeprovisioningFailed", "in namespace ephemeral-ns-other")}, "its credentials are revoked."},
		"a failed revocation for another claim of the same name": {[]any{retained, aboutAnother(event("c", "DeprovisioningFailed", "in namespace "+spaceName(provisioned())))}, "its credentials are revoked."},
		"a failed revocation of an expired space": {[]any{failed(spaceapi.ReasonExpired, "1h"), pod("p", "n", "c"), event("c", "DeprovisioningFailed", "in namespace "+spaceName(provisioned())+": no")},
			"but that fails, and its credentials may still be valid: in namespace " + spaceName(provisioned()) + ": no (event from <unknown>). The driver retries"},
		"a pod that has terminated":   {[]any{terminated}, "has terminated (Succeeded)"},
		"a pod with scheduling gates": {[]any{pending(), unscheduledPod("SchedulingGated", "blocked"), slice("spaces", 1, 0)}, "waits for pod p to be scheduled, which has scheduling gates."},
		"a pod with scheduling gates, without permission to list resourceslices": {[]any{pending(), unscheduledPod("SchedulingGated", "blocked"), listSlices}, "waits for pod p to be scheduled, which has scheduling gates."},
		"a pod with scheduling gates, with a ready space":                        {[]any{provisioned(), unscheduledPod("SchedulingGated", "blocked")}, "is ready, but pod p is not scheduled: it has scheduling gates."},
		"a pool with too few spaces for the claim":                               {[]any{two, full, slice("spaces", 2, 0), ready(t, "other", "q")}, "no room for ResourceClaim c on the nodes that pod p can run on: 1 of 2 spaces of pool spaces are in use."},
		"a space that is ready, and one that is not":                             {[]any{provisioned(), claim("d", driver), pod("p", "", "c", "d"), slice("spaces", 9, 0)}, "ResourceClaim d waits"},
	} {
		s := snapshotOf(test.objects...)
		var got string
		var isReady bool
		if p, c := s.pod("team", "p"), s.claim("team", "c"); p != nil {
			got, isReady = s.whyPod(p), s.isPodReady(p)
		} else if c != nil {
			got, isReady = s.whyClaim(c, nil), s.isReady(c, nil)
		} else {
			got = s.whyRemaining("team", "c", "")
		}
		if !strings.Contains(got, test.want) {
			t.Errorf("%s: got %s\nwant %s", name, got, test.want)
		}
		if want := strings.Contains(got, "ResourceClaim c has its space") && !strings.Contains(got, "ResourceClaim d"); isReady != want {
			t.Errorf("%s: the exit code says that there is a space: %t, want %t, with %s", name, isReady, want, got)
		}
		if strings.Contains(got, "\n") || strings.Contains(got, "..") {
			t.Errorf("%s: got more than one paragraph, or two full stops: %q", name, got)
		}
	}
}

func TestWhy_warnsOfKnownIssues(t *testing.T) {
	node := func(name, kubelet string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: kubelet}}}
	}
	effects := regexp.MustCompile(`(known issues): .*\n`)
	shared := ready(t, "c", "p", "q", "r")
	objects := []runtime.Object{shared, pod("p", "old", "c"), pod("q", "older", "c"), pod("r", "new", "c"), node("old", "v1.34.3"), node("older", "v1.34.1\x1b"), node("new", "v1.34.4")}
	for name, test := range map[string]struct {
		server string
		denied []string
		want   string
	}{
		"a control plane": {"v1.34.2", []string{"nodes"}, "Warning: Kubernetes v1.34.2 of the control plane has known issues"},
		"kubelets":        {"v1.34.4", nil, "Warning: node old: Kubernetes v1.34.3 of the kubelet has known issues, Warning: node older: Kubernetes v1.34.1\\x1b of the kubelet has known issues"},
		"neither":         {"v1.37.2", []string{"nodes"}, ""},
	} {
		objects, err := url.Parse(serve(t, objects, test.denied...))
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/", httputil.NewSingleHostReverseProxy(objects))
		mux.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"gitVersion":%q}`, test.server) })
		server := httptest.NewServer(mux)
		t.Cleanup(server.Close)
		_, errOut, code := run(t, "kubectl-space", server.URL, "why", "c", "-n", "team")
		var warnings []string
		for line := range strings.Lines(errOut) {
			warnings = append(warnings, effects.ReplaceAllString(line, "$1"))
		}
		if got := strings.Join(warnings, ", "); code != 0 || got != test.want {
			t.Errorf("%s: got code %d and %q, want %q", name, code, got, test.want)
		}
	}
}
