// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/dynamic-resource-allocation/kubeletplugin"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// watcher receives reports, as the kubelet does.
type watcher struct {
	n       *node
	reports chan kubeletplugin.DeviceHealthReport
}

// next returns the next report, and the time until it.
func (w *watcher) next() ([]kubeletplugin.DeviceHealth, time.Duration) {
	start := time.Now()
	report := <-w.reports
	return report.Devices, time.Since(start)
}

// settled returns the last report about a change. The report that is ready to be received may be
// older.
func (w *watcher) settled() []kubeletplugin.DeviceHealth {
	synctest.Wait()
	for {
		devices, took := w.next()
		if took > 0 {
			return devices
		}
	}
}

// want checks that there is one device, with this health and these words in the message.
func (w *watcher) want(health kubeletplugin.HealthStatus, words ...string) {
	w.n.t.Helper()
	devices := w.settled()
	if len(devices) != 1 || devices[0].Health != health {
		w.n.t.Fatalf("got %+v, want one device that is %s", devices, health)
	}
	d := devices[0]
	if d.PoolName != "spaces" || d.DeviceName != "space" || d.HealthCheckTimeout != healthTimeout || !d.LastUpdated.Equal(time.Now()) {
		w.n.t.Errorf("got report %+v at %s", d, time.Now())
	}
	for _, word := range words {
		if !strings.Contains(d.Message, word) {
			w.n.t.Errorf("the message lacks %q: %s", word, d.Message)
		}
	}
	if (d.Message == "") != (health == kubeletplugin.HealthStatusHealthy) {
		w.n.t.Errorf("%s with message %q", health, d.Message)
	}
}

func TestWatchHealthStatus_reportsPeriodically(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		w := n.watchHealth()
		if devices, took := w.next(); len(devices) != 0 || took != 0 {
			t.Errorf("without a claim: %+v after %s", devices, took)
		}
		n.prepared("a")
		w.want(kubeletplugin.HealthStatusHealthy)
		for range 20 {
			if devices, took := w.next(); len(devices) != 1 || took > healthTimeout/2 {
				t.Errorf("after %s: %+v", took, devices)
			}
		}
	})
}

func TestWatchHealthStatus_reportsChangesImmediately(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		w := n.watchHealth()
		w.next()
		<-time.After(time.Second)
		claim := n.prepared("a")
		if devices, took := w.next(); len(devices) != 1 || took != 0 {
			t.Errorf("after %s: %+v", took, devices)
		}
		if _, err := n.driver.UnprepareResourceClaims(t.Context(), []kubeletplugin.NamespacedObject{{UID: claim.UID}}); err != nil {
			t.Fatal(err)
		}
		if devices := w.settled(); len(devices) != 0 {
			t.Errorf("without a claim: %+v", devices)
		}
	})
}

func TestWatchHealthStatus_unhealthyWhenAllTokensExpired(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		w := n.watchHealth()
		claim := n.preparedAs(claimA, "a")
		n.rejectTokensOf(claim)
		<-time.After(lifetime - time.Minute)
		// The token is still valid.
		w.want(kubeletplugin.HealthStatusHealthy)
		<-time.After(2 * time.Minute)
		w.want(kubeletplugin.HealthStatusUnhealthy, "token expired; cannot renew it", "denied by webhook")

		n.requester.intercept(nil)
		<-time.After(lastRetry + time.Second)
		w.want(kubeletplugin.HealthStatusHealthy)
	})
}

func TestWatchHealthStatus_unknownWhenSpacesDiffer(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		w := n.watchHealth()
		bad, other := n.preparedAs(claimA, "a"), claimFor("a")
		// The fake API server selects watches by namespace only.
		other.Namespace, other.UID = "other", claimB
		good := n.create(readyFor(t, other, "account-1"))
		_, err := prepareClaim(t.Context(), n.driver, good)
		n.must(err)
		n.rejectTokensOf(bad)
		<-time.After(lifetime + time.Minute)
		w.want(kubeletplugin.HealthStatusUnknown, "on node node-7, 1 of the 2 spaces")
		n.rejectTokensOf(bad, good)
		<-time.After(lifetime + time.Minute)
		w.want(kubeletplugin.HealthStatusUnhealthy, "on node node-7, 2 of the 2 spaces", "events of their claims")
		// The status of a pod must not contain details of other users' claims.
		if message := w.settled()[0].Message; strings.Contains(message, "ns-") || strings.Contains(message, "webhook") {
			t.Errorf("the message has details of a claim: %s", message)
		}
		if _, err := n.driver.UnprepareResourceClaims(t.Context(), []kubeletplugin.NamespacedObject{{UID: good.UID}}); err != nil {
			t.Fatal(err)
		}
		w.want(kubeletplugin.HealthStatusUnhealthy, "denied by webhook")
	})
}

func TestWatchHealthStatus_unhealthyWhenTheSpaceExpired(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		w := n.watchHealth()
		claim := n.preparedAs(claimA, "a")
		n.update(notReady(t, claim, spaceapi.ReasonExpired, "it lived for 8h0m0s"))
		w.want(kubeletplugin.HealthStatusUnhealthy, "space expired")
	})
}

func TestWatchHealthStatus_omitsDevicesUntilTheFirstRenewal(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		n.requester.failWith(errors.New("denied by webhook"))
		n.driver.Stop()
		restore := n.failGet(errors.New("connection refused"))
		n.start()
		w := n.watchHealth()
		if devices, _ := w.next(); len(devices) != 0 {
			t.Errorf("before the first renewal: %+v", devices)
		}
		<-time.After(firstRenewalDelay + time.Minute)
		w.want(kubeletplugin.HealthStatusUnknown, "cannot renew the token", "denied by webhook")
		restore()
		n.requester.failWith(nil)
		<-time.After(2 * time.Minute)
		w.want(kubeletplugin.HealthStatusHealthy)
	})
}
