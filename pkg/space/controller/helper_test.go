// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/blueprint"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

// These tests look at one function each, and fill its caches by hand. Whether the
// functions work together is tested against a real API server.

const driver = spaceapi.DefaultDriverName

// cluster is a controller with its API server.
type cluster struct {
	*Controller
	t      testing.TB
	api    *fake.Clientset
	events *record.FakeRecorder
	now    *clocktesting.FakeClock
}

func newController(t testing.TB, live ...runtime.Object) *cluster {
	t.Helper()
	return newControllerWith(t, func(*Config) {}, live...)
}

// newControllerWith is newController with another configuration.
func newControllerWith(t testing.TB, change func(*Config), live ...runtime.Object) *cluster {
	t.Helper()
	api := fake.NewClientset(live...)
	events := record.NewFakeRecorder(100)
	measured := metrics.NewController(prometheus.NewRegistry(), "v0")
	now := clocktesting.NewFakeClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	config := Config{
		Client:   api,
		Settings: blueprint.Settings{Driver: driver, NamespacePrefix: "ns-", ClusterRole: "edit"},
		Server:   "https://10.96.0.1:443",
		Events:   events,
		Workers:  1,

		Namespace:                "driver",
		ResyncPeriod:             time.Minute,
		NamespaceDeletionTimeout: time.Minute,
		Metrics:                  measured,
		Clock:                    now,
	}
	change(&config)
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.queue.ShutDown)
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "edit"}}
	role.Rules = []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods/exec"}, Verbs: []string{"create"}}}
	if err := c.roles["edit"].GetIndexer().Add(role); err != nil {
		t.Fatal(err)
	}
	// The fake one answers with what it was asked, and grants nothing.
	api.PrependReactor("create", "subjectaccessreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &authorizationv1.SubjectAccessReview{Status: authorizationv1.SubjectAccessReviewStatus{Allowed: true}}, nil
	})
	return &cluster{Controller: c, t: t, api: api, events: events, now: now}
}

// planOf returns what a claim is to have.
func (c *cluster) planOf(claim *resourceapi.ResourceClaim) *plan {
	c.t.Helper()
	p, err := c.planFor(claim)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// cached puts a namespace into the controller's cache.
func (c *cluster) cached(ns *corev1.Namespace) *corev1.Namespace {
	c.t.Helper()
	if err := c.namespaces.Add(ns); err != nil {
		c.t.Fatal(err)
	}
	return ns
}

// live puts an object into the API server.
func (c *cluster) live(obj runtime.Object) {
	c.t.Helper()
	if err := c.api.Tracker().Add(obj); err != nil {
		c.t.Fatal(err)
	}
}

// wrote returns what was done to the API server, but for reading.
func (c *cluster) wrote() []string {
	var out []string
	for _, action := range c.api.Actions() {
		if verb := action.GetVerb(); verb != "get" && verb != "list" && verb != "watch" {
			out = append(out, verb+" "+action.GetResource().Resource)
		}
	}
	return out
}

// said returns the events so far.
func (c *cluster) said() []string {
	var out []string
	for {
		select {
		case event := <-c.events.Events:
			out = append(out, event)
		default:
			return out
		}
	}
}

func claimOf(requests ...string) *resourceapi.ResourceClaim {
	claim := &resourceapi.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "claim", UID: "claim-uid", Finalizers: []string{resourceapi.Finalizer}},
		Status: resourceapi.ResourceClaimStatus{
			Allocation:  &resourceapi.AllocationResult{},
			ReservedFor: []resourceapi.ResourceClaimConsumerReference{{Resource: "pods", Name: "pod", UID: "pod-uid"}},
		},
	}
	for _, request := range requests {
		claim.Status.Allocation.Devices.Results = append(claim.Status.Allocation.Devices.Results, resourceapi.DeviceRequestAllocationResult{
			Driver: driver, Request: request, Pool: "spaces", Device: "space", ShareID: ptr.To(types.UID("share-" + request)),
		})
	}
	return claim
}

func allocationOf(t testing.TB, claim *resourceapi.ResourceClaim) *identity.Allocation {
	t.Helper()
	a := identity.Of(claim, driver)
	if a == nil {
		t.Fatal("the claim is not allocated")
	}
	return a
}

// namespaceOf returns the first space's namespace, as the controller makes it.
func (c *cluster) namespaceOf(claim *resourceapi.ResourceClaim) *corev1.Namespace {
	a := allocationOf(c.t, claim)
	ns := c.Settings.For(a, a.Shares[0], c.nameOf(a, a.Shares[0], parameters.Effective{}), parameters.Effective{}).Namespace
	ns.UID = "namespace-uid"
	return ns
}

// accountsOf returns the cache of ServiceAccounts.
func (c *cluster) accountsOf() cache.Indexer {
	return c.accountInformer.GetIndexer()
}
