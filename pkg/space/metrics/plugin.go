// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"time"

	"k8s.io/component-base/metrics"
)

// Findings of the plugin's sweeps.
const (
	FoundEnded      = "ended_claim"
	FoundOrphan     = "files_without_record"
	FoundTemporary  = "temporary_file"
	FoundUnreadable = "unreadable_record"
	FoundForeign    = "claim_of_another_process"
)

// Steps of preparing a claim.
const (
	StepWait  = "wait"
	StepToken = "token"
	StepFiles = "files"
)

// Plugin is what the kubelet plugin measures.
type Plugin struct {
	// Prepare and Unprepare have a label for the result.
	Prepare, Unprepare Durations
	// PrepareSteps has a label for the step, and no failures.
	PrepareSteps Durations
	// Renewals has a label for the result.
	Renewals *metrics.CounterVec
	// Sweeps has no label, and Findings one for what was found.
	Sweeps, Findings *metrics.CounterVec

	set *set
}

// Tokens is what is known of the tokens on a node.
type Tokens struct {
	Claims int
	// Left is how long the first of the tokens still works. It means nothing
	// unless Known.
	Left  time.Duration
	Known bool
}

// NewPlugin hands the plugin's metrics to a registry.
func NewPlugin(registry Registry, version string) (*Plugin, error) {
	s := &set{to: registry}
	m := &Plugin{
		Prepare: s.durations("prepare_duration_seconds",
			"How long the kubelet waited for a claim to be prepared on the node, which includes waiting for its spaces.", "result"),
		PrepareSteps: s.histogram(stepBuckets(), "prepare_step_duration_seconds",
			"How long the steps took of preparing a claim: waiting until its spaces are ready, getting tokens for them, and writing all files.", "step"),
		Unprepare: s.durations("unprepare_duration_seconds",
			"How long it took to remove what a node has of a claim.", "result"),
		Renewals: s.counter("token_renewals_total",
			"Number of times that all tokens of a claim that were due were renewed, or that one of them could not be.", "result"),
		Sweeps: s.counter("sweeps_total",
			"Number of sweeps, which look for what was missed."),
		Findings: s.counter("sweep_findings_total",
			"Number of things that sweeps found and did or had done something about.", "finding"),
		set: s,
	}
	// An increase is seen only of what was there before.
	for _, result := range []string{Succeeded, Failed} {
		m.Prepare.Expect(result)
		m.Unprepare.Expect(result)
		m.Renewals.WithLabelValues(result)
	}
	for _, step := range []string{StepWait, StepToken, StepFiles} {
		m.PrepareSteps.Expect(step)
	}
	for _, finding := range []string{FoundEnded, FoundOrphan, FoundTemporary, FoundUnreadable, FoundForeign} {
		m.Findings.WithLabelValues(finding)
	}
	s.build(version)
	return m, s.err()
}

// Watch has the tokens looked at whenever somebody looks.
func (m *Plugin) Watch(tokens func() Tokens) error {
	m.set.scraped("prepared_claims", "Number of claims on the node whose tokens are kept fresh.", nil, func(emit func(float64, ...string)) {
		emit(float64(tokens().Claims))
	})
	m.set.scraped("token_nearest_expiry_seconds", "How long the first of the node's tokens to end still works, negative if it has ended. Not there without tokens, and for half a minute after a start.", nil, func(emit func(float64, ...string)) {
		if t := tokens(); t.Known {
			emit(t.Left.Seconds())
		}
	})
	return m.set.err()
}

// Metrics describes them all.
func (m *Plugin) Metrics() []Metric { return m.set.all }
