// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Kinds of findings of the kubelet plugin's resyncs: values of the label kind.
const (
	// DeallocatedClaim is a deallocated claim that the kubelet did not unprepare.
	DeallocatedClaim = "deallocated_claim"
	// OrphanedCDISpec is a CDI spec of a claim that is not prepared.
	OrphanedCDISpec = "orphaned_cdi_spec"
	// TemporaryFile is a file that a process was writing when it was killed.
	TemporaryFile = "temporary_file"
	// DamagedMetadata is metadata of a prepared claim that cannot be read.
	DamagedMetadata = "damaged_metadata"
	// UntrackedClaim is a claim that another process prepared, so that this one does not renew its
	// tokens yet.
	UntrackedClaim = "untracked_claim"
)

// Steps of preparing a claim: values of the label step.
const (
	StepWait  = "wait"
	StepToken = "token"
	StepFiles = "files"
)

// Plugin has the kubelet plugin's metrics.
type Plugin struct {
	resyncs
	// Prepare and Unprepare observe calls of the kubelet, with the label result.
	Prepare, Unprepare Durations
	// PrepareSteps observes the steps of Prepare, with the label step. Failures are not observed.
	PrepareSteps Durations
	// Renewals counts attempts to renew the tokens of a claim, with the label result.
	Renewals *prometheus.CounterVec

	factory factory
}

// Tokens is the state of the tokens on a node.
type Tokens struct {
	// Claims is the number of prepared claims whose tokens are renewed.
	Claims int
	// Remaining is the shortest remaining lifetime of the tokens. It is negative after a token has
	// expired, and valid only if Known is set.
	Remaining time.Duration
	Known     bool
}

// NewPlugin registers the plugin's metrics. It panics if they are registered already.
func NewPlugin(registerer prometheus.Registerer, version string) *Plugin {
	f := factory{registerer}
	f.buildInfo(version)
	return &Plugin{
		resyncs: f.resyncs(DeallocatedClaim, OrphanedCDISpec, TemporaryFile, DamagedMetadata, UntrackedClaim),
		Prepare: f.histogram(buckets(), "prepare_duration_seconds",
			"Duration of preparing a claim, by result. It includes the wait for the spaces.", []string{"result"}, Succeeded, Failed),
		PrepareSteps: f.histogram(stepBuckets(), "prepare_step_duration_seconds",
			"Duration of the steps of preparing a claim.", []string{"step"}, StepWait, StepToken, StepFiles),
		Unprepare: f.histogram(buckets(), "unprepare_duration_seconds",
			"Duration of unpreparing a claim, by result.", []string{"result"}, Succeeded, Failed),
		Renewals: f.counter("token_renewals_total",
			"Number of attempts to renew the tokens of a claim, by result.", []string{"result"}, Succeeded, Failed),
		factory: f,
	}
}

// Collect registers metrics that are computed from the tokens at each scrape. It panics if they are
// registered already.
func (m *Plugin) Collect(tokens func() Tokens) {
	m.factory.scraped("prepared_claims", "Number of claims on the node whose tokens are renewed.", nil, func(emit func(float64, ...string)) {
		emit(float64(tokens().Claims))
	})
	// A metric with the time of expiration would be wrong on a node whose clock is wrong.
	m.factory.scraped("token_remaining_lifetime_seconds", "Shortest remaining lifetime of the tokens on the node. Negative after a token has expired. Absent without tokens.", nil, func(emit func(float64, ...string)) {
		if t := tokens(); t.Known {
			emit(t.Remaining.Seconds())
		}
	})
}
