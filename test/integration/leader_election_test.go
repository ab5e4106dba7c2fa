// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"maps"
	"regexp"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// elect starts a leader and another candidate.
func elect(t *testing.T, driver string) (leader *installation, identity string) {
	t.Helper()
	start := func() *installation {
		i := install(t, driver, "--leader-elect=true", "--leader-elect-resource-name="+driver,
			"--leader-elect-lease-duration=12s", "--leader-elect-renew-deadline=10s", "--leader-elect-retry-period=1s")
		i.start(t)
		return i
	}
	leader = start()
	identity = awaitLeader(t, driver, "")
	start()
	return leader, identity
}

// allocateClaims creates n claims with allocations.
func allocateClaims(t *testing.T, driver, namespace string, n int) {
	t.Helper()
	for i := range n {
		env.CreateClaim(t, namespace, framework.NewClaim(claimName(i)))
		allocateTo(t, driver, namespace, claimName(i))
	}
}

// awaitLeader waits until another candidate than the former leader holds the lease.
func awaitLeader(t *testing.T, driver, former string) string {
	t.Helper()
	lease := framework.AwaitAny(t, env.Client.CoordinationV1().RESTClient(), "leases", framework.DriverNamespace,
		framework.That("held by another one than "+former, func(l *coordinationv1.Lease) bool {
			holder := ptr.Deref(l.Spec.HolderIdentity, "")
			return l.Name == driver && holder != "" && holder != former
		}))
	return *lease.Spec.HolderIdentity
}

// atNamespace calls answer when the controller creates its n-th namespace.
func atNamespace(n int32, answer func(carryOut func()) faults.Answer) faults.Intercept {
	var created atomic.Int32
	return func(call faults.Call, carryOut func()) faults.Answer {
		if call.Verb == "create" && call.Resource == "namespaces" && created.Add(1) == n {
			return answer(carryOut)
		}
		return faults.Real
	}
}

func TestLeaderElection_anotherCandidateTakesOver(t *testing.T) {
	const driver = "killed-leader.example.com"
	ns := env.Namespace(t)
	leader, former := elect(t, driver)

	killed := make(chan struct{})
	var at time.Time
	leader.proxy.Intercept(atNamespace(8, func(func()) faults.Answer {
		leader.kill(t)
		at = time.Now()
		close(killed)
		return faults.Broken
	}))
	allocateClaims(t, driver, ns, 20)
	await(t, "the leader is killed", killed)
	awaitLeader(t, driver, former)
	led := time.Since(at)
	awaitExact(t, driver)
	t.Logf("another one led after %.1f s, and had done all the work after %.1f s", led.Seconds(), time.Since(at).Seconds())
	deallocateAll(t, driver, ns)
}

func TestLeaderElection_aResumedLeaderExits(t *testing.T) {
	const driver = "paused-leader.example.com"
	ns := env.Namespace(t)
	leader, former := elect(t, driver)
	allocateClaims(t, driver, ns, 10)
	awaitExact(t, driver)

	// What it was about to write arrives when it is out of date.
	paused, wake, late := make(chan struct{}), make(chan struct{}), make(chan struct{})
	leader.proxy.Intercept(atNamespace(1, func(carryOut func()) faults.Answer {
		if err := leader.controller.Signal(syscall.SIGSTOP); err != nil {
			t.Error(err)
		}
		close(paused)
		<-wake
		carryOut()
		close(late)
		return faults.Real
	}))
	env.CreateClaim(t, ns, framework.NewClaim(claimName(10)))
	allocateTo(t, driver, ns, claimName(10))
	await(t, "the leader is paused", paused)
	current := awaitLeader(t, driver, former)
	for i := range 11 {
		if i%2 == 0 {
			deallocate(t, env, ns, claimName(i))
		}
		if i%4 == 0 {
			allocateTo(t, driver, ns, claimName(i))
		}
	}
	// The claim that the leader was paused at has no allocation any more.
	awaitExact(t, driver)
	before := livingNamespaces(t, driver)

	close(wake)
	await(t, "the write from before the pause has arrived", late)
	if err := leader.controller.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	framework.AwaitLog(t, leader.controller.Log, regexp.MustCompile("leader election lost"))
	if err := leader.controller.Wait(); err == nil {
		t.Error("the former leader exits without an error")
	}
	awaitExact(t, driver)
	if after := livingNamespaces(t, driver); !maps.Equal(after, before) {
		t.Errorf("the living spaces were %v, are now %v", before, after)
	}
	if holder := awaitLeader(t, driver, former); holder != current {
		t.Errorf("%s leads, want %s as before", holder, current)
	}
	deallocateAll(t, driver, ns)
}

// livingNamespaces returns the UIDs of the driver's namespaces that are not Terminating.
func livingNamespaces(t *testing.T, driver string) map[string]types.UID {
	t.Helper()
	list, err := env.Client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{LabelSelector: spaceapi.KeysFor(driver).ClaimUID})
	if err != nil {
		t.Fatal(err)
	}
	living := map[string]types.UID{}
	for _, ns := range list.Items {
		if ns.Status.Phase != corev1.NamespaceTerminating {
			living[ns.Name] = ns.UID
		}
	}
	return living
}
