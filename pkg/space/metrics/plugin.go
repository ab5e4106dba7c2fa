// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Kinds of corrections that the plugin's resyncs make.
const (
	FoundEnded     = "ended_claim"
	FoundOrphan    = "orphaned_cdi_spec"
	FoundTemporary = "temporary_file"
	FoundDamaged   = "damaged_metadata"
	FoundForeign   = "foreign_claim"
)

// Steps of preparing a claim.
const (
	StepWait  = "wait"
	StepToken = "token"
	StepFiles = "files"
)

// Plugin has the kubelet plugin's metrics.
type Plugin struct {
	// Prepare and Unprepare have a label for the result.
	Prepare, Unprepare Durations
	// PrepareSteps has a label for the step. It has no failures.
	PrepareSteps Durations
	// Renewals has a label for the result.
	Renewals *prometheus.CounterVec
	// Resyncs has no label, and Corrections has one for the kind.
	Resyncs, Corrections *prometheus.CounterVec

	set *set
}

// Tokens is what is known of the tokens on a node.
type Tokens struct {
	Claims int
	// Left is the time until the first of the tokens expires. It is valid if Known.
	Left  time.Duration
	Known bool
}

// NewPlugin registers the plugin's metrics. It panics if they are registered already.
func NewPlugin(registerer prometheus.Registerer, version string) *Plugin {
	s := &set{registerer: registerer}
	m := &Plugin{
		Prepare: s.histogram(buckets(), "prepare_duration_seconds",
			"How long the kubelet waited for a claim to be prepared on the node, which includes waiting for its spaces.", "result"),
		PrepareSteps: s.histogram(stepBuckets(), "prepare_step_duration_seconds",
			"How long the steps of preparing a claim took: waiting until its spaces are ready, requesting tokens for them, and writing all files.", "step"),
		Unprepare: s.histogram(buckets(), "unprepare_duration_seconds",
			"How long it took to remove a claim from the node.", "result"),
		Renewals: s.counter("token_renewals_total",
			"Number of times that all tokens of a claim that were due were renewed, or that one of them could not be.", "result"),
		Resyncs: s.counter("resyncs_total",
			"Number of resyncs, which look for what was missed."),
		Corrections: s.counter("resync_corrections_total",
			"Number of things that resyncs found and corrected.", "kind"),
		set: s,
	}
	// Initialize series to 0 so that increase() sees the first event.
	for _, result := range []string{Succeeded, Failed} {
		m.Prepare.Expect(result)
		m.Unprepare.Expect(result)
		m.Renewals.WithLabelValues(result)
	}
	for _, step := range []string{StepWait, StepToken, StepFiles} {
		m.PrepareSteps.Expect(step)
	}
	for _, kind := range []string{FoundEnded, FoundOrphan, FoundTemporary, FoundDamaged, FoundForeign} {
		m.Corrections.WithLabelValues(kind)
	}
	s.buildInfo(version)
	return m
}

// Watch registers metrics that are computed from the tokens at each scrape.
func (m *Plugin) Watch(tokens func() Tokens) {
	m.set.scraped("prepared_claims", "Number of claims on the node whose tokens are renewed.", nil, func(emit func(float64, ...string)) {
		emit(float64(tokens().Claims))
	})
	m.set.scraped("token_nearest_expiry_seconds", "Time until the first of the node's tokens expires, negative if it has expired. Absent without tokens, and for half a minute after a start.", nil, func(emit func(float64, ...string)) {
		if t := tokens(); t.Known {
			emit(t.Left.Seconds())
		}
	})
}

// Metrics describes all metrics that are registered.
func (m *Plugin) Metrics() []Metric { return m.set.all }
