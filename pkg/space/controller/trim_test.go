// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

// trimmed is what of an object gets into the cache.
func trimmed[T any](t *testing.T, by *trimmer, obj T) T {
	t.Helper()
	out, err := by.trim(obj)
	if err != nil {
		t.Fatal(err)
	}
	return out.(T)
}

func TestASpaceIsRecognizedByWhatIsCachedOfIt(t *testing.T) {
	c := newController(t)
	c.Settings.Network = spaceapi.NetworkIsolated
	with := parameters.Effective{
		ResourceQuota: corev1.ResourceList{"pods": resource.MustParse("5")},
		LimitRange:    []corev1.LimitRangeItem{{Type: corev1.LimitTypePod, Max: corev1.ResourceList{"cpu": resource.MustParse("1")}}},
	}
	cached, space := c.spaceWith(with), c.spaceWith(with)
	by := &trimmer{}
	c.cache(c.accountInformer, trimmed(t, by, cached.ServiceAccount))
	c.cache(c.bindingInformer, trimmed(t, by, cached.RoleBinding))
	c.cache(c.quotaInformer, trimmed(t, by, cached.ResourceQuota))
	c.cache(c.limitsInformer, trimmed(t, by, cached.LimitRange))
	c.cache(c.policyInformer, trimmed(t, by, cached.NetworkPolicy))
	ns, err := trimNamespace(cached.Namespace.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	c.cached(ns.(*corev1.Namespace))
	if !equality.Semantic.DeepEqual(ns, cached.Namespace) {
		t.Errorf("of the namespace there is %+v, want %+v", ns, cached.Namespace)
	}

	claim := claimOf("a")
	claim.Status.ReservedFor = nil
	done, err := c.provision(t.Context(), c.usersOf(claim, allocationOf(t, claim)), space, true)
	if err != nil || len(done.made) != 0 {
		t.Errorf("made %v, error %v, want nothing to do", done.made, err)
	}
	if did := c.api.Actions(); len(did) != 0 {
		t.Errorf("the API server was asked %v, want nothing", did)
	}
}

func TestAQuotaThatIsNotInForceIsPutInForceWithoutLosingAnything(t *testing.T) {
	c := newController(t)
	space := c.spaceWith(parameters.Effective{ResourceQuota: corev1.ResourceList{"pods": resource.MustParse("5")}})
	live := space.ResourceQuota.DeepCopy()
	live.ResourceVersion, live.Finalizers = "7", []string{"example.com/theirs"}
	c.live(live)
	c.cache(c.quotaInformer, trimmed(t, &trimmer{}, live.DeepCopy()))
	if err := c.putQuotaInForce(t.Context(), space.ResourceQuota, false); err != nil {
		t.Fatal(err)
	}
	got, err := c.api.CoreV1().ResourceQuotas(live.Namespace).Get(t.Context(), live.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Labels, live.Labels) || !reflect.DeepEqual(got.Annotations, live.Annotations) || !reflect.DeepEqual(got.Finalizers, live.Finalizers) {
		t.Errorf("the quota is now %+v, want as before %+v", got.ObjectMeta, live.ObjectMeta)
	}
	if !equality.Semantic.DeepEqual(got.Status.Hard, live.Spec.Hard) {
		t.Errorf("what holds is %v, want %v", got.Status.Hard, live.Spec.Hard)
	}
}

func TestWhatIsTheSameInAllSpacesIsCachedOnce(t *testing.T) {
	by := &trimmer{}
	quota := func(pods string) *corev1.ResourceQuota {
		hard := corev1.ResourceList{"pods": resource.MustParse(pods)}
		return trimmed(t, by, &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: hard}, Status: corev1.ResourceQuotaStatus{Hard: hard.DeepCopy()}})
	}
	of := func(list corev1.ResourceList) uintptr { return reflect.ValueOf(list).Pointer() }
	a, b, other := quota("5"), quota("5"), quota("6")
	if of(a.Spec.Hard) != of(b.Spec.Hard) || of(a.Spec.Hard) != of(a.Status.Hard) {
		t.Error("two quotas that are the same are in memory twice")
	}
	if equality.Semantic.DeepEqual(a.Spec, other.Spec) {
		t.Errorf("two quotas that differ are %v and %v", a.Spec, other.Spec)
	}
	for i := range 2 * maxSpecs {
		quota(fmt.Sprint(1000 + i))
	}
	if n := len(by.quotas.known); n > maxSpecs {
		t.Errorf("%d quotas are remembered, want at most %d", n, maxSpecs)
	}
}

func TestACachedRoleBindingSaysWhatItGives(t *testing.T) {
	want := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "space", Finalizers: []string{"example.com/theirs"}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "ns", Name: "space"}, {Kind: "User", APIGroup: rbacv1.GroupName, Name: "jane"}},
	}
	if got := trimmed(t, &trimmer{}, want.DeepCopy()); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
