// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	// hostileTenants is how many deletions one tenant requests at the same time.
	hostileTenants = 4
	// hostilePrepares is how often each of the other claims is prepared in a round.
	hostilePrepares = 5
	// hostileGoal is the goal for the ratio of the times of other claims.
	hostileGoal = 1.3
)

// BenchmarkHostile prepares claims while one tenant repeatedly deletes the ServiceAccount of its space.
// In the baseline, the tenant requests the deletion of one that does not exist: the API server handles
// as many requests, and the driver does nothing.
func BenchmarkHostile(b *testing.B) {
	r := startReport(b, "hostile")
	env := controlPlane(b)
	framework.StartController(b, env)
	createNode(b, env)
	rounds := *flags.rounds
	_, all := claims{env: env, driver: spaceapi.DefaultDriverName}.ready(b, "hostile", rounds+1+*flags.pods, ignored)
	hostile, others := all[:rounds+1], all[rounds+1:]
	n := &node{b: b, env: env, dir: b.TempDir()}
	n.start()
	for _, claim := range hostile {
		if err := n.prepare(b.Context(), claim); err != nil {
			b.Fatal(err)
		}
	}
	const none = "no tenant sends requests"
	const absent, existing = "a tenant deletes a ServiceAccount that does not exist", "a tenant deletes the ServiceAccount of its space"
	const prepared, deletions = "Prepare of another claim (s)", "requests of the tenant (1/s)"
	kinds := []struct{ name, account string }{{none, ""}, {absent, "absent"}, {existing, spaceapi.ServiceAccountName}}
	inTurns(rounds, len(kinds), func(round, i int) {
		kind := kinds[i]
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		namespace := framework.SpaceStatus(b, hostile[round], 0).Namespace
		var requests [hostileTenants]int
		var group errgroup.Group
		begin := time.Now()
		for tenant := range requests {
			group.Go(func() error {
				for ctx.Err() == nil && kind.account != "" {
					_ = env.Client.CoreV1().ServiceAccounts(namespace).Delete(ctx, kind.account, metav1.DeleteOptions{})
					requests[tenant]++
				}
				return nil
			})
		}
		for range hostilePrepares {
			for _, claim := range others {
				at := time.Now()
				if err := n.prepare(ctx, claim); err != nil {
					b.Fatal(err)
				}
				took := time.Since(at).Seconds()
				if err := n.unprepare(ctx, claim); err != nil {
					b.Fatal(err)
				}
				if round > 0 {
					r.add(prepared, kind.name, took)
				}
			}
		}
		cancel()
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
		sum := 0
		for _, count := range requests {
			sum += count
		}
		if round > 0 {
			r.add(deletions, kind.name, float64(sum)/time.Since(begin).Seconds())
		}
	})
	r.atMost(fmt.Sprintf("%s, ratio to %q", existing, absent), hostileGoal, r.median(prepared, existing)/r.median(prepared, absent))
}
