// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
)

const (
	// healthTimeout is after what time without a report the kubelet no longer believes
	// the last one. Reports come several times within it.
	healthTimeout  = 30 * time.Second
	reportInterval = 10 * time.Second
)

// WatchHealthStatus implements kubeletplugin.DRAPlugin. It reports all devices of
// which there are spaces on the node, whenever something changes and often enough
// that the kubelet believes it.
func (d *Driver) WatchHealthStatus(ctx context.Context, reports chan<- kubeletplugin.DeviceHealthReport) error {
	ticker := d.Clock.NewTicker(reportInterval)
	defer ticker.Stop()
	for {
		// Before the look, so that no change is missed.
		changed := d.tokens.subscribe()
		select {
		case <-ctx.Done():
			return nil
		case reports <- kubeletplugin.DeviceHealthReport{Devices: d.tokens.devices(d.Node)}:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-ticker.C():
		}
	}
}

// device is one that spaces come from. Kubernetes knows the health of devices, not of
// their shares.
type device struct{ pool, name string }

// shares are the spaces of one device on the node.
type shares struct {
	all, dead, unknown int
	// new means that the token of one has not been looked at since the plugin started.
	new bool
	// claims are whose they are.
	claims map[types.UID]bool
	// why is what is wrong with one of them.
	why string
}

// devices says of each device how its spaces on the node are.
func (m *tokenManager) devices(node string) []kubeletplugin.DeviceHealth {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	now := m.driver.Clock.Now()
	found := map[device]*shares{}
	for _, c := range m.claims {
		for i, space := range c.prepared.Spaces {
			key := device{space.Pool, space.Device}
			s := found[key]
			if s == nil {
				s = &shares{claims: map[types.UID]bool{}}
				found[key] = s
			}
			s.add(c, i, now)
		}
	}
	out := make([]kubeletplugin.DeviceHealth, 0, len(found))
	for key, s := range found {
		if s.new && s.dead+s.unknown == 0 {
			// The kubelet goes on believing what the last process said, and pods are
			// not written to because the plugin starts. It does not take long.
			continue
		}
		health, message := s.health(node)
		out = append(out, kubeletplugin.DeviceHealth{
			PoolName: key.pool, DeviceName: key.name, Health: health, Message: message,
			LastUpdated: now, HealthCheckTimeout: healthTimeout,
		})
	}
	slices.SortFunc(out, func(a, b kubeletplugin.DeviceHealth) int {
		return cmp.Or(cmp.Compare(a.PoolName, b.PoolName), cmp.Compare(a.DeviceName, b.DeviceName))
	})
	return out
}

// add counts a claim's space.
func (s *shares) add(c *managedClaim, i int, now time.Time) {
	s.all++
	s.claims[c.prepared.UID] = true
	t, why := c.tokens[i], ""
	switch {
	case t.spaceExpired:
		s.dead++
		why = "the space has expired, as its class has it"
	case t.expires.IsZero() && t.err == nil:
		s.new = true
	case t.expires.IsZero():
		s.unknown++
		why = "the plugin has started anew, and can't renew its token: " + t.err.Error()
	case now.Before(t.expires):
	case t.err == nil:
		s.dead++
		why = "its token has ended, and is being renewed"
	default:
		s.dead++
		why = "its token has ended, and can't be renewed: " + t.err.Error()
	}
	// The claims are in no order, and a text that changes is a change for the kubelet.
	if s.why == "" || why != "" && why < s.why {
		s.why = why
	}
}

// health is what all shares agree on. Nobody is told about the claims of others, but
// how many there are.
func (s *shares) health(node string) (kubeletplugin.HealthStatus, string) {
	switch {
	case s.dead+s.unknown == 0:
		return kubeletplugin.HealthStatusHealthy, ""
	case s.dead == s.all && len(s.claims) == 1:
		return kubeletplugin.HealthStatusUnhealthy, s.why
	case s.dead == s.all:
		return kubeletplugin.HealthStatusUnhealthy, fmt.Sprintf(
			"on node %s, none of the %d spaces from this device has a token that works; the events of their claims say why", node, s.all)
	case s.unknown == s.all && len(s.claims) == 1:
		return kubeletplugin.HealthStatusUnknown, s.why
	}
	return kubeletplugin.HealthStatusUnknown, fmt.Sprintf(
		"on node %s, %d of the %d spaces from this device may have no token that works; the events of their claims say which, and why", node, s.dead+s.unknown, s.all)
}
