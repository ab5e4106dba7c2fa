// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package metrics defines the driver's own metrics. docs/metrics.md is generated from it.
package metrics

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// prefix is that of all of the driver's metrics.
const prefix = "space_dra_"

// Values of label result.
const (
	Succeeded = "success"
	Failed    = "failure"
)

// Result is the value of label result for an error.
func Result(err error) string {
	if err != nil {
		return Failed
	}
	return Succeeded
}

// buckets are for durations from an API call up to pods that terminate slowly.
func buckets() []float64 {
	return []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 35, 60, 120, 300, 600}
}

// stepBuckets are for steps of one or a few API calls.
func stepBuckets() []float64 {
	return []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
}

// Metric describes a metric in docs/metrics.md.
type Metric struct {
	Name, Type, Help string
	Labels           []string
}

// set registers metrics and keeps their descriptions.
type set struct {
	registerer prometheus.Registerer
	all        []Metric
}

// register panics if a metric of the name is registered already.
func (s *set) register(c prometheus.Collector, kind, name, help string, labels []string) {
	s.all = append(s.all, Metric{prefix + name, kind, help, labels})
	s.registerer.MustRegister(c)
}

func (s *set) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
	s.register(c, "counter", name, help, labels)
	return c
}

func (s *set) histogram(buckets []float64, name, help string, labels ...string) Durations {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: buckets}, labels)
	s.register(h, "histogram", name, help, labels)
	return Durations{h}
}

// scraped registers a gauge whose values are collected at each scrape.
func (s *set) scraped(name, help string, labels []string, collect func(emit func(value float64, labels ...string))) {
	c := scrapeCollector{prometheus.NewDesc(prefix+name, help, labels, nil), collect}
	s.register(c, "gauge", name, help, labels)
}

// buildInfo registers a metric that is always 1 and has the versions as labels.
func (s *set) buildInfo(version string) {
	s.scraped("build_info", "The constant 1, labeled by the version of the driver and of Go.", []string{"version", "go_version"},
		func(emit func(float64, ...string)) { emit(1, version, runtime.Version()) })
}

// Durations is a histogram of durations in seconds.
type Durations struct{ histogram *prometheus.HistogramVec }

// Expect initializes the series with these labels, so that increase() sees the first event.
func (d Durations) Expect(labels ...string) { d.histogram.WithLabelValues(labels...) }

// Observe records a duration.
func (d Durations) Observe(took time.Duration, labels ...string) {
	d.histogram.WithLabelValues(labels...).Observe(took.Seconds())
}

// scrapeCollector implements prometheus.Collector by a function.
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
