// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/blueprint"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

func (c *cluster) cache(informer cache.SharedIndexInformer, obj any) {
	c.t.Helper()
	if err := informer.GetIndexer().Add(obj); err != nil {
		c.t.Fatal(err)
	}
}

// spaceWith describes the first space of claimOf.
func (c *cluster) spaceWith(with parameters.Effective) blueprint.Space {
	c.t.Helper()
	a := allocationOf(c.t, claimOf("a"))
	return c.settings().For(a, a.Shares[0], c.nameOf(a, a.Shares[0], with), with)
}

func TestANetworkPolicyIsMadeAndKept(t *testing.T) {
	conflict := apierrors.NewConflict(networkingv1.Resource("networkpolicies"), "space", errors.New("changed meanwhile"))
	other := func(p *networkingv1.NetworkPolicy) { p.Spec.Ingress = nil }
	moved := func(p *networkingv1.NetworkPolicy) { p.Spec.Egress = p.Spec.Egress[:2] }
	same := func(*networkingv1.NetworkPolicy) {}
	for name, test := range map[string]struct {
		// cached and live change the policy that is there; nil: it is not.
		cached, live func(*networkingv1.NetworkPolicy)
		// failure is the answer to the first update.
		failure error
		did     []string
		made    bool
	}{
		"made with one write":                              {nil, nil, nil, []string{"create"}, true},
		"left alone":                                       {same, same, nil, nil, false},
		"left alone though the cache is late":              {nil, same, nil, []string{"create", "get"}, false},
		"changed back":                                     {other, other, nil, []string{"update"}, true},
		"changed back though the cache is late":            {nil, other, nil, []string{"create", "get", "update"}, true},
		"changed back after somebody else's change":        {other, other, conflict, []string{"update", "get", "update"}, true},
		"left alone after somebody else changed it back":   {other, same, conflict, []string{"update", "get"}, false},
		"made again when it has gone meanwhile":            {other, nil, nil, []string{"update", "get", "create"}, true},
		"changed without a word when the API server moved": {moved, moved, nil, []string{"update"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newController(t)
			c.Settings.Network = spaceapi.NetworkIsolated
			space := c.spaceWith(parameters.Effective{})
			made := func(change func(*networkingv1.NetworkPolicy)) *networkingv1.NetworkPolicy {
				p := space.NetworkPolicy.DeepCopy()
				p.Finalizers = []string{"example.com/theirs"}
				change(p)
				return p
			}
			if test.cached != nil {
				c.cache(c.policyInformer, made(test.cached))
			}
			if test.live != nil {
				c.live(made(test.live))
			}
			c.api.PrependReactor("update", "networkpolicies", func(clienttesting.Action) (bool, runtime.Object, error) {
				err := test.failure
				test.failure = nil
				return err != nil, nil, err
			})
			parts := c.limits(t.Context(), space, true)
			got, err := parts[len(parts)-1].ensure()
			if err != nil || got != test.made {
				t.Errorf("made: %t, error %v, want made: %t", got, err, test.made)
			}
			var did []string
			for _, action := range c.api.Actions() {
				did = append(did, action.GetVerb())
			}
			if !slices.Equal(did, test.did) {
				t.Errorf("did %q, want %q", did, test.did)
			}
			live, err := c.api.NetworkingV1().NetworkPolicies(space.Namespace.Name).Get(t.Context(), "space", metav1.GetOptions{})
			if err != nil || len(live.Spec.Ingress) != 1 || len(live.Spec.Egress) != 3 {
				t.Errorf("it is now %+v, %v", live, err)
			}
			if test.live != nil && len(live.Finalizers) != 1 {
				t.Error("somebody's finalizer was removed")
			}
		})
	}
}

