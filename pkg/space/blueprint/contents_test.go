// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package blueprint_test

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/blueprint"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

// spaceWith describes a space of the settings, about which this was said.
func spaceWith(t *testing.T, s blueprint.Settings, with parameters.Effective) blueprint.Space {
	t.Helper()
	a := allocation(t)
	return s.For(a, a.Shares[0], s.Name(a.Shares[0], with), with)
}

// record is what a namespace has without anything said.
func record(t *testing.T) *corev1.Namespace {
	t.Helper()
	return spaceWith(t, settings, parameters.Effective{}).Namespace
}

func TestTheNameBeginsWithWhatTheClassWants(t *testing.T) {
	if name := record(t).Name; !strings.HasPrefix(name, "ns-") {
		t.Errorf("by default it is %s", name)
	}
	if name := spaceWith(t, settings, parameters.Effective{NamespacePrefix: "ci-"}).Namespace.Name; !strings.HasPrefix(name, "ci-") {
		t.Errorf("with the prefix ci- it is %s", name)
	}
}

func TestLabelsAndAnnotationsOfOthersNeverChangeTheRecord(t *testing.T) {
	keys := spaceapi.KeysFor(settings.Driver)
	bad := map[string]string{
		keys.ClaimUID: "x", keys.AllocationID: "x", keys.ClaimName: "x", keys.ClaimNamespace: "x", keys.Request: "x",
		keys.Retain: "1h", keys.RetainedUntil: "2030-01-01T00:00:00Z", keys.ClusterWideRoles: "admin",
		"pod-security.kubernetes.io/enforce": "privileged", "pod-security.kubernetes.io/enforce-version": "v1.0",
	}
	with := parameters.Effective{Labels: maps.Clone(bad), Annotations: maps.Clone(bad)}
	with.Labels["team"], with.Annotations["example.com/url"] = "blue", "https://x"
	want := record(t)
	want.Labels["team"], want.Annotations["example.com/url"] = "blue", "https://x"
	got := spaceWith(t, settings, with).Namespace
	if !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got.ObjectMeta, want.ObjectMeta)
	}
}

func TestRoles(t *testing.T) {
	with := parameters.Effective{ClusterRole: "admin", ClusterWideRoles: []string{"crd-reader", "node-reader"}}
	space := spaceWith(t, settings, with)
	if role := space.RoleBinding.RoleRef.Name; role != "admin" {
		t.Errorf("the role in the namespace is %s", role)
	}
	var names []string
	for _, binding := range space.ClusterRoleBindings {
		names = append(names, binding.Name)
		if binding.Name != space.Namespace.Name+":"+binding.RoleRef.Name || binding.RoleRef.Kind != "ClusterRole" {
			t.Errorf("%s gives %v", binding.Name, binding.RoleRef)
		}
		if !slices.Equal(binding.Subjects, space.RoleBinding.Subjects) {
			t.Errorf("%s is for %v", binding.Name, binding.Subjects)
		}
		if !maps.Equal(binding.Labels, space.RoleBinding.Labels) {
			t.Errorf("%s has the labels %v", binding.Name, binding.Labels)
		}
	}
	if len(names) != 2 {
		t.Errorf("the bindings in the whole cluster are %q", names)
	}
	keys := spaceapi.KeysFor(settings.Driver)
	if got := blueprint.ClusterWideRoles(space.Namespace, keys); !slices.Equal(got, with.ClusterWideRoles) {
		t.Errorf("the namespace says that it has the roles %q", got)
	}
	if got := blueprint.ClusterWideRoles(record(t), keys); got != nil {
		t.Errorf("a namespace without any says that it has the roles %q", got)
	}
}

