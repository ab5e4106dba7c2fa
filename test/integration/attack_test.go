// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/flowcontrol"

	corev1 "k8s.io/api/core/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	// attackVariable sets how long the attack lasts.
	attackVariable = "SPACE_ATTACK_DURATION"
	// chartLimit is the memory limit that the chart sets for the controller, in bytes.
	chartLimit = 512 << 20
	// The first large writes have no limit. The others have one, per second: etcd stores 8 GiB of them
	// until the API server compacts it.
	firstLargeWrites, largeWrites = 500, 8
)

// attackers repeat requests until ctx is done, and count those that succeed.
type attackers struct {
	ctx     context.Context
	limiter flowcontrol.RateLimiter
	running sync.WaitGroup
	mutex   sync.Mutex
	counts  map[string]int
}

// repeat repeats an attack without a pause. Several may have the same name.
func (a *attackers) repeat(what string, attack func(n int) error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.counts[what] += 0
	a.running.Go(func() {
		for n := 0; a.ctx.Err() == nil; n++ {
			if attack(n) == nil {
				a.mutex.Lock()
				a.counts[what]++
				a.mutex.Unlock()
			}
		}
	})
}

// repeatLarge repeats an attack that writes objects of up to 1.5 MiB.
func (a *attackers) repeatLarge(what string, attack func(n int) error) {
	a.repeat(what, func(n int) error {
		if err := a.limiter.Wait(a.ctx); err != nil {
			return err
		}
		return attack(n)
	})
}

// TestAttack_isBounded has an author of claims, and tenants in their spaces, who write the largest
// objects and make the controller restore their spaces, without a pause. The controller must neither
// exit nor use more memory than the chart's limit, and must revoke the tokens of others meanwhile.
func TestAttack_isBounded(t *testing.T) {
	const driver, claims = "attack.example.com", 8
	duration := 30 * time.Second
	if text := os.Getenv(attackVariable); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", attackVariable, err)
		}
	}
	i := install(t, driver)
	i.start(t)
	ns, other := env.Namespace(t), env.Namespace(t)
	env.CreateClaim(t, other, framework.NewClaim("claim"))

	env.Kubectl(t, "create", "serviceaccount", "attacker", "--namespace="+ns)
	client := env.As(t, ns, "attacker")
	grant := func(namespace string) {
		t.Helper()
		// A token of the space would become invalid with its ServiceAccount.
		env.Kubectl(t, "create", "rolebinding", "attacker", "--namespace="+namespace, "--clusterrole=edit", "--serviceaccount="+ns+":attacker")
	}
	grant(ns)
	var spaces []string
	for n := range claims {
		if _, err := env.Client.ResourceV1().ResourceClaims(ns).Create(t.Context(), framework.LargestClaim(claimName(n), resourceapi.DeviceConfigMaxSize*(framework.LargestConfig+200)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		allocateTo(t, driver, ns, claimName(n), func(claim *resourceapi.ResourceClaim) {
			claim.Status.Allocation.Devices.Results = claim.Status.Allocation.Devices.Results[:1]
		})
		spaces = append(spaces, readySpace(t, ns, claimName(n)))
		grant(spaces[n])
	}

	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	a := &attackers{ctx: ctx, limiter: flowcontrol.NewTokenBucketRateLimiter(largeWrites, firstLargeWrites), counts: map[string]int{}}
	a.writeClaims(client, ns)
	for n, space := range spaces {
		switch n % 4 {
		case 0:
			a.deleteServiceAccount(client, space)
		case 1:
			a.recreateServiceAccount(client, space)
		case 2:
			a.setFinalizers(client, space)
		case 3:
			a.writeLargeObjects(client, space)
		}
	}
	var times []time.Duration
	for ctx.Err() == nil {
		space, took := measureRevocation(t, driver, other)
		removeBlocker(t, env, space)
		times = append(times, took)
	}
	a.running.Wait()
	logTimes(t, times)
	peak, err := i.controller.PeakMemory()
	if err != nil {
		t.Fatalf("read the memory of the controller, which may have exited: %v", err)
	}
	t.Logf("in %s: %v; the controller used at most %d MiB", duration, a.counts, peak>>20)
	if peak > chartLimit {
		t.Errorf("the controller used %d MiB at its peak, want at most %d", peak>>20, chartLimit>>20)
	}
	for what, count := range a.counts {
		// On a busy machine, the time of make test may not suffice for all of them.
		if count == 0 && os.Getenv(attackVariable) != "" {
			t.Errorf("no attempt to %s succeeded", what)
		}
	}

	for n, space := range spaces {
		if _, err := env.Client.CoreV1().ServiceAccounts(space).Patch(t.Context(), spaceapi.ServiceAccountName, types.MergePatchType, finalizersPatch(), metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
		_, _ = env.Client.NetworkingV1().NetworkPolicies(space).Patch(t.Context(), spaceapi.ObjectName, types.MergePatchType, finalizersPatch(), metav1.PatchOptions{})
		deallocate(t, env, ns, claimName(n))
	}
	deallocate(t, env, other, "claim")
	awaitNoNamespaces(t, driver)
}

// writeClaims changes claims that have spaces, and creates and deletes others.
func (a *attackers) writeClaims(client kubernetes.Interface, ns string) {
	claims := client.ResourceV1().ResourceClaims(ns)
	a.repeatLarge("change a claim with a space", func(n int) error {
		note := strings.Repeat(string(rune('a'+n%26)), 255<<10)
		_, err := claims.Patch(a.ctx, claimName(n%4), types.MergePatchType, []byte(set("annotations", "example.com/note", note)), metav1.PatchOptions{})
		return err
	})
	const kept = 20
	a.repeatLarge("create a claim", func(n int) error {
		name := claimName(100 + n)
		_, err := claims.Create(a.ctx, framework.LargestClaim(name, 0), metav1.CreateOptions{})
		if n >= kept {
			_ = claims.Delete(a.ctx, claimName(100+n-kept), metav1.DeleteOptions{})
		}
		return err
	})
}

func (a *attackers) deleteServiceAccount(client kubernetes.Interface, space string) {
	a.repeat("delete a ServiceAccount", func(int) error {
		return client.CoreV1().ServiceAccounts(space).Delete(a.ctx, spaceapi.ServiceAccountName, metav1.DeleteOptions{})
	})
}

func (a *attackers) recreateServiceAccount(client kubernetes.Interface, space string) {
	accounts := client.CoreV1().ServiceAccounts(space)
	a.repeat("recreate a ServiceAccount", func(int) error {
		_ = accounts.Delete(a.ctx, spaceapi.ServiceAccountName, metav1.DeleteOptions{})
		_, err := accounts.Create(a.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: spaceapi.ServiceAccountName}}, metav1.CreateOptions{})
		return err
	})
}

