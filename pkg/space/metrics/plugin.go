// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Kinds of findings of the plugin's resyncs.
const (
	EndedClaim      = "ended_claim"
	OrphanedCDISpec = "orphaned_cdi_spec"
	TemporaryFile   = "temporary_file"
	DamagedMetadata = "damaged_metadata"
	ImportedClaim   = "imported_claim"
)

// Steps of preparing a claim.
const (
	StepWait  = "wait"
	StepToken = "token"
	StepFiles = "files"
)

// Plugin has the kubelet plugin's metrics.
type Plugin struct {
	resyncs
	// Prepare and Unprepare have a label for the result.
	Prepare, Unprepare Durations
	// PrepareSteps has a label for the step. It has no failures.
	PrepareSteps Durations
	// Renewals has a label for the result.
	Renewals *prometheus.CounterVec

	set set
}

// Tokens is the state of the tokens on a node.
type Tokens struct {
	Claims int
	// Remaining is the shortest remaining lifetime of the tokens. It is valid if Known.
	Remaining time.Duration
	Known     bool
}

// NewPlugin registers the plugin's metrics. It panics if they are registered already.
func NewPlugin(registerer prometheus.Registerer, version string) *Plugin {
	s := set{registerer}
	s.buildInfo(version)
	return &Plugin{
		resyncs: s.resyncs(EndedClaim, OrphanedCDISpec, TemporaryFile, DamagedMetadata, ImportedClaim),
		Prepare: s.histogram(buckets(), "prepare_duration_seconds",
			"Duration of preparing a claim, by result. It includes the wait for the spaces.", []string{"result"}, Succeeded, Failed),
		PrepareSteps: s.histogram(stepBuckets(), "prepare_step_duration_seconds",
			"Duration of the steps of preparing a claim.", []string{"step"}, StepWait, StepToken, StepFiles),
		Unprepare: s.histogram(buckets(), "unprepare_duration_seconds",
			"Duration of unpreparing a claim, by result.", []string{"result"}, Succeeded, Failed),
		Renewals: s.counter("token_renewals_total",
			"Number of attempts to renew the tokens of a claim, by result.", []string{"result"}, Succeeded, Failed),
		set: s,
	}
}

// Collect registers metrics that are computed from the tokens at each scrape.
func (m *Plugin) Collect(tokens func() Tokens) {
	m.set.scraped("prepared_claims", "Number of claims on the node whose tokens are renewed.", nil, func(emit func(float64, ...string)) {
		emit(float64(tokens().Claims))
	})
	// Not the time of expiration, which would be wrong if the node's clock is.
	m.set.scraped("token_remaining_lifetime_seconds", "Shortest remaining lifetime of the tokens on the node. Negative after a token has expired. Absent without tokens.", nil, func(emit func(float64, ...string)) {
		if t := tokens(); t.Known {
			emit(t.Remaining.Seconds())
		}
	})
}
