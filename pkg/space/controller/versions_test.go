// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// A controller of one version continues with the spaces of another one: after an upgrade with those
// of an older one, and after a rollback with those of a newer one. What a newer one adds is unknown.
func TestReconcile_keepsSpacesOfOtherVersions(t *testing.T) {
	golden, err := os.ReadFile("testdata/v0.1.0.yaml")
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.NewReplacer(
		"            kind: SpaceClassConfig\n", "            kind: SpaceClassConfig\n            newer: {x: 1}\n",
		"      kind: SpaceStatus\n", "      kind: SpaceStatus\n      newer: x\n",
		`/config: '{`, `/config: '{"newer":{"x":1},`,
		"/pool: spaces\n", "/pool: spaces\n    space.resource.example.com/newer: x\n",
		"    team: red\n", "    team: red\n    space.resource.example.com/newer: x\n",
	).Replace(string(golden))
	for version, test := range map[string]struct {
		objects string
		// wrote is what the controller writes of a space in use.
		wrote []string
	}{
		"v0.1.0":      {string(golden), nil},
		"a newer one": {newer, []string{"update resourceclaims"}}, // its status, as this version knows it
	} {
		t.Run(version, func(t *testing.T) {
			var objects []client.Object
			var ns *corev1.Namespace
			for document := range strings.SplitSeq(test.objects, "\n---\n") {
				object, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(document), nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				objects = append(objects, object.(client.Object))
				if namespace, is := object.(*corev1.Namespace); is {
					ns = namespace
				}
			}
			// The installation has other settings now.
			c := newClusterWith(t, func(config *Config) {
				config.Defaults.ClusterRole, config.Defaults.AllowedClusterRoles = "view", []string{"edit"}
				config.Defaults.NamespacePrefix, config.Defaults.PodSecurity = "after-", "restricted"
				config.DNS.Namespace, config.DNS.Port = "kube-system", 53
			}, objects...)
			c.syncCache(objects...)
			reconciled := func() []string {
				t.Helper()
				if _, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
					t.Fatal(err)
				}
				return c.writes()
			}
			if wrote := reconciled(); !slices.Equal(wrote, test.wrote) {
				t.Errorf("wrote %q, want %q", wrote, test.wrote)
			}
			if events := c.recordedEvents(); len(events) > 0 {
				t.Errorf("recorded %q", events)
			}
			live := c.currentClaim()
			if !isReady(live, driver, allocationOf(t, live)) {
				t.Errorf("the space is not ready: %v", live.Status.Devices)
			}

			live.Status.Allocation, live.Status.Devices, live.Status.ReservedFor = nil, nil, nil
			if err := c.api.Status().Update(t.Context(), live); err != nil {
				t.Fatal(err)
			}
			c.syncCache(live)
			c.requests()
			if wrote, want := reconciled(), []string{"delete rolebindings", "delete serviceaccounts", "patch namespaces"}; !slices.Equal(wrote, want) {
				t.Errorf("to deprovision it, wrote %q, want %q", wrote, want)
			}
			if !c.read(ns) || ns.Annotations[spaceapi.KeysFor(driver).RetainedUntil] != "2026-03-01T13:00:00Z" {
				t.Errorf("the namespace is not retained for an hour: %v", ns.Annotations)
			}
		})
	}
}
