// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
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

// reconcileAndCatchUp reconciles the claim, and lets the caches catch up with it.
func (c *cluster) reconcileAndCatchUp(t *testing.T) {
	t.Helper()
	if _, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
		t.Fatal(err)
	}
	space := c.spaceWith()
	objects := []client.Object{&resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}, space.Namespace, space.ServiceAccount, space.RoleBindings[0]}
	if space.ResourceQuota != nil {
		objects = append(objects, space.ResourceQuota)
	}
	if space.NetworkPolicy != nil {
		objects = append(objects, space.NetworkPolicy)
	}
	c.catchUp(objects...)
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
