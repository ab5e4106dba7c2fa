// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import "github.com/prometheus/client_golang/prometheus"

// States of spaces, as docs/concepts.md defines them. A state is a value of the label state.
const (
	StateProvisioning = "provisioning"
	StateReady        = "ready"
	StateExpired      = "expired"
	StateRetained     = "retained"
	StateTerminating  = "terminating"
)

// Kinds of findings of the controller's resyncs: values of the label kind.
const (
	// StaleNamespace is a namespace of no current allocation that is not deprovisioned.
	StaleNamespace = "stale_namespace"
	// UnprovisionedClaim is an allocated claim that is not ready.
	UnprovisionedClaim = "unprovisioned_claim"
)

// Steps of provisioning a space: values of the label step. StepObjects includes StepRBAC.
const (
	StepNamespace = "namespace"
	StepObjects   = "objects"
	StepRBAC      = "rbac"
	StepStatus    = "status"
)

// SpaceLabels are the labels of the metric that counts spaces. A space that is retained or terminating
// no longer counts against the limit of its pool, unless its claim is still allocated. It then
// counts as expired, too.
type SpaceLabels struct{ State, Pool string }

// Controller has the controller's metrics.
type Controller struct {
	resyncs
	// Provision observes the provisioning of all spaces of a claim, with the label result.
	Provision Durations
	// ProvisionSteps observes the steps of provisioning, with the label step. Failures are not observed.
	ProvisionSteps Durations
	// Revoke observes the revocation of credentials, and Delete the deletion of namespaces.
	Revoke, Delete Durations
	// ProvisioningErrors counts conditions Ready that are False, with the label reason.
	ProvisioningErrors *prometheus.CounterVec

	factory factory
}

// NewController registers the controller's metrics. It panics if they are registered already.
func NewController(registerer prometheus.Registerer, version string) *Controller {
	f := factory{registerer}
	f.buildInfo(version)
	return &Controller{
		resyncs: f.resyncs(StaleNamespace, UnprovisionedClaim),
		Provision: f.histogram(buckets(), "provisioning_duration_seconds",
			"Duration of provisioning all spaces of a claim, by result.", []string{"result"}, Succeeded, Failed),
		ProvisionSteps: f.histogram(stepBuckets(), "provisioning_step_duration_seconds",
			"Duration of the steps of provisioning a space.", []string{"step"}, StepNamespace, StepObjects, StepRBAC, StepStatus),
		Revoke: f.histogram(buckets(), "revocation_duration_seconds",
			"Duration of revoking the credentials of a space.", nil),
		Delete: f.histogram(buckets(), "namespace_deletion_duration_seconds",
			"Time from the deletion of a space's namespace until it no longer exists.", nil),
		ProvisioningErrors: f.counter("provisioning_errors_total",
			"Number of changes of the Ready condition of a claim to False, by reason. Retries with the same message do not count.", []string{"reason"}),
		factory: f,
	}
}

// Collect registers the metrics that are computed at each scrape. It panics if they are registered
// already. limits returns the maximum numbers of spaces by pool.
func (m *Controller) Collect(spaces func() map[SpaceLabels]int, limits func() map[string]int64, stuckTerminating func() int) {
	m.factory.scraped("spaces", "Number of spaces by state and pool.", []string{"state", "pool"},
		func(emit func(float64, ...string)) {
			for spaces, n := range spaces() {
				emit(float64(n), spaces.State, spaces.Pool)
			}
		})
	m.factory.scraped("pool_limit", "Maximum number of spaces in a pool. Pools without a limit are absent. A pool per node is present while it has spaces.", []string{"pool"},
		func(emit func(float64, ...string)) {
			for pool, limit := range limits() {
				emit(float64(limit), pool)
			}
		})
	m.factory.scraped("namespaces_stuck_terminating", "Number of namespaces that have been terminating for longer than --stuck-terminating-after.", nil,
		func(emit func(float64, ...string)) { emit(float64(stuckTerminating())) })
}
