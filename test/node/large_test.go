// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// maxPeak is how much memory the plugin may take at most, in bytes. The chart's limit is 256 MiB.
const maxPeak = 200 << 20

// roomForStatus is what the status of a claim with one space takes, in bytes.
const roomForStatus = 16 << 10

// TestLargeClaims_doNotFillMemory has 100 claims on a node that are as large as users can make
// them. The plugin has a connection of its own to the API server, and the environment that the
// chart gives it.
func TestLargeClaims_doNotFillMemory(t *testing.T) {
	t.Parallel()
	const pods, claimsOfAPod = 4, 25
	other := readyClaim(t)
	n := newEmptyNode(t)
	n.kubeconfig, n.environment = env.Cluster.Kubeconfig(), []string{"GOMEMLIMIT=256000000"}
	p := n.start(t)
	if _, err := p.prepare(t, other); err != nil {
		t.Fatal(err)
	}

	claims := largestClaims(t, pods*claimsOfAPod)
	for of := range slices.Chunk(claims, claimsOfAPod) {
		// A busy machine can take longer than the timeout. The kubelet tries again, too.
		framework.Eventually(t, "the claims to be prepared", func(context.Context) error { return p.prepareTogether(t, of) })
	}
	p.checkMemory(t, "has prepared the claims")

	// All claims change at the same time.
	for _, c := range claims {
		deleteAccount(t, c)
	}
	p.awaitRenewedAll(t, claims)
	p.checkMemory(t, "has renewed the tokens for other ServiceAccounts")
	p.kill()

	p = n.start(t)
	p.awaitRenewedAll(t, claims)
	n.awaitRenewed(t, other)
	replaceAccount(t, other)
	n.awaitRenewed(t, other)
	p.checkMemory(t, "was restarted")
}

// largestClaims creates claims that are as large as possible, with a space each.
func largestClaims(t *testing.T, all int) []*claim {
	t.Helper()
	ns := env.Namespace(t)
	name := func(i int) string { return fmt.Sprintf("large-%d", i) }
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(4)
	for i := range all {
		group.Go(func() error {
			object := framework.LargestClaim(name(i), roomForStatus)
			object.Finalizers = []string{resourceapi.Finalizer} // as the scheduler does
			_, err := env.Client.ResourceV1().ResourceClaims(ns).Create(ctx, object, metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for i := range all {
		framework.UpdateClaimStatus(t, env, ns, name(i), func(object *resourceapi.ResourceClaim) {
			env.SetAllocation(object)
			// The other requests and the parameters are for another driver.
			allocated := &object.Status.Allocation.Devices
			allocated.Results, allocated.Config = allocated.Results[:1], nil
		})
	}
	var claims []*claim
	for i := range all {
		object, spaces := framework.SpacesOf(t, env, ns, name(i), 1)
		claims = append(claims, &claim{object, spaces})
	}
	return claims
}

// prepareTogether calls the plugin as the kubelet does for a pod with these claims.
func (p *plugin) prepareTogether(t *testing.T, claims []*claim) error {
	ctx, cancel := callContext(t)
	defer cancel()
	request := &drav1.NodePrepareResourcesRequest{}
	for _, c := range claims {
		request.Claims = append(request.Claims, c.request()...)
	}
	response, err := p.dra.NodePrepareResources(ctx, request)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range claims {
		result := response.Claims[string(c.UID)]
		errs = append(errs, responseError(result != nil, result.GetError()))
	}
	return errors.Join(errs...)
}

var renewed = regexp.MustCompile(`"Tokens renewed".* claimUID="([^"]+)"`)

// awaitRenewedAll waits until the plugin has renewed the tokens of all claims.
func (p *plugin) awaitRenewedAll(t *testing.T, claims []*claim) {
	t.Helper()
	framework.Eventually(t, "all tokens to be renewed", func(context.Context) error {
		done := map[string]bool{}
		for _, match := range renewed.FindAllStringSubmatch(p.log.String(), -1) {
			done[match[1]] = true
		}
		for _, c := range claims {
			if !done[string(c.UID)] {
				return fmt.Errorf("%d claims have new tokens, but not %s", len(done), c.Name)
			}
		}
		return nil
	})
}

// checkMemory fails the test if the plugin has taken too much memory until now.
func (p *plugin) checkMemory(t *testing.T, when string) {
	t.Helper()
	peak, err := framework.PeakMemory(p.cmd.Process)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("when it %s, the plugin had taken %d MiB", when, peak>>20)
	if peak > maxPeak {
		t.Errorf("when it %s, the plugin had taken %d MiB, want at most %d", when, peak>>20, maxPeak>>20)
	}
}