func (a *attackers) setFinalizers(client kubernetes.Interface, space string) {
	accounts := client.CoreV1().ServiceAccounts(space)
	a.repeatLarge("delete a ServiceAccount that has finalizers", func(int) error {
		if _, err := accounts.Patch(a.ctx, spaceapi.ServiceAccountName, types.MergePatchType, finalizersPatch(manyFinalizers()...), metav1.PatchOptions{}); err != nil {
			return err
		}
		_ = accounts.Delete(a.ctx, spaceapi.ServiceAccountName, metav1.DeleteOptions{})
		_, err := accounts.Patch(a.ctx, spaceapi.ServiceAccountName, types.MergePatchType, finalizersPatch(), metav1.PatchOptions{})
		return err
	})
}

func (a *attackers) writeLargeObjects(client kubernetes.Interface, space string) {
	accounts, policies := client.CoreV1().ServiceAccounts(space), client.NetworkingV1().NetworkPolicies(space)
	a.repeatLarge("change a ServiceAccount that has finalizers", func(n int) error {
		finalizers := manyFinalizers()
		finalizers = finalizers[:len(finalizers)-n%2]
		_, err := accounts.Patch(a.ctx, spaceapi.ServiceAccountName, types.MergePatchType, finalizersPatch(finalizers...), metav1.PatchOptions{})
		return err
	})
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: spaceapi.ObjectName, Finalizers: manyFinalizers()}}
	policy.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	a.repeatLarge("recreate a NetworkPolicy", func(int) error {
		_, err := policies.Create(a.ctx, policy, metav1.CreateOptions{})
		_, _ = policies.Patch(a.ctx, policy.Name, types.MergePatchType, finalizersPatch(), metav1.PatchOptions{})
		_ = policies.Delete(a.ctx, policy.Name, metav1.DeleteOptions{})
		return err
	})
}

// finalizersPatch is a merge patch that sets the finalizers of an object.
func finalizersPatch(finalizers ...string) []byte {
	return []byte(framework.JSON(map[string]any{"metadata": map[string]any{"finalizers": finalizers}}))
}
