// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import "github.com/prometheus/client_golang/prometheus"

// States of spaces.
const (
	StatePending     = "pending"
	StateReady       = "ready"
	StateExpired     = "expired"
	StateRetained    = "retained"
	StateTerminating = "terminating"
)

// Kinds of corrections that the controller's resyncs make.
const (
	StaleNamespace     = "stale_namespace"
	UnprovisionedClaim = "unprovisioned_claim"
)

// Steps of provisioning a space. The objects include the RBAC.
const (
	StepNamespace = "namespace"
	StepObjects   = "objects"
	StepRBAC      = "rbac"
	StepStatus    = "status"
)

// Spaces are the labels by which spaces are counted. The pool is empty for a space that is
// retained or terminating.
type Spaces struct{ State, Pool string }

// Controller has the controller's metrics.
type Controller struct {
	// Provision has a label for the result.
	Provision Durations
	// ProvisionSteps has a label for the step. It has no failures.
	ProvisionSteps Durations
	// Revoke and Delete are of spaces that are deprovisioned.
	Revoke, Delete Durations
	// ProvisioningErrors has a label for the reason.
	ProvisioningErrors *prometheus.CounterVec
	// Resyncs has no label, and Corrections has one for the kind.
	Resyncs, Corrections *prometheus.CounterVec

	set *set
}

// NewController registers the controller's metrics. It panics if they are registered already.
func NewController(registerer prometheus.Registerer, version string) *Controller {
	s := &set{registerer: registerer}
	m := &Controller{
		Provision: s.histogram(buckets(), "provision_duration_seconds",
			"How long the controller took in one go to provision all spaces of a claim, RBAC in effect and status written, or to fail.", "result"),
		ProvisionSteps: s.histogram(stepBuckets(), "provision_step_duration_seconds",
			"How long the steps of provisioning a space took: its namespace, all objects in it in parallel, among them its RBAC until it was in effect, and then the status of the claim.", "step"),
		Revoke: s.histogram(buckets(), "revoke_duration_seconds",
			"How long the controller took to revoke the credentials of a space that is deprovisioned, by its API calls."),
		Delete: s.histogram(buckets(), "namespace_deletion_duration_seconds",
			"How long Kubernetes took from the deletion of a space's namespace until it no longer existed. The start is in whole seconds."),
		ProvisioningErrors: s.counter("provisioning_errors_total",
			"Number of times that the condition of a claim was set to a reason why it has no space.", "reason"),
		Resyncs: s.counter("resyncs_total",
			"Number of resyncs, which look for what was missed."),
		Corrections: s.counter("resync_corrections_total",
			"Number of things that resyncs found and corrected.", "kind"),
		set: s,
	}
	// Initialize series to 0 so that increase() sees the first event.
	for _, result := range []string{Succeeded, Failed} {
		m.Provision.Expect(result)
	}
	for _, step := range []string{StepNamespace, StepObjects, StepRBAC, StepStatus} {
		m.ProvisionSteps.Expect(step)
	}
	for _, kind := range []string{StaleNamespace, UnprovisionedClaim} {
		m.Corrections.WithLabelValues(kind)
	}
	s.buildInfo(version)
	return m
}

// Collect registers metrics that are computed at each scrape.
func (m *Controller) Collect(spaces func() map[Spaces]int, limits func() map[string]int64, stuckTerminating func() int) {
	m.set.scraped("spaces", "Number of spaces by state and pool, as the leading controller sees them. Retained and terminating spaces have no pool.", []string{"state", "pool"},
		func(emit func(float64, ...string)) {
			for spaces, n := range spaces() {
				emit(float64(n), spaces.State, spaces.Pool)
			}
		})
	m.set.scraped("pool_limit", "Number of spaces that a pool can have, as the leading controller was configured. Pools without a limit are absent; of pools per node, only those with spaces are present.", []string{"pool"},
		func(emit func(float64, ...string)) {
			for pool, limit := range limits() {
				emit(float64(limit), pool)
			}
		})
	m.set.scraped("namespaces_stuck_terminating", "Number of namespaces of spaces whose deletion takes longer than --namespace-deletion-timeout.", nil,
		func(emit func(float64, ...string)) { emit(float64(stuckTerminating())) })
}

// Metrics describes all metrics that are registered.
func (m *Controller) Metrics() []Metric { return m.set.all }
