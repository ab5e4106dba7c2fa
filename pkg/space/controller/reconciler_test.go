// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
	spaceconfig "github.com/space-dra/space-dra-driver/pkg/space/config"
)

func TestReconcile_keepsTheNameOfASpaceWhenThePrefixChanges(t *testing.T) {
	claim := claimFor("a")
	c := newCluster(t, claim)
	c.catchUp(claim)
	ns := c.spaceFor(claim, func(s *spaceconfig.SpaceConfig) { s.NamespacePrefix = "before-" }).Namespace
	c.live(ns)
	c.cached(ns)
	if _, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
		t.Fatal(err)
	}
	if wrote := c.wrote(); slices.Contains(wrote, "create namespaces") || slices.Contains(wrote, "delete namespaces") {
		t.Errorf("wrote %q", wrote)
	}
}

func TestReconcile_doesNothingForASpaceThatIsReady(t *testing.T) {
	claim := claimFor("a")
	c := newClusterWith(t, func(config *Config) { config.Defaults.Network = spaceapi.NetworkIsolated }, claim)
	c.catchUp(claim)
	c.reconcileAndCatchUp(t)
	c.did()
	for range 3 {
		if result, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil || result.RequeueAfter != 0 {
			t.Errorf("got %v, error %v", result, err)
		}
	}
	if did := c.did(); len(did) != 0 {
		t.Errorf("did %q", did)
	}
}

func TestReconcile_doesNothingWhenTheProcessStops(t *testing.T) {
	c, _ := withSpace(t, unchanged)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Reconcile(ctx, reconcile.Request{NamespacedName: key}); err != nil {
		t.Error(err)
	}
	if did := c.did(); len(did) > 0 {
		t.Errorf("did %q", did)
	}
}

func TestReconcile_logsEachStepOfASpaceOnce(t *testing.T) {
	claim := claimFor("a")
	claim.Status.ReservedFor = nil
	c := newCluster(t, claim)
	c.catchUp(claim)
	var out bytes.Buffer
	logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Verbosity(2), textlogger.Output(&out)))
	ctx := klog.NewContext(t.Context(), logger)
	message := regexp.MustCompile(`\] "([^"]*)"`)
	want := func(what string, times int, fails bool, want ...string) {
		t.Helper()
		for range times {
			if _, err := c.Reconcile(ctx, reconcile.Request{NamespacedName: key}); (err != nil) != fails {
				t.Errorf("%s: error %v", what, err)
			}
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			if strings.Count(line, `claimUID="claim-uid"`) != 1 {
				t.Errorf("the claim's UID is not in this line once: %s", line)
			}
			got = append(got, message.FindStringSubmatch(line)[1])
		}
		out.Reset()
		if !slices.Equal(got, want) {
			t.Errorf("%s: the log has %q, want %q", what, got, want)
		}
	}
	broken := true
	unlessBroken := func(client.Object) (bool, error) { return broken, context.DeadlineExceeded }
	c.react("create serviceaccounts", unlessBroken)
	ns := c.namespaceFor(claim)
	want("a first attempt that fails", 1, true, "Claim allocated", "Namespace created", "Space not ready")
	c.catchUp(claim, ns)
	want("further attempts that fail", 2, true)
	broken = false
	want("one that succeeds", 1, false, "Space ready")
	c.catchUp(claim, ns)
	want("a space that is ready", 3, false)

	claim = c.liveOne()
	claim.Finalizers = nil
	if err := c.api.Update(ctx, claim); err != nil {
		t.Fatal(err)
	}
	c.gone(claim)
	c.catchUp(claim)
	broken = true
	c.react("delete namespaces", unlessBroken)
	want("a deprovisioning that fails half-way", 2, true, "Credentials revoked")
	broken = false
	want("one that succeeds", 3, false, "Space deprovisioned")
	ns.DeletionTimestamp = ptr.To(metav1.NewTime(c.now.Now()))
	c.namespaceHandler().Delete(ctx, event.DeleteEvent{Object: ns}, c.queue)
	want("the namespace is deleted", 0, false, "Namespace deleted")
}

func TestReconcileAllocation_reportsWhyASpaceIsNotProvisioned(t *testing.T) {
	for reason, test := range map[string]struct {
		// existing changes the namespace that exists; nil: there is none.
		existing func(*corev1.Namespace)
		message  string
	}{
		spaceapi.ReasonProvisioningFailed:   {nil, "webhook says no"},
		spaceapi.ReasonNamespaceTerminating: {terminating, "it is recreated when the deletion is complete"},
	} {
		t.Run(reason, func(t *testing.T) {
			claim := claimFor("a")
			c := newCluster(t, claim)
			c.catchUp(claim)
			c.fail("create namespaces", errors.New("webhook says no"))
			if test.existing != nil {
				ns := c.namespaceFor(claim)
				test.existing(ns)
				c.cached(ns)
			}
			if err := c.allocate(claim); err == nil {
				t.Error("it is not retried")
			}
			recorded := c.recorded()
			if len(recorded) != 2 || !strings.Contains(recorded[1], "ResourceClaim claim: ") {
				t.Errorf("recorded %q, want one event on the claim and one on the pod", recorded)
			}
			for _, event := range recorded {
				if !strings.HasPrefix(event, "Warning "+reason+" ") || !strings.Contains(event, test.message) {
					t.Errorf("recorded %q, want %q with %q", event, reason, test.message)
				}
			}
			live := c.liveOne()
			a := allocationOf(t, live)
			ready, _, err := claimstatus.Read(live, driver, a, a.Results[0])
			if err != nil || ready == nil || ready.Reason != reason || !strings.HasSuffix(recorded[0], ready.Message) {
				t.Errorf("the condition is %+v, error %v", ready, err)
			}
		})
	}
}

func TestReconcileAllocation_recreatesADeletedNamespaceAndAllInIt(t *testing.T) {
	claim := claimFor("a")
	c := newCluster(t, claim)
	for range 2 {
		if err := c.allocate(c.liveOne()); err != nil {
			t.Fatal(err)
		}
		if wrote := c.wrote(); !slices.Contains(wrote, "create namespaces") || !slices.Contains(wrote, "create subjectaccessreviews") {
			t.Errorf("wrote %q, want a whole space", wrote)
		}
		c.gone(c.namespaceFor(claim))
	}
	if recorded := strings.Join(c.recorded(), "\n"); !strings.Contains(recorded, "Warning NamespaceTerminating a namespace of the claim was deleted while in use") {
		t.Errorf("recorded %q", recorded)
	}
}

func TestReconcileAllocation_doesNotReuseARetainedNamespace(t *testing.T) {
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

func TestReconcileAllocation_rejectsFinally(t *testing.T) {
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
		}, "request b asks for admin access"},
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

func TestReconcileAllocation_writesTheSameFailureOnce(t *testing.T) {
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

func TestReconcileAllocation_isReadyThoughConsumersCannotBeRead(t *testing.T) {
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
