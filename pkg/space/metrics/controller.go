// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import "github.com/prometheus/client_golang/prometheus"

// States of spaces.
const (
	StateProvisioning = "provisioning"
	StateReady        = "ready"
	StateExpired      = "expired"
	StateRetained     = "retained"
	StateTerminating  = "terminating"
)

// Kinds of findings of the controller's resyncs.
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

// Spaces are the labels of the metric that counts spaces. A space that is retained or terminating
// no longer counts against the limit of its pool, unless its claim is still allocated. It then
// counts as expired, too.
type Spaces struct{ State, Pool string }

// Controller has the controller's metrics.
type Controller struct {
	resyncs
	// Provision has a label for the result.
	Provision Durations
	// ProvisionSteps has a label for the step. It has no failures.
	ProvisionSteps Durations
	// Revoke and Delete are steps of deprovisioning.
	Revoke, Delete Durations
	// ProvisioningErrors has a label for the reason.
	ProvisioningErrors *prometheus.CounterVec

	set set
}

// NewController registers the controller's metrics. It panics if they are registered already.
func NewController(registerer prometheus.Registerer, version string) *Controller {
	s := set{registerer}
	s.buildInfo(version)
	return &Controller{
		resyncs: s.resyncs(StaleNamespace, UnprovisionedClaim),
		Provision: s.histogram(buckets(), "provisioning_duration_seconds",
			"Duration of provisioning all spaces of a claim, by result.", []string{"result"}, Succeeded, Failed),
		ProvisionSteps: s.histogram(stepBuckets(), "provisioning_step_duration_seconds",
			"Duration of the steps of provisioning a space.", []string{"step"}, StepNamespace, StepObjects, StepRBAC, StepStatus),
		Revoke: s.histogram(buckets(), "revocation_duration_seconds",
			"Duration of revoking the credentials of a space.", nil),
		Delete: s.histogram(buckets(), "namespace_deletion_duration_seconds",
			"Time from the deletion of a space's namespace until it no longer exists.", nil),
		ProvisioningErrors: s.counter("provisioning_errors_total",
			"Number of changes of the Ready condition of a claim to False, by reason. Retries with the same message do not count.", []string{"reason"}),
		set: s,
	}
}

// Collect registers the metrics that are computed at each scrape.
func (m *Controller) Collect(spaces func() map[Spaces]int, limits func() map[string]int64, stuckTerminating func() int) {
	m.set.scraped("spaces", "Number of spaces by state and pool.", []string{"state", "pool"},
		func(emit func(float64, ...string)) {
			for spaces, n := range spaces() {
				emit(float64(n), spaces.State, spaces.Pool)
			}
		})
	m.set.scraped("pool_limit", "Maximum number of spaces in a pool. Pools without a limit are absent. A pool per node is present while it has spaces.", []string{"pool"},
		func(emit func(float64, ...string)) {
			for pool, limit := range limits() {
				emit(float64(limit), pool)
			}
		})
	m.set.scraped("namespaces_stuck_terminating", "Number of namespaces that have been terminating for longer than --stuck-terminating-after.", nil,
		func(emit func(float64, ...string)) { emit(float64(stuckTerminating())) })
}
