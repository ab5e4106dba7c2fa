// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

// wide is a controller that can give the role `reader` in the whole cluster, and a
// space that has it.
func wide(t *testing.T) (*cluster, *corev1.Namespace) {
	t.Helper()
	c := newControllerWith(t, func(config *Config) { config.ClusterWideRoles = []string{"reader"} })
	ns := c.spaceWith(parameters.Effective{ClusterWideRoles: []string{"reader"}}).Namespace
	ns.UID = "namespace-uid"
	c.live(c.cached(ns).DeepCopy())
	return c, ns
}

// wideBinding is what gives the space its role, for a namespace with that UID.
func (c *cluster) wideBinding(owner types.UID) *rbacv1.ClusterRoleBinding {
	space := c.spaceWith(parameters.Effective{ClusterWideRoles: []string{"reader"}})
	c.clusterWide(c.t.Context(), space, owner, true) // sets the owner
	return space.ClusterRoleBindings[0]
}

func TestAClusterRoleBindingIsNotTheSpacesForItsNameAlone(t *testing.T) {
	c, ns := wide(t)
	c.live(c.wideBinding("another-uid"))
	if _, err := c.end(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	if got := c.wrote(); !slices.Equal(got, revokeThenDelete) {
		t.Errorf("wrote %q, want %q", got, revokeThenDelete)
	}
}

func TestClusterWideRightsEndFirst(t *testing.T) {
	c, ns := wide(t)
	c.live(c.wideBinding(ns.UID))
	if _, err := c.end(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	if got, want := c.wrote(), append([]string{"delete clusterrolebindings"}, revokeThenDelete...); !slices.Equal(got, want) {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

func TestClusterWideRightsThatCannotBeEnded(t *testing.T) {
	forbidden := apierrors.NewForbidden(rbacv1.Resource("clusterrolebindings"), "x", errors.New("no"))
	for name, test := range map[string]struct {
		roles []string
		ends  bool
	}{
		"keep the space while the role is one of the installation's": {[]string{"reader"}, false},
		"are left to the namespace when it is not any more":          {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			c, ns := wide(t)
			c.live(c.wideBinding(ns.UID))
			c.ClusterWideRoles = test.roles
			c.api.PrependReactor("delete", "clusterrolebindings", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, forbidden })
			_, err := c.end(t.Context(), ns)
			if got := slices.Contains(c.wrote(), "delete namespaces"); got != test.ends || (err == nil) != test.ends {
				t.Errorf("the namespace was deleted: %t, error %v", got, err)
			}
		})
	}
}

func TestASpaceWithClusterWideRightsHasNotEnded(t *testing.T) {
	c, ns := wide(t)
	ns.DeletionTimestamp = ptr.To(metav1.Now())
	if !c.ended(ns) {
		t.Error("nothing is left of it")
	}
	c.cache(c.wideInformer, c.wideBinding(ns.UID))
	if c.ended(ns) {
		t.Error("it has rights in the whole cluster")
	}
}

func TestTheSweepDeletesClusterWideRightsOfSpacesThatHaveGone(t *testing.T) {
	for name, test := range map[string]struct {
		cached, live bool
		owner        types.UID
		want         int
	}{
		"not those of a space":                      {true, true, "namespace-uid", 0},
		"not those of a space that the cache lacks": {false, true, "namespace-uid", 0},
		"those of a namespace that has gone":        {false, false, "namespace-uid", 1},
		"those of an earlier namespace of the name": {true, true, "earlier", 1},
	} {
		t.Run(name, func(t *testing.T) {
			c, ns := wide(t)
			binding := c.wideBinding(test.owner)
			c.live(binding.DeepCopy())
			c.cache(c.wideInformer, binding)
			if !test.cached {
				if err := c.namespaces.Delete(ns); err != nil {
					t.Fatal(err)
				}
			}
			if !test.live {
				if err := c.api.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("namespaces"), "", ns.Name); err != nil {
					t.Fatal(err)
				}
			}
			c.sweepClusterWide(t.Context())
			if got := len(c.wrote()); got != test.want {
				t.Errorf("wrote %q", c.wrote())
			}
		})
	}
}

func TestAChangedClusterRoleBindingLeadsToItsSpace(t *testing.T) {
	c, _ := wide(t)
	space := c.spaceWith(parameters.Effective{ClusterWideRoles: []string{"reader"}})
	c.clusterWide(t.Context(), space, "namespace-uid", true)
	c.contentEvents().OnDelete(space.ClusterRoleBindings[0])
	if n := c.queue.Len(); n != 1 {
		t.Errorf("%d claims are looked at", n)
	}
}
