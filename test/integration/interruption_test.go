// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// stage is a part of the lifecycle of a space, as events name it.
type stage string

const (
	provisioning   stage = "provisioning"
	deprovisioning stage = "deprovisioning"
)

// write is the first request of the controller of a kind in a stage that changes something.
type write struct {
	stage stage
	call  faults.Call
}

func (p write) String() string { return fmt.Sprintf("%s: %s", p.stage, p.call) }

// requiredWrites are those without which a space cannot be provisioned and deprovisioned. The test
// observes the others.
var requiredWrites = []string{
	"provisioning: create namespaces",
	"provisioning: create serviceaccounts space",
	"provisioning: create rolebindings space",
	"provisioning: update resourceclaims/status claim",
	"deprovisioning: delete rolebindings space",
	"deprovisioning: delete serviceaccounts space",
	"deprovisioning: delete namespaces",
}

// newWrite returns a request as a write, independent of the claim, unless it is only a read or does
// not concern a space.
func newWrite(s stage, call faults.Call) (w write, ok bool) {
	switch call.Resource {
	case "leases", "events", "resourceslices":
		return write{}, false
	case "namespaces":
		// The name depends on the allocation.
		call.Name = ""
	}
	call.Namespace = ""
	return write{s, call}, call.Writes()
}

// fault is what happens to a write.
type fault struct {
	name string
	// kills is set if the controller is killed and restarted.
	kills bool
	// changesClaim is set if the claim is deallocated, or allocated again, before the restart.
	changesClaim bool
	answer       func(forward func(), kill func()) faults.Answer
}

var allFaults = []fault{
	{name: "killed before the request", kills: true, answer: func(_, kill func()) faults.Answer {
		kill()
		return faults.Broken
	}},
	{name: "killed after the request", kills: true, answer: killAfter},
	{name: "killed after the request, and the claim changes", kills: true, changesClaim: true, answer: killAfter},
	{name: "failed", answer: func(_, _ func()) faults.Answer { return faults.Failed }},
	{name: "the response is lost", answer: func(forward, _ func()) faults.Answer {
		forward()
		return faults.Broken
	}},
}

func killAfter(forward, kill func()) faults.Answer {
	forward()
	kill()
	return faults.Broken
}

func TestController_resumesAfterEachInterruptedWrite(t *testing.T) {
	retention := framework.WithClassConfig(`"retention":{"period":"1s"}`)
	writes := observeWrites(t, "life.example.com")
	for _, want := range requiredWrites {
		if !slices.ContainsFunc(writes, func(p write) bool { return p.String() == want }) {
			t.Errorf("the controller's writes are %q, want also %q", writes, want)
		}
	}
	t.Logf("the controller's writes: %q", writes)
	// A retained namespace is deprovisioned in two steps.
	late := slices.DeleteFunc(observeWrites(t, "late-life.example.com", retention), func(p write) bool {
		return p.stage != deprovisioning || p.call.Resource != "namespaces"
	})
	t.Logf("its writes to a retained namespace: %q", late)

	var drivers []string
	at := func(t *testing.T, p write, changes ...func(*resourceapi.ResourceClaim)) {
		for _, f := range allFaults {
			driver := fmt.Sprintf("interrupted-%d.example.com", len(drivers))
			drivers = append(drivers, driver)
			t.Run(p.String()+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				testInterruption(t, driver, p, f, changes...)
			})
		}
	}
	t.Run("a space that is deleted", func(t *testing.T) {
		for _, p := range writes {
			at(t, p)
		}
	})
	t.Run("a space that is retained", func(t *testing.T) {
		for _, p := range late {
			at(t, p, retention)
		}
	})
	if t.Failed() {
		return
	}
	// Kubernetes deletes all namespaces meanwhile.
	for _, driver := range drivers {
		awaitNoNamespaces(t, driver)
	}
}

// observeWrites returns the controller's writes while it provisions and deprovisions a space.
func observeWrites(t *testing.T, driver string, changes ...func(*resourceapi.ResourceClaim)) []write {
	t.Helper()
	var mutex sync.Mutex
	var writes []write
	now := provisioning
	i := install(t, driver)
	i.proxy.Intercept(func(call faults.Call, _ func()) faults.Answer {
		mutex.Lock()
		defer mutex.Unlock()
		if p, ok := newWrite(now, call); ok && !slices.Contains(writes, p) {
			writes = append(writes, p)
		}
		return faults.Forwarded
	})
	ns := env.Namespace(t)
	i.start(t)
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	allocateTo(t, driver, ns, "claim", changes...)
	awaitConsistent(t, driver)
	mutex.Lock()
	now = deprovisioning
	mutex.Unlock()
	deallocate(t, env, ns, "claim")
	awaitNoNamespaces(t, driver)
	mutex.Lock()
	defer mutex.Unlock()
	return writes
}

// testInterruption provisions and deprovisions a space, with a fault at one write.
func testInterruption(t *testing.T, driver string, p write, f fault, changes ...func(*resourceapi.ResourceClaim)) {
	i := install(t, driver)
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	allocated := func() { allocateTo(t, driver, ns, "claim", changes...) }
	deallocated := func() { deallocate(t, env, ns, "claim") }

	i.start(t)
	if p.stage == provisioning {
		i.injectFault(t, p, f, allocated, deallocated)
	} else {
		allocated()
	}
	if p.stage == provisioning && f.changesClaim {
		awaitConsistent(t, driver)
		allocated()
	}
	awaitConsistent(t, driver)
	request := newRequest(t, readySpace(t, ns, "claim"))

	if p.stage == deprovisioning {
		i.injectFault(t, p, f, deallocated, allocated)
	} else {
		deallocated()
	}
	awaitRevoked(t, request)
	awaitConsistent(t, driver)
	if p.stage == deprovisioning && f.changesClaim {
		second := newRequest(t, readySpace(t, ns, "claim"))
		deallocated()
		awaitRevoked(t, second)
		awaitConsistent(t, driver)
	}
	awaitRevoked(t, request)
}

// injectFault starts a stage with a change of the claim, and waits until the fault has occurred at the
// write. It then changes the claim again if the fault requires that, and restarts a killed controller.
func (i *installation) injectFault(t *testing.T, p write, f fault, begin, changeClaim func()) {
	t.Helper()
	occurred := make(chan struct{})
	var once sync.Once
	i.proxy.Intercept(func(call faults.Call, forward func()) (answer faults.Answer) {
		if q, ok := newWrite(p.stage, call); ok && p == q {
			once.Do(func() {
				answer = f.answer(forward, func() { i.kill(t) })
				close(occurred)
			})
		}
		return answer
	})
	begin()
	// Some writes are only necessary if others did not happen.
	if err := wait.PollUntilContextTimeout(t.Context(), 250*time.Millisecond, framework.Timeout, true, func(ctx context.Context) (bool, error) {
		select {
		case <-occurred:
			return true, nil
		default:
			c, err := takeSnapshot(ctx, i.driver)
			return err == nil && len(c.differences()) == 0, nil
		}
	}); err != nil {
		t.Fatalf("waited until the fault occurs or the controller is done: %v", err)
	}
	skipped := false
	once.Do(func() { skipped = true })
	if skipped && slices.Contains(requiredWrites, p.String()) {
		t.Errorf("the controller did not %s", p)
	}
	if f.changesClaim {
		changeClaim()
	}
	i.proxy.Intercept(nil)
	if f.kills && !skipped {
		i.start(t)
	}
}
