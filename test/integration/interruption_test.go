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

// stage is a part of the lifecycle of a space.
type stage string

const (
	provisioning   stage = "provisioning"
	deprovisioning stage = "deprovisioning"
)

// point is a write of the controller, the first of its kind in this stage.
type point struct {
	stage stage
	call  faults.Call
}

func (p point) String() string { return fmt.Sprintf("%s: %s", p.stage, p.call) }

// indispensable are the writes without which a space cannot be created and deprovisioned.
// The test finds the others by observation.
var indispensable = []string{
	"provisioning: create namespaces",
	"provisioning: create serviceaccounts space",
	"provisioning: create rolebindings space",
	"provisioning: update resourceclaims/status claim",
	"deprovisioning: delete rolebindings space",
	"deprovisioning: delete serviceaccounts space",
	"deprovisioning: delete namespaces",
}

// pointOf returns the point of a call, independent of the claim. It is no point if
// no space depends on it.
func pointOf(s stage, call faults.Call) (p point, ok bool) {
	switch call.Resource {
	case "leases", "events", "resourceslices":
		return point{}, false
	case "namespaces":
		// Their names are those of allocations.
		call.Name = ""
	}
	call.Namespace = ""
	return point{s, call}, call.Writes()
}

// fault is what happens to a write.
type fault struct {
	name string
	// kills: the controller is killed and started again.
	kills bool
	// changesClaim: meanwhile, the claim is deallocated, or allocated again.
	changesClaim bool
	answer       func(carryOut func(), kill func()) faults.Answer
}

var allFaults = []fault{
	{name: "killed before it", kills: true, answer: func(_, kill func()) faults.Answer {
		kill()
		return faults.Broken
	}},
	{name: "killed after it", kills: true, answer: killAfter},
	{name: "killed after it, and the claim changes", kills: true, changesClaim: true, answer: killAfter},
	{name: "answered with an error", answer: func(_, _ func()) faults.Answer { return faults.Refused }},
	{name: "not answered", answer: func(carryOut, _ func()) faults.Answer {
		carryOut()
		return faults.Broken
	}},
}

func killAfter(carryOut, kill func()) faults.Answer {
	carryOut()
	kill()
	return faults.Broken
}

func TestController_resumesAfterEachInterruptedWrite(t *testing.T) {
	retention := framework.WithClassConfig(`"retention":{"period":"1s"}`)
	points := pointsOfLifecycle(t, "life.example.com")
	for _, want := range indispensable {
		if !slices.ContainsFunc(points, func(p point) bool { return p.String() == want }) {
			t.Errorf("no write of the controller is %q; there are %q", want, points)
		}
	}
	t.Logf("the controller's writes: %q", points)
	// A retained namespace is deprovisioned in two steps.
	late := slices.DeleteFunc(pointsOfLifecycle(t, "late-life.example.com", retention), func(p point) bool {
		return p.stage != deprovisioning || p.call.Resource != "namespaces"
	})
	t.Logf("its writes to a retained namespace: %q", late)

	var drivers []string
	at := func(t *testing.T, p point, changes ...func(*resourceapi.ResourceClaim)) {
		for _, f := range allFaults {
			driver := fmt.Sprintf("interrupted-%d.example.com", len(drivers))
			drivers = append(drivers, driver)
			t.Run(p.String()+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				interruptedLifecycle(t, driver, p, f, changes...)
			})
		}
	}
	t.Run("at", func(t *testing.T) {
		for _, p := range points {
			at(t, p)
		}
	})
	t.Run("retained, at", func(t *testing.T) {
		for _, p := range late {
			at(t, p, retention)
		}
	})
	if t.Failed() {
		return
	}
	// Kubernetes deletes all namespaces meanwhile.
	for _, driver := range drivers {
		awaitNothing(t, driver)
	}
}

// pointsOfLifecycle observes the controller provision and deprovision a space.
func pointsOfLifecycle(t *testing.T, driver string, changes ...func(*resourceapi.ResourceClaim)) []point {
	t.Helper()
	var mutex sync.Mutex
	var points []point
	now := provisioning
	i := install(t, driver)
	i.proxy.Intercept(func(call faults.Call, _ func()) faults.Answer {
		mutex.Lock()
		defer mutex.Unlock()
		if p, ok := pointOf(now, call); ok && !slices.Contains(points, p) {
			points = append(points, p)
		}
		return faults.Real
	})
	ns := env.Namespace(t)
	i.start(t)
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	allocateTo(t, driver, ns, "claim", changes...)
	awaitExact(t, driver)
	mutex.Lock()
	now = deprovisioning
	mutex.Unlock()
	deallocate(t, env, ns, "claim")
	awaitNothing(t, driver)
	mutex.Lock()
	defer mutex.Unlock()
	return points
}

// interruptedLifecycle is the same lifecycle with a fault in it.
func interruptedLifecycle(t *testing.T, driver string, p point, f fault, changes ...func(*resourceapi.ResourceClaim)) {
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
		awaitExact(t, driver)
		allocated()
	}
	awaitExact(t, driver)
	request := readsIn(t, readySpace(t, ns, "claim"))

	if p.stage == deprovisioning {
		i.injectFault(t, p, f, deallocated, allocated)
	} else {
		deallocated()
	}
	awaitRevoked(t, request)
	awaitExact(t, driver)
	if p.stage == deprovisioning && f.changesClaim {
		second := readsIn(t, readySpace(t, ns, "claim"))
		deallocated()
		awaitRevoked(t, second)
		awaitExact(t, driver)
	}
	awaitRevoked(t, request)
}

// injectFault begins a stage with a change of the claim, and waits until the fault has
// occurred at the point. It starts a killed controller again; before that, it changes
// the claim again if the fault says so.
func (i *installation) injectFault(t *testing.T, p point, f fault, begin, changeClaim func()) {
	t.Helper()
	occurred := make(chan struct{})
	var once sync.Once
	i.proxy.Intercept(func(call faults.Call, carryOut func()) (answer faults.Answer) {
		if q, ok := pointOf(p.stage, call); ok && p == q {
			once.Do(func() {
				answer = f.answer(carryOut, func() { i.kill(t) })
				close(occurred)
			})
		}
		return answer
	})
	begin()
	// Some writes are needed only if others have not been made: the controller is done without them.
	if err := wait.PollUntilContextTimeout(t.Context(), 250*time.Millisecond, framework.Patience, true, func(ctx context.Context) (bool, error) {
		select {
		case <-occurred:
			return true, nil
		default:
			c, err := takeCensus(ctx, i.driver)
			return err == nil && len(c.differences()) == 0, nil
		}
	}); err != nil {
		t.Fatalf("waited until the fault occurs or the controller is done: %v", err)
	}
	missed := false
	once.Do(func() { missed = true })
	if missed && slices.Contains(indispensable, p.String()) {
		t.Errorf("this time the controller did not need %s", p)
	}
	if f.changesClaim {
		changeClaim()
	}
	i.proxy.Intercept(nil)
	if f.kills && !missed {
		i.start(t)
	}
}