func TestWhatAnInstallationDoesNotOfferIsRefused(t *testing.T) {
	c := newController(t)
	c.AllowedClusterRoles, c.ClusterWideRoles, c.TemplateNamespaces = []string{"admin"}, []string{"reader"}, []string{"templates"}
	for name, test := range map[string]struct {
		with  parameters.Effective
		admin bool
		want  string
	}{
		"nothing special":             {parameters.Effective{}, false, ""},
		"the usual role":              {parameters.Effective{ClusterRole: "edit"}, false, ""},
		"an allowed role":             {parameters.Effective{ClusterRole: "admin"}, false, ""},
		"another role":                {parameters.Effective{ClusterRole: "cluster-admin"}, false, "ClusterRole cluster-admin"},
		"a cluster-wide role":         {parameters.Effective{ClusterWideRoles: []string{"reader"}}, false, ""},
		"another cluster-wide role":   {parameters.Effective{ClusterWideRoles: []string{"reader", "edit"}}, false, "ClusterRole edit to spaces in the whole cluster"},
		"copies":                      {parameters.Effective{Copy: &spaceapi.Copy{Namespace: "templates"}}, false, ""},
		"copies from elsewhere":       {parameters.Effective{Copy: &spaceapi.Copy{Namespace: "kube-system"}}, false, "namespace kube-system"},
		"admin access":                {parameters.Effective{}, true, "admin access"},
		"admin access that is wanted": {parameters.Effective{AdminAccess: true, ClusterRole: "cluster-admin", ClusterWideRoles: []string{"reader"}}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.mayGive(identity.Share{AdminAccess: test.admin}, &test.with)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
			if test.admin && err == nil && (test.with.ClusterRole != "view" || test.with.ClusterWideRoles != nil) {
				t.Errorf("with admin access: %+v", test.with)
			}
		})
	}
}

func TestPlanFor_refusesClaimsInSpaces(t *testing.T) {
	for name, test := range map[string]struct {
		labels  map[string]string
		refused bool
	}{
		"in another namespace":                  {nil, false},
		"in a space":                            {map[string]string{driver + "/claim-uid": "other"}, true},
		"in a space with an unknown permission": {map[string]string{driver + "/claim-uid": "other", driver + "/nested-spaces": "true"}, true},
		"in a space that may have spaces":       {map[string]string{driver + "/claim-uid": "other", driver + "/nested-spaces": "Allowed"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			claim := claimOf("a")
			c := newController(t, claim)
			if test.labels != nil {
				c.cache(c.namespaceInformer, packNamespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: claim.Namespace, Labels: test.labels}}, driver))
			}
			err := c.planOf(claim).refused
			if refused := err != nil; refused != test.refused {
				t.Errorf("got error %v, want one: %t", err, test.refused)
			}
		})
	}
}

func TestWhereTheAPIServerIs(t *testing.T) {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.2"}}, {Addresses: []string{"10.0.0.1", "not-an-address"}}},
		Ports: []discoveryv1.EndpointPort{
			{Port: ptr.To[int32](6443)}, {Port: ptr.To[int32](53), Protocol: ptr.To(corev1.ProtocolUDP)}, {},
		},
	}
	for name, test := range map[string]struct {
		server string
		cidrs  []netip.Prefix
		slice  *discoveryv1.EndpointSlice
		want   []string
	}{
		"at its service and behind it": {"https://10.96.0.1", nil, slice, []string{"10.0.0.1/32 6443", "10.0.0.2/32 6443", "10.96.0.1/32 443"}},
		"at one and the same address":  {"https://10.0.0.1:6443", nil, slice, []string{"10.0.0.1/32 6443", "10.0.0.2/32 6443"}},
		"by name":                      {"https://kubernetes.default.svc", nil, slice, []string{"10.0.0.1/32 6443", "10.0.0.2/32 6443"}},
		"with IPv6":                    {"https://[fd00::1]:443", nil, nil, []string{"fd00::1/128 443"}},
		"where the administrator says": {"https://10.96.0.1", []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, nil, []string{"10.1.0.0/16 0"}},
		"nowhere as far as is known":   {"https://api.example.com", nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := newController(t)
			c.Server, c.APIServerCIDRs = test.server, test.cidrs
			if test.cidrs != nil {
				c.endpointInformer = nil
			}
			if test.slice != nil {
				c.cache(c.endpointInformer, test.slice)
			}
			var got []string
			for _, d := range c.apiServer() {
				got = append(got, fmt.Sprintf("%s %d", d.CIDR, d.Port))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestOnlyAnAPIServerThatMovesIsAReasonToLookAtAllSpaces(t *testing.T) {
	c := newController(t)
	c.cached(c.namespaceOf(claimOf("a")))
	before := &discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}}}
	same, moved := before.DeepCopy(), before.DeepCopy()
	same.Annotations = map[string]string{"a": "b"}
	moved.Endpoints[0].Addresses[0] = "10.0.0.2"
	handler := c.endpointEvents()
	if handler.OnUpdate(before, same); c.queue.Len() != 0 {
		t.Error("the same API server")
	}
	if handler.OnUpdate(before, moved); c.queue.Len() != 1 {
		t.Errorf("%d claims are looked at", c.queue.Len())
	}
}

