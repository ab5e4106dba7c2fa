// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

// trimmed is what of an object gets into the cache.
func trimmed[T any](t *testing.T, by cache.TransformFunc, obj T) T {
	t.Helper()
	out, err := by(obj)
	if err != nil {
		t.Fatal(err)
	}
	return unpacked(out).(T)
}

// put has an object in the cache of its kind as an informer would have it there.
func (c *cluster) put(obj metav1.Object) {
	c.t.Helper()
	for _, informer := range c.kinds() {
		if reflect.TypeOf(c.empty(informer)) == reflect.TypeOf(obj) {
			cached, err := c.transformOf(informer)(obj)
			if err != nil {
				c.t.Fatal(err)
			}
			c.cache(informer, cached)
			return
		}
	}
	c.t.Fatalf("there is no cache of %T", obj)
}

func TestASpaceIsRecognizedByWhatIsCachedOfIt(t *testing.T) {
	c := newController(t)
	c.Settings.Network = spaceapi.NetworkIsolated
	with := parameters.Effective{
		ResourceQuota: corev1.ResourceList{"pods": resource.MustParse("5")},
		LimitRange:    []corev1.LimitRangeItem{{Type: corev1.LimitTypePod, Max: corev1.ResourceList{"cpu": resource.MustParse("1")}}},
		Retain:        time.Hour,
	}
	cached, space := c.spaceWith(with), c.spaceWith(with)
	cached.Namespace.UID, cached.Namespace.CreationTimestamp = "namespace-uid", metav1.NewTime(time.Unix(1000, 0))
	for _, obj := range []metav1.Object{cached.Namespace, cached.ServiceAccount, cached.RoleBinding, cached.ResourceQuota, cached.LimitRange, cached.NetworkPolicy} {
		c.put(obj)
	}
	claim := claimOf("a")
	claim.Status.ReservedFor = nil
	recorded, err := c.recordedFor(key)
	if err != nil || len(recorded) != 1 || !allocationOf(t, claim).Owns(recorded[0], c.keys) || retention(recorded[0], c.keys) != time.Hour ||
		!recorded[0].CreationTimestamp.Equal(&cached.Namespace.CreationTimestamp) {
		t.Errorf("got %+v, error %v, want %+v", recorded, err, cached.Namespace)
	}
	done, err := c.provision(t.Context(), c.usersOf(claim, allocationOf(t, claim)), space, true)
	if err != nil || len(done.made) != 0 {
		t.Errorf("made %v, error %v, want nothing to do", done.made, err)
	}
	if did := c.api.Actions(); len(did) != 0 {
		t.Errorf("the API server was asked %v, want nothing", did)
	}
}

func TestWhyANamespaceDoesNotGoIsCached(t *testing.T) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns", DeletionTimestamp: ptr.To(metav1.NewTime(time.Unix(1000, 0)))}}
	ns.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceTerminating, Conditions: []corev1.NamespaceCondition{
		{Type: corev1.NamespaceFinalizersRemaining, Status: corev1.ConditionTrue, Message: "Some content has a finalizer"},
	}}
	got := trimmed(t, trimNamespace(driver), ns)
	if !equality.Semantic.DeepEqual(got.Status, ns.Status) || !got.DeletionTimestamp.Equal(ns.DeletionTimestamp) {
		t.Errorf("got %+v, want %+v", got, ns)
	}
}

func TestAQuotaThatIsNotInForceIsPutInForceWithoutLosingAnything(t *testing.T) {
	c := newController(t)
	space := c.spaceWith(parameters.Effective{ResourceQuota: corev1.ResourceList{"pods": resource.MustParse("5")}})
	live := space.ResourceQuota.DeepCopy()
	live.ResourceVersion, live.Finalizers = "7", []string{"example.com/theirs"}
	c.live(live)
	c.put(live.DeepCopy())
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
	c := newController(t)
	c.Settings.Network = spaceapi.NetworkIsolated
	one, two := c.standing(1), c.standing(2)
	for _, informer := range c.kinds() {
		a, b := c.read(informer, one[informer]), c.read(informer, two[informer])
		var same bool
		switch a := a.(type) {
		case *settledClaim:
			same = a.shared == b.(*settledClaim).shared
		case *packedBinding:
			same = a.rest == b.(*packedBinding).rest
		case *packedNamespace:
			same = a.rest == b.(*packedNamespace).rest
		default:
			same = reflect.ValueOf(a).Elem().FieldByName("rest").Equal(reflect.ValueOf(b).Elem().FieldByName("rest"))
		}
		if !same {
			t.Errorf("what two spaces have in common of a %T is in memory twice", c.empty(informer))
		}
	}
}

func TestACachedRoleBindingSaysWhatItGives(t *testing.T) {
	want := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "space", UID: "uid", ResourceVersion: "7", Finalizers: []string{"example.com/theirs"}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "ns", Name: "space"}, {Kind: "User", APIGroup: rbacv1.GroupName, Name: "jane"},
			{Kind: "ServiceAccount", Namespace: "another", Name: "space"}},
	}
	for _, namespace := range []string{"another", here} {
		want.Subjects[2].Namespace = namespace
		if got := trimmed(t, trimContents, want.DeepCopy()); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestOfAnotherDriversClaimItIsCachedThatItExists(t *testing.T) {
	claim := templated(1, "other.example.com")
	claim.ResourceVersion = "7"
	want := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: "7"}}
	if got := trimmed(t, trimClaim(driver), claim); !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
