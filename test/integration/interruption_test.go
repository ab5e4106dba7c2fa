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

	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// stage is a part of a space's life.
type stage string

const (
	making stage = "making"
	ending stage = "ending"
)

// point is a write of the controller, the first of its kind in this stage.
type point struct {
	stage stage
	call  faults.Call
}

func (p point) String() string { return fmt.Sprintf("%s: %s", p.stage, p.call) }

// indispensable are the writes without which a space can't be made and ended.
// What else there is, is found by looking.
var indispensable = []string{
	"making: create namespaces",
	"making: create serviceaccounts space",
	"making: create rolebindings space",
	"making: update resourceclaims/status claim",
	"ending: delete rolebindings space",
	"ending: delete serviceaccounts space",
	"ending: delete namespaces",
}

// pointOf says what a call is, whichever claim it is for. It is no point when
// nothing in a space's life depends on it.
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

// fault is what befalls a write.
type fault struct {
	name string
	// kills says that the controller dies and is started again.
	kills bool
	// turns says that meanwhile the claim is deallocated, or allocated again.
	turns  bool
	answer func(carryOut func(), kill func()) faults.Answer
}

var allFaults = []fault{
	{name: "killed before it", kills: true, answer: func(_, kill func()) faults.Answer {
		kill()
		return faults.Broken
	}},
	{name: "killed after it", kills: true, answer: killAfter},
	{name: "killed after it and wanted otherwise", kills: true, turns: true, answer: killAfter},
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
	retention := classJSON(`"retention":{"period":"1s"}`)
	points := pointsOfALife(t, "life.example.com", "")
	for _, want := range indispensable {
		if !slices.ContainsFunc(points, func(p point) bool { return p.String() == want }) {
			t.Errorf("no write of the controller is %q; there are %q", want, points)
		}
	}
	t.Logf("the controller's writes: %q", points)
	// A namespace that is kept for a while is ended in two steps.
	late := slices.DeleteFunc(pointsOfALife(t, "late-life.example.com", retention), func(p point) bool {
		return p.stage != ending || p.call.Resource != "namespaces"
	})
	t.Logf("its writes to a namespace that is kept for a while: %q", late)

	var drivers []string
	at := func(t *testing.T, p point, parameters string) {
		for _, f := range allFaults {
			driver := fmt.Sprintf("death-%d.example.com", len(drivers))
			drivers = append(drivers, driver)
			t.Run(p.String()+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				interruptedLife(t, driver, parameters, p, f)
			})
		}
	}
	t.Run("at", func(t *testing.T) {
		for _, p := range points {
			at(t, p, "")
		}
	})
	t.Run("kept for a while, at", func(t *testing.T) {
		for _, p := range late {
			at(t, p, retention)
		}
	})
	if t.Failed() {
		return
	}
	// Kubernetes takes its time over each namespace, for all of them at once.
	for _, driver := range drivers {
		awaitNothing(t, driver)
	}
}

// pointsOfALife watches the controller make a space and end it.
func pointsOfALife(t *testing.T, driver, parameters string) []point {
	t.Helper()
	var mutex sync.Mutex
	var points []point
	now := making
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
	allocateTo(t, driver, ns, "claim", parameters)
	awaitExact(t, driver)
	mutex.Lock()
	now = ending
	mutex.Unlock()
	deallocate(t, env, ns, "claim")
	awaitNothing(t, driver)
	mutex.Lock()
	defer mutex.Unlock()
	return points
}

// interruptedLife is the same life with a fault in it.
func interruptedLife(t *testing.T, driver, parameters string, p point, f fault) {
	i := install(t, driver)
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	allocated := func() { allocateTo(t, driver, ns, "claim", parameters) }
	deallocated := func() { deallocate(t, env, ns, "claim") }

	i.start(t)
	if p.stage == making {
		i.suffer(t, p, f, allocated, deallocated)
	} else {
		allocated()
	}
	if p.stage == making && f.turns {
		awaitExact(t, driver)
		allocated()
	}
	awaitExact(t, driver)
	token := bearerOf(t, spaceOf(t, driver, ns, "claim"))
	token.awaitAllowed(t)

	if p.stage == ending {
		i.suffer(t, p, f, deallocated, allocated)
	} else {
		deallocated()
	}
	token.awaitRefused(t)
	awaitExact(t, driver)
	if p.stage == ending && f.turns {
		second := bearerOf(t, spaceOf(t, driver, ns, "claim"))
		second.awaitAllowed(t)
		deallocated()
		second.awaitRefused(t)
		awaitExact(t, driver)
	}
	token.awaitRefused(t)
}

// suffer begins a stage with a change of the claim, and waits until the fault has
// struck at the point. A killed controller is started again; before that, the
// claim is turned where the fault is to do so.
func (i *installation) suffer(t *testing.T, p point, f fault, begin, turn func()) {
	t.Helper()
	struck := make(chan struct{})
	var once sync.Once
	i.proxy.Intercept(func(call faults.Call, carryOut func()) (answer faults.Answer) {
		if q, ok := pointOf(p.stage, call); ok && p == q {
			once.Do(func() {
				answer = f.answer(carryOut, func() { i.kill(t) })
				close(struck)
			})
		}
		return answer
	})
	begin()
	spared := false
	if !i.awaitStrike(t, struck) {
		// It strikes no more, or it has just struck.
		once.Do(func() { spared = true })
	}
	if spared {
		i.proxy.Intercept(nil)
		if slices.Contains(indispensable, p.String()) {
			t.Errorf("this time the controller got along without %s", p)
		}
		if f.turns {
			turn()
		}
		return
	}
	if f.kills {
		if f.turns {
			turn()
		}
		i.proxy.Intercept(nil)
		i.start(t)
	}
}

// awaitStrike returns false when the controller is done without having come to
// the point: some writes are needed only when others have not made them already.
func (i *installation) awaitStrike(t *testing.T, struck <-chan struct{}) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), framework.Patience)
	defer cancel()
	look := time.NewTicker(250 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-struck:
			return true
		case <-ctx.Done():
			t.Fatal("waited in vain until the fault strikes or the controller is done")
		case <-look.C:
		}
		c, err := takeCensus(ctx, i.driver)
		if err != nil || len(c.differences()) > 0 {
			continue
		}
		// It may have been struck while the census was taken.
		select {
		case <-struck:
			return true
		default:
			return false
		}
	}
}