func TestPodSecurity(t *testing.T) {
	safe := settings
	safe.PodSecurity = "baseline"
	for _, test := range []struct {
		said parameters.Effective
		want map[string]string
	}{
		{parameters.Effective{}, map[string]string{"enforce": "baseline"}},
		{parameters.Effective{PodSecurity: spaceapi.PodSecurity{Warn: "restricted"}}, map[string]string{"enforce": "baseline", "warn": "restricted"}},
		{parameters.Effective{PodSecurity: spaceapi.PodSecurity{Enforce: "restricted", Audit: "privileged"}}, map[string]string{"enforce": "restricted", "audit": "privileged"}},
	} {
		got := map[string]string{}
		for key, value := range spaceWith(t, safe, test.said).Namespace.Labels {
			if mode, ok := strings.CutPrefix(key, "pod-security.kubernetes.io/"); ok {
				got[mode] = value
			}
		}
		if !maps.Equal(got, test.want) {
			t.Errorf("%+v: got %v, want %v", test.said.PodSecurity, got, test.want)
		}
	}
}

func TestWhatASpaceConsumesOfABudgetIsItsQuota(t *testing.T) {
	a := allocation(t)
	share := a.Shares[0]
	share.ConsumedCapacity = map[resourceapi.QualifiedName]resource.Quantity{
		"spaces": resource.MustParse("1"), "cpu": resource.MustParse("2"), "memory": resource.MustParse("4Gi"), "pods": resource.MustParse("10"), "colour": resource.MustParse("3"),
	}
	with := parameters.Effective{ResourceQuota: corev1.ResourceList{
		"requests.memory": resource.MustParse("1Gi"), "pods": resource.MustParse("20"), "services": resource.MustParse("5"),
	}}
	quota := settings.For(a, share, "ns", with).ResourceQuota
	got := map[string]string{}
	for name, quantity := range quota.Spec.Hard {
		got[string(name)] = quantity.String()
	}
	if want := map[string]string{"requests.cpu": "2", "requests.memory": "1Gi", "pods": "10", "services": "5"}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestFor_quotaIsWhatWasAskedFor(t *testing.T) {
	a := allocation(t)
	if got := settings.For(a, a.Shares[0], "ns", parameters.Effective{}).ResourceQuota; got != nil {
		t.Errorf("without any limit: got %v", got)
	}
	list := corev1.ResourceList{"pods": resource.MustParse("4"), "requests.cpu": resource.MustParse("1500u")}
	quota := settings.For(a, a.Shares[0], "ns", parameters.Effective{ResourceQuota: list}).ResourceQuota
	if quota == nil || quota.Name != "space" || quota.Namespace != "ns" {
		t.Fatalf("got %v, want a ResourceQuota ns/space", quota)
	}
	got := map[string]string{}
	for name, quantity := range quota.Spec.Hard {
		got[string(name)] = quantity.String()
	}
	if want := map[string]string{"pods": "4", "requests.cpu": "2m"}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestFor_recordsWhetherTheSpaceMayHaveSpaces(t *testing.T) {
	a := allocation(t)
	keys := spaceapi.KeysFor(settings.Driver)
	for allowed, want := range map[bool]string{false: "", true: "Allowed"} {
		ns := settings.For(a, a.Shares[0], "ns", parameters.Effective{NestedSpaces: allowed}).Namespace
		if got := ns.Labels[keys.NestedSpaces]; got != want {
			t.Errorf("allowed %t: got label %q, want %q", allowed, got, want)
		}
		if got := ns.Annotations[keys.DeviceClass]; got != "small" {
			t.Errorf("got class %q, want small", got)
		}
	}
}

func TestLimitsAreAsTheAPIServerWillHaveThem(t *testing.T) {
	q := func(s string) corev1.ResourceList { return corev1.ResourceList{"cpu": resource.MustParse(s)} }
	said := []corev1.LimitRangeItem{
		{Type: corev1.LimitTypeContainer, Max: q("2"), Min: q("1500u")},
		{Type: corev1.LimitTypeContainer, Default: q("1")},
		{Type: corev1.LimitTypeContainer, DefaultRequest: q("100m"), Default: q("1"), Max: q("2")},
		{Type: corev1.LimitTypeContainer, Min: q("10m")},
		{Type: corev1.LimitTypePod, Max: q("4")},
	}
	want := []corev1.LimitRangeItem{
		{Type: corev1.LimitTypeContainer, Max: q("2"), Min: q("2m"), Default: q("2"), DefaultRequest: q("2")},
		{Type: corev1.LimitTypeContainer, Default: q("1"), DefaultRequest: q("1")},
		{Type: corev1.LimitTypeContainer, DefaultRequest: q("100m"), Default: q("1"), Max: q("2")},
		{Type: corev1.LimitTypeContainer, Min: q("10m"), DefaultRequest: q("10m")},
		{Type: corev1.LimitTypePod, Max: q("4")},
	}
	got := spaceWith(t, settings, parameters.Effective{LimitRange: said}).LimitRange
	if got.Name != "space" || !equality.Semantic.DeepEqual(got.Spec.Limits, want) {
		t.Errorf("got %s with\n%+v, want\n%+v", got.Name, got.Spec.Limits, want)
	}
	if said[0].Default != nil {
		t.Error("what was said was changed")
	}
	if got := spaceWith(t, settings, parameters.Effective{}).LimitRange; got != nil {
		t.Errorf("without limits: got %v", got)
	}
}

func TestWhomIsolatedPodsReach(t *testing.T) {
	s := settings
	s.Network = spaceapi.NetworkIsolated
	s.APIServer = []blueprint.Destination{
		{CIDR: netip.MustParsePrefix("10.96.0.1/32"), Port: 443},
		{CIDR: netip.MustParsePrefix("fd00::/64")},
	}
	s.DNS = blueprint.DNS{Namespace: "dns", Labels: map[string]string{"app": "dns"}, Port: 5353, CIDRs: []netip.Prefix{netip.MustParsePrefix("169.254.20.10/32")}}
	policy := spaceWith(t, s, parameters.Effective{}).NetworkPolicy
	network := spaceapi.KeysFor(s.Driver).Network
	if got := spaceWith(t, s, parameters.Effective{}).Namespace.Labels[network]; got != "Isolated" {
		t.Errorf("the namespace is labelled %q", got)
	}
	if policy.Name != "space" || !slices.Equal(policy.Spec.PolicyTypes, []networkingv1.PolicyType{"Ingress", "Egress"}) || len(policy.Spec.PodSelector.MatchLabels) != 0 {
		t.Errorf("got %+v", policy)
	}
	each := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}}
	if in := policy.Spec.Ingress; len(in) != 1 || !equality.Semantic.DeepEqual(in[0].From, []networkingv1.NetworkPolicyPeer{each}) {
		t.Errorf("lets in %+v", in)
	}
	var out []string
	for _, rule := range policy.Spec.Egress {
		// Nobody named is everybody.
		if len(rule.To) == 0 {
			t.Fatalf("lets out to anybody: %+v", rule)
		}
		var peers []string
		for _, peer := range rule.To {
			switch {
			case peer.IPBlock != nil:
				peers = append(peers, peer.IPBlock.CIDR)
			case equality.Semantic.DeepEqual(peer, each):
				peers = append(peers, "each other")
			default:
				peers = append(peers, metav1.FormatLabelSelector(peer.NamespaceSelector)+" "+metav1.FormatLabelSelector(peer.PodSelector))
			}
		}
		to := strings.Join(peers, ", ")
		for _, port := range rule.Ports {
			to += " " + string(*port.Protocol) + " " + port.Port.String()
		}
		out = append(out, to)
	}
	want := []string{"each other", "kubernetes.io/metadata.name=dns app=dns, 169.254.20.10/32 UDP 5353 TCP 5353", "10.96.0.1/32 TCP 443", "fd00::/64"}
	if !slices.Equal(out, want) {
		t.Errorf("lets out to %q, want %q", out, want)
	}
	for name, open := range map[string]blueprint.Space{
		"the class opens it":         spaceWith(t, s, parameters.Effective{Network: spaceapi.NetworkOpen}),
		"the installation leaves it": spaceWith(t, blueprint.Settings{Driver: settings.Driver, Network: spaceapi.NetworkOpen}, parameters.Effective{}),
	} {
		if open.NetworkPolicy != nil || open.Namespace.Labels[network] != "" {
			t.Errorf("%s: got %v, labels %v", name, open.NetworkPolicy, open.Namespace.Labels)
		}
	}
}

