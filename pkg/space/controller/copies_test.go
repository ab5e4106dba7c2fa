// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// original is the metadata of the originals.
var original = metav1.ObjectMeta{Namespace: "shared", Name: "settings"}

// newClusterWithCopies returns a cluster with a ready claim whose space has copies of a Secret and a
// ConfigMap.
func newClusterWithCopies(t *testing.T) *cluster {
	t.Helper()
	claim := withClassConfig(claimFor("a"), `"copyFrom":{"namespace":"shared","secrets":[{"name":"settings"}],"configMaps":[{"name":"settings"}]}`)
	c := newClusterWith(t, func(config *Config) { config.Defaults.CopyFromNamespaces = []string{"shared"} }, claim,
		&corev1.Secret{ObjectMeta: original, Data: map[string][]byte{"old": []byte("1"), "token": []byte("first")}},
		&corev1.ConfigMap{ObjectMeta: original, Data: map[string]string{"key": "first"}, BinaryData: map[string][]byte{"old": {1}}})
	c.syncCache(claim)
	c.resyncClaim(t)
	c.requests()
	c.recordedEvents()
	return c
}

// resyncClaim reconciles the claim, as the controller does after the resync period.
func (c *cluster) resyncClaim(t *testing.T) {
	t.Helper()
	result, err := c.reconcile()
	if err != nil || result.RequeueAfter <= 0 || result.RequeueAfter > c.config.ResyncPeriod || !isReady(c.currentClaim(), driver, allocationOf(t, c.currentClaim())) {
		t.Errorf("got %v, error %v", result, err)
	}
	space := c.spaceFor(claimFor("a"))
	c.syncCache(claimKey(), space.Namespace, space.ServiceAccount, space.RoleBindings[0])
}

// copies returns the copies. Those that do not exist are empty.
func (c *cluster) copies() (*corev1.Secret, *corev1.ConfigMap) {
	c.t.Helper()
	meta := metav1.ObjectMeta{Namespace: c.namespaceFor(claimFor("a")).Name, Name: original.Name}
	secret, config := &corev1.Secret{ObjectMeta: meta}, &corev1.ConfigMap{ObjectMeta: meta}
	c.read(secret)
	c.read(config)
	return secret, config
}

func TestEnsureCopy_followsTheOriginal(t *testing.T) {
	c := newClusterWithCopies(t)
	secret, config := c.copies()
	secret.Annotations = map[string]string{"example.com/theirs": "x"}
	config.Finalizers = []string{"example.com/theirs"}
	if err := errors.Join(c.api.Update(t.Context(), secret), c.api.Update(t.Context(), config)); err != nil {
		t.Fatal(err)
	}
	for _, changed := range []client.Object{
		&corev1.Secret{ObjectMeta: original, Data: map[string][]byte{"token": []byte("second")}},
		&corev1.ConfigMap{ObjectMeta: original, Data: map[string]string{"key": "second"}},
	} {
		if err := c.api.Update(t.Context(), changed); err != nil {
			t.Fatal(err)
		}
	}
	c.resyncClaim(t)
	secret, config = c.copies()
	if len(secret.Data) != 1 || string(secret.Data["token"]) != "second" || !maps.Equal(config.Data, map[string]string{"key": "second"}) || len(config.BinaryData) > 0 {
		t.Errorf("got copies %v and %v", secret, config)
	}
	if secret.Annotations["example.com/theirs"] == "" || len(config.Finalizers) != 1 || secret.Labels[c.keys.ClaimUID] == "" {
		t.Errorf("metadata of the copies changed: %v and %v", secret, config)
	}
	if events := c.recordedEvents(); len(events) > 0 {
		t.Errorf("recorded %q", events)
	}
}

func TestEnsureCopy_recreatesADeletedCopy(t *testing.T) {
	c := newClusterWithCopies(t)
	secret, config := c.copies()
	c.deleteInAPI(secret)
	c.deleteInAPI(config)
	c.resyncClaim(t)
	secret, config = c.copies()
	if string(secret.Data["token"]) != "first" || config.Data["key"] != "first" {
		t.Errorf("got copies %v and %v", secret, config)
	}
	events := c.recordedEvents()
	for _, want := range []string{"Restored Secret settings", "Restored ConfigMap settings"} {
		if !slices.ContainsFunc(events, func(event string) bool { return strings.Contains(event, want) }) {
			t.Errorf("recorded %q, want %q", events, want)
		}
	}
	c.deleteInAPI(secret)
	c.requests()
	if _, err := c.reconcile(); err != nil || len(c.writes()) > 0 {
		t.Error("the second restore of a copy is not delayed")
	}
}

func TestEnsureCopy_keepsTheSpaceReady(t *testing.T) {
	for name, test := range map[string]struct {
		change func(c *cluster)
		event  string
	}{
		"without the original": {func(c *cluster) { c.deleteInAPI(&corev1.Secret{ObjectMeta: original}) }, "copy Secret shared/settings to namespace"},
		"when the request is denied": {func(c *cluster) {
			c.fail("patch secrets", apierrors.NewForbidden(corev1.Resource("secrets"), "settings", errors.New("it is not a copy")))
		}, "it is not a copy"},
		"when the Helm values no longer allow it": {func(c *cluster) { c.config.Defaults.CopyFromNamespaces = nil }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClusterWithCopies(t)
			test.change(c)
			c.resyncClaim(t)
			events := strings.Join(c.recordedEvents(), "\n")
			if strings.Contains(events, spaceapi.ReasonCopyFailed) != (test.event != "") || !strings.Contains(events, test.event) {
				t.Errorf("recorded %q, want %q", events, test.event)
			}
			if secret, _ := c.copies(); string(secret.Data["token"]) != "first" {
				t.Errorf("got copy %v", secret)
			}
		})
	}
}
