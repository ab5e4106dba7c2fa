// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceconfig "github.com/space-dra/space-dra-driver/pkg/space/config"
)

// mutate is admission that changes the objects that the controller writes.
func (c *cluster) mutate(resource string, change func(client.Object)) {
	for _, verb := range []string{"create", "update"} {
		c.react(verb+" "+resource, func(obj client.Object) (bool, error) {
			change(obj)
			return false, nil
		})
	}
}

func TestEnsure_leavesWhatAdmissionMadeOfIt(t *testing.T) {
	writes := 0
	for name, test := range map[string]struct {
		resource string
		of       func(c *cluster) client.Object
		mutate   func(client.Object)
		words    string
		// others change it later.
		others func(client.Object)
	}{
		"a further entry of a quota": {"resourcequotas", func(c *cluster) client.Object {
			return c.spaceWith(func(s *spaceconfig.SpaceConfig) {
				s.ResourceQuota = &corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("3")}}
			}).ResourceQuota
		}, func(obj client.Object) {
			obj.(*corev1.ResourceQuota).Spec.Hard["count/secrets"] = resource.MustParse("7")
		}, `{"spec":{"hard":{"count/secrets":"7"}}}`, func(obj client.Object) {
			obj.(*corev1.ResourceQuota).Spec.Hard["pods"] = resource.MustParse("300")
		}},
		"a further rule of a NetworkPolicy, and an annotation that is different each time": {"networkpolicies", func(c *cluster) client.Object {
			return c.spaceWith().NetworkPolicy
		}, func(obj client.Object) {
			writes++
			obj.SetAnnotations(map[string]string{"example.com/write": strings.Repeat("x", writes)})
			policy := obj.(*networkingv1.NetworkPolicy)
			policy.Spec.Egress = append(policy.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "198.51.100.0/24"}}}})
		}, "198.51.100.0/24", func(obj client.Object) {
			obj.(*networkingv1.NetworkPolicy).Spec.Ingress = nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClusterWith(t, func(config *Config) { config.Defaults.Network = spaceapi.NetworkIsolated })
			desired := c.desired(claimFor("a"))
			ensure := func() (wrote, events []string) {
				t.Helper()
				if err := c.ensure(t.Context(), desired, desired.spaces[0], test.of(c)); err != nil {
					t.Fatal(err)
				}
				c.catchUp(test.of(c))
				wrote = slices.DeleteFunc(c.wrote(), func(call string) bool { return call == "update resourcequotas" && !desired.inUse }) // its status
				return wrote, c.recorded()
			}
			// Before admission changed anything.
			ensure()
			c.mutate(test.resource, test.mutate)
			c.gone(test.of(c))
			c.catchUp(test.of(c))
			wrote, events := ensure()
			if !slices.Equal(wrote, []string{"create " + test.resource}) || len(events) != 1 || !strings.Contains(events[0], spaceapi.ReasonChangedByAdmission) || !strings.Contains(events[0], test.words) {
				t.Errorf("wrote %q, recorded %q", wrote, events)
			}
			desired.inUse = true
			if wrote, events := ensure(); len(wrote) > 0 || len(events) > 0 {
				t.Errorf("again: wrote %q, recorded %q", wrote, events)
			}
			changed := test.of(c)
			c.read(changed)
			test.others(changed)
			if err := c.api.Update(t.Context(), changed); err != nil {
				t.Fatal(err)
			}
			c.catchUp(changed)
			c.did()
			if wrote, events := ensure(); len(wrote) != 1 || len(events) != 2 || !strings.Contains(events[1], spaceapi.ReasonRestored) {
				t.Errorf("after a change by others: wrote %q, recorded %q", wrote, events)
			}
			if wrote, events := ensure(); len(wrote) > 0 || len(events) > 0 {
				t.Errorf("after it was restored: wrote %q, recorded %q", wrote, events)
			}
			// As after a restart.
			c.admitted.Clear()
			if wrote, events := ensure(); len(wrote) != 1 || len(events) != 1 || !strings.Contains(events[0], spaceapi.ReasonChangedByAdmission) {
				t.Errorf("after a restart: wrote %q, recorded %q", wrote, events)
			}
			if wrote, events := ensure(); len(wrote) > 0 || len(events) > 0 {
				t.Errorf("some time after a restart: wrote %q, recorded %q", wrote, events)
			}
		})
	}
}

func TestEnsureNamespace_reportsWhatAdmissionMadeOfIt(t *testing.T) {
	keys := spaceapi.KeysFor(driver)
	for name, test := range map[string]struct {
		key, value string
		reported   bool
		reason     string
	}{
		"a label of others":            {"cost-center", "x", false, ""},
		"a Pod Security Standard":      {"pod-security.kubernetes.io/enforce", "restricted", true, ""},
		"whose space the namespace is": {keys.ClaimUID, "another", true, spaceapi.ReasonNameConflict},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.mutate("namespaces", func(obj client.Object) { obj.GetLabels()[test.key] = test.value })
			desired := c.desired(claimFor("a"))
			err := c.ensureNamespace(t.Context(), desired, desired.spaces[0])
			if test.reason == "" && err != nil || test.reason != "" && (err == nil || conditionReason(err) != test.reason) {
				t.Errorf("got error %v, want reason %q", err, test.reason)
			}
			if events := strings.Join(c.recorded(), "\n"); strings.Contains(events, test.key) != test.reported {
				t.Errorf("recorded %q", events)
			}
		})
	}
}

func TestReconcile_reportsThatNodesCannotBeRecorded(t *testing.T) {
	pod := podOn("a", "node-a")
	c := newCluster(t, usedBy(pod), pod)
	c.catchUp(usedBy(pod))
	c.fail("patch namespaces", apierrors.NewForbidden(corev1.Resource("namespaces"), "ns", errors.New("a policy denies label cost-center")))
	if _, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err == nil {
		t.Error("it is not retried")
	}
	var reported int
	for _, recorded := range c.recorded() {
		if strings.Contains(recorded, spaceapi.ReasonNodesNotRecorded) && strings.Contains(recorded, "label cost-center") {
			reported++
		}
	}
	if reported != 2 {
		t.Errorf("%d events, want one on the claim and one on the pod", reported)
	}
}
