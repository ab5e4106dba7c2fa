// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package metrics defines the driver's own metrics. A unit test compares docs/metrics.md with it.
package metrics

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// prefix is the prefix of all metrics of the driver.
const prefix = "space_dra_"

// Values of the label result.
const (
	Succeeded = "success"
	Failed    = "failure"
)

// Result returns the value of the label result for an error.
func Result(err error) string {
	if err != nil {
		return Failed
	}
	return Succeeded
}

// buckets are for durations between those of an API call and of pods that terminate slowly, in seconds.
func buckets() []float64 {
	return []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 35, 60, 120, 300, 600}
}

// stepBuckets are for durations of steps of one or a few API calls, in seconds.
func stepBuckets() []float64 {
	return []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
}

// factory registers metrics. It panics if a metric of the same name is registered. A metric has at
// most one label. Its series start at 0, so that increase() counts the first event.
type factory struct{ prometheus.Registerer }

func (f factory) counter(name, help string, label []string, values ...string) *prometheus.CounterVec {
	c := promauto.With(f).NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, label)
	for _, value := range values {
		c.WithLabelValues(value)
	}
	return c
}

func (f factory) histogram(buckets []float64, name, help string, label []string, values ...string) Durations {
	h := promauto.With(f).NewHistogramVec(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: buckets}, label)
	for _, value := range values {
		h.WithLabelValues(value)
	}
	return Durations{h}
}

// scraped registers a gauge whose values are collected at each scrape.
func (f factory) scraped(name, help string, labels []string, collect func(emit func(value float64, labels ...string))) {
	f.MustRegister(scrapeCollector{prometheus.NewDesc(prefix+name, help, labels, nil), collect})
}

// resyncs has the metrics that both components have.
type resyncs struct {
	// Resyncs counts resyncs, without a label. Findings counts what they found, with the label kind.
	Resyncs, Findings *prometheus.CounterVec
}

func (f factory) resyncs(kinds ...string) resyncs {
	return resyncs{
		Resyncs:  f.counter("resyncs_total", "Number of resyncs.", nil),
		Findings: f.counter("resync_findings_total", "Number of inconsistencies that resyncs found, by kind.", []string{"kind"}, kinds...),
	}
}

// buildInfo registers a metric that is always 1, with the versions as labels.
func (f factory) buildInfo(version string) {
	promauto.With(f).NewGaugeVec(prometheus.GaugeOpts{
		Name: prefix + "build_info", Help: "Always 1. The labels are the versions of the driver and of Go.",
	}, []string{"version", "go_version"}).WithLabelValues(version, runtime.Version()).Set(1)
}

// Durations is a histogram of durations in seconds.
type Durations struct{ histogram *prometheus.HistogramVec }

// Observe records a duration.
func (d Durations) Observe(took time.Duration, labels ...string) {
	d.histogram.WithLabelValues(labels...).Observe(took.Seconds())
}

// scrapeCollector implements prometheus.Collector with a function.
type scrapeCollector struct {
	desc    *prometheus.Desc
	collect func(emit func(value float64, labels ...string))
}

// Describe implements prometheus.Collector.
func (c scrapeCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c scrapeCollector) Collect(ch chan<- prometheus.Metric) {
	c.collect(func(value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, value, labels...)
	})
}
