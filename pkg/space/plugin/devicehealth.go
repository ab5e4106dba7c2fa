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
	// healthTimeout is how long a report is valid in the kubelet. It is several times
	// reportInterval.
	healthTimeout  = 30 * time.Second
	reportInterval = 10 * time.Second
)

// WatchHealthStatus implements kubeletplugin.DRAPlugin. It reports all devices with spaces on the
// node, after each change and at an interval, so that the kubelet always has a valid report.
func (d *Driver) WatchHealthStatus(ctx context.Context, reports chan<- kubeletplugin.DeviceHealthReport) error {
	ticker := d.Clock.NewTicker(reportInterval)
	defer ticker.Stop()
	for {
		devices, changed := d.deviceHealth()
		select {
		case <-ctx.Done():
			return nil
		case reports <- kubeletplugin.DeviceHealthReport{Devices: devices}:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-ticker.C():
		}
	}
}

// device identifies a device. In Kubernetes, devices have a health, and their shares do not.
type device struct{ pool, name string }

// deviceState is the state of the spaces of one device on the node.
type deviceState struct {
	all, unhealthy, unknown int
	// new means that the token of a space has not been renewed since the plugin started.
	new bool
	// claims are the claims of the spaces.
	claims map[types.UID]bool
	// reason is why one of the spaces is not healthy.
	reason string
}

// deviceHealth returns the health of each device with spaces on the node. The channel is closed when
// it may have changed.
func (d *Driver) deviceHealth() (_ []kubeletplugin.DeviceHealth, changed <-chan struct{}) {
	d.tracked.mutex.Lock()
	defer d.tracked.mutex.Unlock()
	now := d.Clock.Now()
	found := map[device]*deviceState{}
	for _, c := range d.tracked.claims {
		if !c.deallocatedAt.IsZero() {
			continue
		}
		for i, space := range c.prepared.Spaces {
			key := device{space.Pool, space.Device}
			s := found[key]
			if s == nil {
				s = &deviceState{claims: map[types.UID]bool{}}
				found[key] = s
			}
			s.add(c, i, now)
		}
	}
	out := make([]kubeletplugin.DeviceHealth, 0, len(found))
	for key, s := range found {
		if s.new && s.unhealthy+s.unknown == 0 {
			// The last report of the previous process stays valid until the renewal, so that
			// the start of a plugin does not change the status of pods.
			continue
		}
		health, message := s.health(d.Node)
		out = append(out, kubeletplugin.DeviceHealth{
			PoolName: key.pool, DeviceName: key.name, Health: health, Message: message,
			LastUpdated: now, HealthCheckTimeout: healthTimeout,
		})
	}
	slices.SortFunc(out, func(a, b kubeletplugin.DeviceHealth) int {
		return cmp.Or(cmp.Compare(a.PoolName, b.PoolName), cmp.Compare(a.DeviceName, b.DeviceName))
	})
	return out, d.tracked.changed
}

// add adds the space of a claim with this index.
func (s *deviceState) add(c *trackedClaim, i int, now time.Time) {
	s.all++
	s.claims[c.prepared.UID] = true
	t, reason := c.tokens[i], ""
	switch {
	case t.spaceExpired:
		s.unhealthy++
		reason = "space expired (maxLifetime)"
	case t.expires.IsZero() && t.err == nil:
		s.new = true
	case t.expires.IsZero():
		s.unknown++
		reason = "plugin restarted; cannot renew the token: " + t.err.Error()
	case now.Before(t.expires):
	case t.err == nil:
		s.unhealthy++
		reason = "token expired; renewal is in progress"
	default:
		s.unhealthy++
		reason = "token expired; cannot renew it: " + t.err.Error()
	}
	// The claims are in no order. If another reason were reported each time, the kubelet would
	// update the status of pods.
	if s.reason == "" || reason != "" && reason < s.reason {
		s.reason = reason
	}
}

// health returns the health of all spaces, or Unknown if it differs. If they belong to several
// claims, the message contains only numbers, and no details of the claims of other users.
func (s *deviceState) health(node string) (kubeletplugin.HealthStatus, string) {
	health, message := kubeletplugin.HealthStatusUnknown, s.reason
	switch {
	case s.unhealthy+s.unknown == 0:
		return kubeletplugin.HealthStatusHealthy, ""
	case s.unhealthy == s.all:
		health = kubeletplugin.HealthStatusUnhealthy
	}
	if len(s.claims) > 1 || health == kubeletplugin.HealthStatusUnknown && s.unknown < s.all {
		message = fmt.Sprintf("on node %s, %d of the %d spaces of this device may have no valid token; see the events of their claims", node, s.unhealthy+s.unknown, s.all)
	}
	return health, message
}