func TestAnAPIServerThatMovedIsToldFromAPolicyThatSomebodyChanged(t *testing.T) {
	s := settings
	s.Network = spaceapi.NetworkIsolated
	before := spaceWith(t, s, parameters.Effective{}).NetworkPolicy
	s.APIServer = []blueprint.Destination{{CIDR: netip.MustParsePrefix("10.0.0.1/32"), Port: 6443}}
	after := spaceWith(t, s, parameters.Effective{}).NetworkPolicy
	if !blueprint.DiffersInAPIServer(before, after) {
		t.Error("an API server that moved looks like a changed policy")
	}
	opened := after.DeepCopy()
	opened.Spec.Ingress = append(opened.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{})
	emptied := after.DeepCopy()
	emptied.Spec.Egress = nil
	for _, changed := range []*networkingv1.NetworkPolicy{opened, emptied} {
		if blueprint.DiffersInAPIServer(changed, after) {
			t.Errorf("a changed policy looks like an API server that moved: %+v", changed.Spec)
		}
	}
}

func TestCopies(t *testing.T) {
	if space := spaceWith(t, settings, parameters.Effective{}); space.Copies != nil || space.ServiceAccount.ImagePullSecrets != nil || space.DefaultAccount.ImagePullSecrets != nil {
		t.Errorf("by default: %+v", space)
	}
	space := spaceWith(t, settings, parameters.Effective{Copy: &spaceapi.Copy{
		Namespace: "templates", Secrets: []string{"token", "pull"}, ConfigMaps: []string{"config"}, ImagePullSecrets: []string{"pull", "more"},
	}})
	var names []string
	for _, c := range space.Copies {
		if c.From != "templates" || c.Namespace != space.Namespace.Name {
			t.Errorf("copies %s from %s to %s", c.Name, c.From, c.Namespace)
		}
		kind := "configmap "
		if c.Secret {
			kind = "secret "
		}
		names = append(names, kind+c.Name)
	}
	if want := []string{"secret more", "secret pull", "secret token", "configmap config"}; !slices.Equal(names, want) {
		t.Errorf("copies %q, want %q", names, want)
	}
	pull := []corev1.LocalObjectReference{{Name: "more"}, {Name: "pull"}}
	for _, account := range []*corev1.ServiceAccount{space.ServiceAccount, space.DefaultAccount} {
		if !slices.Equal(account.ImagePullSecrets, pull) {
			t.Errorf("ServiceAccount %s pulls images with %v", account.Name, account.ImagePullSecrets)
		}
	}
	meta := metav1.ObjectMeta{
		Name: "original", Namespace: "templates", UID: "uid", ResourceVersion: "1", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"a": "b"},
		OwnerReferences: []metav1.OwnerReference{{Name: "owner"}}, Finalizers: []string{"x/y"},
	}
	data := map[string][]byte{"k": []byte("v")}
	secret := space.Copies[0].SecretOf(&corev1.Secret{ObjectMeta: meta, Type: "example.com/x", Data: data})
	if want := (&corev1.Secret{ObjectMeta: space.Copies[0].ObjectMeta, Type: "example.com/x", Data: data}); !equality.Semantic.DeepEqual(secret, want) {
		t.Errorf("the copy of a Secret is %+v", secret)
	}
	config := space.Copies[3].ConfigMapOf(&corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"k": "v"}, BinaryData: data})
	if want := (&corev1.ConfigMap{ObjectMeta: space.Copies[3].ObjectMeta, Data: map[string]string{"k": "v"}, BinaryData: data}); !equality.Semantic.DeepEqual(config, want) {
		t.Errorf("the copy of a ConfigMap is %+v", config)
	}
}

func TestRetentionIsOnTheNamespace(t *testing.T) {
	key := spaceapi.KeysFor(settings.Driver).Retain
	if got := spaceWith(t, settings, parameters.Effective{Retain: 90 * time.Minute}).Namespace.Annotations[key]; got != "1h30m0s" {
		t.Errorf("got %q", got)
	}
}
