// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	health "k8s.io/kubelet/pkg/apis/dra-health/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestDeviceHealth_followsTheSpace(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	p := n.start(t)
	framework.WithLongerLifetimes(t, 20*time.Second, func(limit time.Duration) bool { return n.observeExpiry(t, p, limit) })
}

// watchHealth asks for the health of the devices as the kubelet does, until ctx is done.
func (n *node) watchHealth(ctx context.Context, t *testing.T, p *plugin) health.DRAResourceHealth_NodeWatchResourcesClient {
	t.Helper()
	socket := filepath.Join(n.kubelet, "plugins", spaceapi.DefaultDriverName, "pod-1.sock")
	reports, err := health.NewDRAResourceHealthClient(p.dial(t, socket)).NodeWatchResources(ctx, &health.NodeWatchResourcesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return reports
}

// observeExpiry prepares a space with a short lifetime, and waits until its device is unhealthy. It
// returns false if the space expired before the device was healthy.
func (n *node) observeExpiry(t *testing.T, p *plugin, limit time.Duration) (inTime bool) {
	ctx, cancel := context.WithTimeout(t.Context(), limit+framework.Timeout)
	defer cancel()
	reports := n.watchHealth(ctx, t, p)
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	framework.Allocate(t, env, ns, "claim", framework.WithClassConfig(fmt.Sprintf(`"maxLifetime":%q`, limit)))
	expired := framework.NotReadyBecause(spaceapi.ReasonExpired, "")
	object := framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.SpacesReady(1).Or(expired))
	defer framework.Deallocate(t, env, ns, "claim")
	if expired.Holds(object) {
		return false
	}
	c := &claim{ResourceClaim: object, spaces: []spaceapi.SpaceStatus{framework.SpaceStatus(t, object, 0)}}
	if _, err := p.prepare(t, c); err != nil {
		now, getErr := env.Client.ResourceV1().ResourceClaims(ns).Get(ctx, "claim", metav1.GetOptions{})
		if getErr == nil && expired.Holds(now) {
			return false
		}
		t.Fatal(err)
	}
	for unhealthy := false; !unhealthy; {
		report, err := reports.Recv()
		if err != nil {
			t.Fatalf("waited until the device is unhealthy: %v", err)
		}
		for _, device := range report.Devices {
			inTime = inTime || device.Health == health.HealthStatus_HEALTHY
			unhealthy = device.Health == health.HealthStatus_UNHEALTHY && strings.Contains(device.Message, "space expired")
		}
	}
	n.mustUnprepare(t, p, c)
	return inTime
}
