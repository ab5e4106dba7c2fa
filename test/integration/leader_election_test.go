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

// startCandidates starts a leader and another candidate.
func startCandidates(t *testing.T, driver string) (leader *installation, identity string) {
	t.Helper()
	start := func() *installation {
		i := install(t, driver, "--leader-elect=true", "--leader-elect-resource-name="+driver,
			"--leader-elect-lease-duration=24s", "--leader-elect-renew-deadline=20s", "--leader-elect-retry-period=1s")
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

// awaitLeader waits until another candidate than the previous leader holds the lease.
func awaitLeader(t *testing.T, driver, previous string) string {
	t.Helper()
	lease := framework.AwaitAny(t, env.Client.CoordinationV1().RESTClient(), "leases", framework.DriverNamespace,
		framework.That("held by another candidate than "+previous, func(l *coordinationv1.Lease) bool {
			holder := ptr.Deref(l.Spec.HolderIdentity, "")
			return l.Name == driver && holder != "" && holder != previous
		}))
	return *lease.Spec.HolderIdentity
}

// atNamespace calls answer for the request that creates the controller's n-th namespace.
func atNamespace(n int32, answer func(forward func()) faults.Answer) faults.Intercept {
	var created atomic.Int32
	return func(call faults.Call, forward func()) faults.Answer {
		if call.Verb == "create" && call.Resource == "namespaces" && created.Add(1) == n {
			return answer(forward)
		}
		return faults.Forwarded
	}
}

func TestLeaderElection_anotherCandidateTakesOver(t *testing.T) {
	const driver = "killed-leader.example.com"
	ns := env.Namespace(t)
	leader, previous := startCandidates(t, driver)

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
	awaitLeader(t, driver, previous)
	elected := time.Since(at)
	awaitConsistent(t, driver)
	t.Logf("another candidate was elected after %.1f s, and all claims had their spaces after %.1f s", elected.Seconds(), time.Since(at).Seconds())
	deallocateAll(t, driver, ns)
}

func TestLeaderElection_aResumedLeaderExits(t *testing.T) {
	const driver = "paused-leader.example.com"
	ns := env.Namespace(t)
	leader, previous := startCandidates(t, driver)
	allocateClaims(t, driver, ns, 10)
	awaitConsistent(t, driver)

	// The request of the paused leader arrives when its cache is stale.
	paused, resume, late := make(chan struct{}), make(chan struct{}), make(chan struct{})
	leader.proxy.Intercept(atNamespace(1, func(forward func()) faults.Answer {
		if err := leader.controller.Signal(syscall.SIGSTOP); err != nil {
			t.Error(err)
		}
		close(paused)
		<-resume
		forward()
		close(late)
		return faults.Forwarded
	}))
	env.CreateClaim(t, ns, framework.NewClaim(claimName(10)))
	allocateTo(t, driver, ns, claimName(10))
	await(t, "the leader is paused", paused)
	current := awaitLeader(t, driver, previous)
	for i := range 11 {
		if i%2 == 0 {
			deallocate(t, env, ns, claimName(i))
		}
		if i%4 == 0 {
			allocateTo(t, driver, ns, claimName(i))
		}
	}
	// The claim at which the leader was paused is deallocated.
	awaitConsistent(t, driver)
	before := activeNamespaces(t, driver)

	close(resume)
	await(t, "the request from before the pause has arrived", late)
	if err := leader.controller.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	framework.AwaitLog(t, leader.controller.Log, regexp.MustCompile("leader election lost"))
	if err := leader.controller.Wait(); err == nil {
		t.Error("the previous leader exits without an error")
	}
	awaitConsistent(t, driver)
	if after := activeNamespaces(t, driver); !maps.Equal(after, before) {
		t.Errorf("the active namespaces were %v, and are now %v", before, after)
	}
	if holder := awaitLeader(t, driver, previous); holder != current {
		t.Errorf("%s leads, want %s as before", holder, current)
	}
	deallocateAll(t, driver, ns)
}

// activeNamespaces returns the UIDs of the driver's namespaces that are not Terminating.
func activeNamespaces(t *testing.T, driver string) map[string]types.UID {
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