func TestTheStatusOfAQuotaIsNoReasonToLookAtASpace(t *testing.T) {
	c := newController(t)
	ns := c.cached(c.namespaceOf(claimOf("a")))
	before := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "space"}}
	counted, changed := before.DeepCopy(), before.DeepCopy()
	counted.Status.Used = corev1.ResourceList{"pods": resource.MustParse("1")}
	changed.Spec.Hard = corev1.ResourceList{"pods": resource.MustParse("1")}
	handler := c.contentEvents()
	if handler.OnUpdate(before, counted); c.queue.Len() != 0 {
		t.Error("each pod has its space looked at")
	}
	if handler.OnUpdate(before, changed); c.queue.Len() != 1 {
		t.Error("a changed quota is not noticed")
	}
}

func TestWhoseTenantsMayGiveRights(t *testing.T) {
	c := newController(t)
	c.AllowedClusterRoles = []string{"admin"}
	c.roles["admin"] = c.roles["view"]
	admin := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "admin"}}
	admin.Rules = []rbacv1.PolicyRule{{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"rolebindings"}, Verbs: []string{"create"}}}
	c.cache(c.roles["admin"], admin)
	for role, want := range map[string]bool{"edit": false, "admin": true, "taken-off-the-list": true} {
		c.cache(c.bindingInformer, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: role, Name: "space"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: role},
		})
		if got := c.tenantsMayBind(role); got != want {
			t.Errorf("with the role %s: %t", role, got)
		}
	}
	if !c.tenantsMayBind("without-a-binding") {
		t.Error("where the role is not known, tenants might have given rights")
	}
	c.AllowedClusterRoles = nil
	if c.tenantsMayBind("without-a-binding") {
		t.Error("where no role lets tenants give rights, they are looked for")
	}
}

func TestPodsPullImagesThoughKubernetesWasFaster(t *testing.T) {
	c := newController(t)
	space := c.spaceWith(parameters.Effective{Copy: &spaceapi.Copy{Namespace: "templates", ImagePullSecrets: []string{"pull"}}})
	c.live(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: space.Namespace.Name, Name: "default"}})
	for range 2 {
		if err := c.ensureDefaultAccount(t.Context(), space.DefaultAccount); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.api.CoreV1().ServiceAccounts(space.Namespace.Name).Get(t.Context(), "default", metav1.GetOptions{})
	if err != nil || !slices.Equal(got.ImagePullSecrets, []corev1.LocalObjectReference{{Name: "pull"}}) {
		t.Errorf("the ServiceAccount pulls with %v, %v", got.ImagePullSecrets, err)
	}
}

func TestANewQuotaIsPutInForce(t *testing.T) {
	c := newController(t)
	space := c.spaceWith(parameters.Effective{ResourceQuota: corev1.ResourceList{"pods": resource.MustParse("3")}})
	namespace := space.ResourceQuota.Namespace
	inForce := func() {
		t.Helper()
		for _, part := range c.limits(t.Context(), space, false) {
			if _, err := part.ensure(); err != nil {
				t.Fatal(err)
			}
		}
		quota, err := c.api.CoreV1().ResourceQuotas(namespace).Get(t.Context(), space.ResourceQuota.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		hard, used := quota.Status.Hard["pods"], quota.Status.Used["pods"]
		if hard.String() != "3" || used.String() != "0" || len(quota.Status.Used) != len(quota.Spec.Hard) {
			t.Errorf("the status is %v", quota.Status)
		}
		c.cache(c.quotaInformer, quota)
	}
	inForce()
	// As after a crash between the two writes.
	quota, err := c.api.CoreV1().ResourceQuotas(namespace).Get(t.Context(), space.ResourceQuota.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	quota.Status = corev1.ResourceQuotaStatus{}
	if _, err := c.api.CoreV1().ResourceQuotas(namespace).UpdateStatus(t.Context(), quota, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.cache(c.quotaInformer, quota)
	inForce()
	c.api.ClearActions()
	inForce()
	if wrote := c.wrote(); len(wrote) > 0 {
		t.Errorf("wrote %q to a quota in force", wrote)
	}
}
