// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"sync"
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

// candidate prepares one of several controllers that elect a leader.
func candidate(t *testing.T, driver string) *installation {
	t.Helper()
	return install(t, driver, "--leader-elect=true", "--leader-elect-resource-name="+driver,
		"--leader-elect-lease-duration=12s", "--leader-elect-renew-deadline=10s", "--leader-elect-retry-period=1s")
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

// atNamespace calls strike when the controller creates its n-th namespace.
func atNamespace(n int, strike func(carryOut func()) faults.Answer) faults.Intercept {
	var mutex sync.Mutex
	return func(call faults.Call, carryOut func()) faults.Answer {
		if call.Verb != "create" || call.Resource != "namespaces" {
			return faults.Real
		}
		mutex.Lock()
		n--
		now := n == 0
		mutex.Unlock()
		if now {
			return strike(carryOut)
		}
		return faults.Real
	}
}

func TestLeaderElection_anotherCandidateTakesOver(t *testing.T) {
	const driver = "killed-leader.example.com"
	ns := env.Namespace(t)
	leader, standby := candidate(t, driver), candidate(t, driver)
	leader.start(t)
	former := awaitLeader(t, driver, "")
	standby.start(t)

	killed := make(chan struct{})
	var at time.Time
	leader.proxy.Intercept(atNamespace(8, func(func()) faults.Answer {
		leader.kill(t)
		at = time.Now()
		close(killed)
		return faults.Broken
	}))
	for i := range 20 {
		env.CreateClaim(t, ns, framework.NewClaim(claimName(i)))
		allocateTo(t, driver, ns, claimName(i))
	}
	await(t, "the leader is killed", killed)
	awaitLeader(t, driver, former)
	led := time.Since(at)
	awaitExact(t, driver)
	t.Logf("another one led after %.1f s, and had done all the work after %.1f s", led.Seconds(), time.Since(at).Seconds())
	deallocateClaims(t, driver, ns, 20)
}

func TestLeaderElection_aResumedLeaderExits(t *testing.T) {
	const driver = "paused-leader.example.com"
	ns := env.Namespace(t)
	leader, standby := candidate(t, driver), candidate(t, driver)
	leader.start(t)
	former := awaitLeader(t, driver, "")
	standby.start(t)
	for i := range 10 {
		env.CreateClaim(t, ns, framework.NewClaim(claimName(i)))
		allocateTo(t, driver, ns, claimName(i))
	}
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
	t.Cleanup(sync.OnceFunc(func() {
		// A stopped process cannot handle SIGTERM.
		if !leader.controller.Ended() {
			if err := leader.controller.Signal(syscall.SIGCONT); err != nil {
				t.Error(err)
			}
		}
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
	ended := make(chan struct{})
	var exit error
	go func() {
		exit = leader.controller.Wait()
		close(ended)
	}()
	await(t, "the former leader exits", ended)
	if log := leader.controller.Log.String(); exit == nil || !strings.Contains(log, "leader election lost") {
		t.Errorf("the former leader exited with %v, and should log that it lost the lease", exit)
	}
	awaitExact(t, driver)
	if after := livingNamespaces(t, driver); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the living spaces were %v, are now %v", before, after)
	}
	if holder := awaitLeader(t, driver, former); holder != current {
		t.Errorf("%s leads, want %s as before", holder, current)
	}
	deallocateClaims(t, driver, ns, 11)
}

// deallocateClaims deallocates claims and waits until nothing is left of their spaces.
func deallocateClaims(t *testing.T, driver, namespace string, n int) {
	t.Helper()
	for i := range n {
		deallocate(t, env, namespace, claimName(i))
	}
	awaitNothing(t, driver)
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
