// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import "k8s.io/component-base/metrics"

// States of spaces.
const (
	StatePending  = "pending"
	StateReady    = "ready"
	StateExpired  = "expired"
	StateRetained = "retained"
	StateEnding   = "ending"
)

// Findings of the controller's sweeps.
const (
	FoundNamespace = "namespace_out_of_step"
	FoundClaim     = "claim_without_space"
)

// Steps of making a space. The rights are a part of the contents.
const (
	StepNamespace = "namespace"
	StepContents  = "contents"
	StepRights    = "rights"
	StepStatus    = "status"
)

// Spaces tells spaces apart. One that has ended is of no pool any more.
type Spaces struct{ State, Pool string }

// Controller is what the controller measures.
type Controller struct {
	// StuckTerminating is the number of namespaces whose deletion takes longer
	// than it should.
	StuckTerminating *metrics.Gauge
	// Provision has a label for the result.
	Provision Durations
	// ProvisionSteps has a label for the step, and no failures.
	ProvisionSteps Durations
	// Revoke and Delete are of spaces that end.
	Revoke, Delete Durations
	// NotReady counts by reason.
	NotReady *metrics.CounterVec
	// Sweeps has no label, and Findings one for what was found.
	Sweeps, Findings *metrics.CounterVec

	set *set
}

// NewController hands the controller's metrics to a registry.
func NewController(registry Registry, version string) (*Controller, error) {
	s := &set{to: registry}
	m := &Controller{
		StuckTerminating: s.gauge("namespaces_stuck_terminating",
			"Number of namespaces of ended spaces whose deletion takes longer than --stuck-after."),
		Provision: s.durations("provision_duration_seconds",
			"How long the controller took in one go to make all spaces of a claim, rights in effect and status written, or to fail.", "result"),
		ProvisionSteps: s.histogram(stepBuckets(), "provision_step_duration_seconds",
			"How long the steps took of making a space: its namespace, all its contents side by side, among them its rights until they were in effect, and then writing the status of the claim.", "step"),
		Revoke: s.durations("revoke_duration_seconds",
			"How long the controller took from beginning the end of a space until its credentials were revoked, by its API calls."),
		Delete: s.durations("namespace_deletion_duration_seconds",
			"How long Kubernetes took from the deletion of a space's namespace until it had gone, in whole seconds at its beginning."),
		NotReady: s.counter("not_ready_total",
			"Number of times that a claim was told, in its condition, why it has no space.", "reason"),
		Sweeps: s.counter("sweeps_total",
			"Number of sweeps, which look for what was missed."),
		Findings: s.counter("sweep_findings_total",
			"Number of things that sweeps found and did or had done something about.", "finding"),
		set: s,
	}
	// An increase is seen only of what was there before.
	for _, result := range []string{Succeeded, Failed} {
		m.Provision.Expect(result)
	}
	for _, step := range []string{StepNamespace, StepContents, StepRights, StepStatus} {
		m.ProvisionSteps.Expect(step)
	}
	for _, finding := range []string{FoundNamespace, FoundClaim} {
		m.Findings.WithLabelValues(finding)
	}
	s.build(version)
	return m, s.err()
}

// Count has the spaces and the limits of their pools looked at whenever somebody looks.
func (m *Controller) Count(count func() map[Spaces]int, limits func() map[string]int64) error {
	m.set.scraped("spaces", "Number of spaces by state and pool, as the controller that leads sees them. Spaces that have ended, kept or not, are of no pool.", []string{"state", "pool"},
		func(emit func(float64, ...string)) {
			for spaces, n := range count() {
				emit(float64(n), spaces.State, spaces.Pool)
			}
		})
	m.set.scraped("pool_limit", "Number of spaces that a pool has, as the controller that leads was told: of pools with a limit, of those per node only such as have spaces.", []string{"pool"},
		func(emit func(float64, ...string)) {
			for pool, limit := range limits() {
				emit(float64(limit), pool)
			}
		})
	return m.set.err()
}

// Metrics describes them all.
func (m *Controller) Metrics() []Metric { return m.set.all }
