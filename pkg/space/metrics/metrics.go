// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package metrics names what the driver's components count and measure. No label
// has a value that comes from a claim, so that their number stays what it is
// however many spaces there are.
package metrics

import (
	"fmt"
	"runtime"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

const subsystem = "space_dra"

// Results of what is measured.
const (
	Succeeded = "success"
	Failed    = "failure"
)

// Result is what came out.
func Result(err error) string {
	if err != nil {
		return Failed
	}
	return Succeeded
}

// buckets are of seconds. The kubelet gives a call 45 of them; a namespace can take minutes to go.
func buckets() []float64 {
	return []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 35, 60, 120, 300, 600}
}

// stepBuckets are of seconds, for parts of what takes some ten milliseconds when all is well.
func stepBuckets() []float64 {
	return []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
}

// Registry is where metrics come to be shown.
type Registry interface {
	Register(metrics.Registerable) error
	CustomRegister(metrics.StableCollector) error
}

// Process is the Registry whose metrics the process serves.
type Process struct{}

// Register implements Registry.
func (Process) Register(m metrics.Registerable) error { return legacyregistry.Register(m) }

// CustomRegister implements Registry.
func (Process) CustomRegister(c metrics.StableCollector) error {
	return legacyregistry.CustomRegister(c)
}

// Metric describes a metric to people.
type Metric struct {
	Name, Type, Help string
	Labels           []string
}

// set is metrics in the making.
type set struct {
	to   Registry
	all  []Metric
	errs []error
}

func (s *set) add(m metrics.Registerable, kind, name, help string, labels []string) {
	s.all = append(s.all, Metric{subsystem + "_" + name, kind, help, labels})
	if err := s.to.Register(m); err != nil {
		s.errs = append(s.errs, fmt.Errorf("register metric %s_%s: %w", subsystem, name, err))
	}
}

func (s *set) err() error {
	if len(s.errs) == 0 {
		return nil
	}
	return s.errs[0]
}

func (s *set) gauge(name, help string) *metrics.Gauge {
	m := metrics.NewGauge(&metrics.GaugeOpts{Subsystem: subsystem, Name: name, Help: help, StabilityLevel: metrics.ALPHA})
	s.add(m, "gauge", name, help, nil)
	return m
}

func (s *set) counter(name, help string, labels ...string) *metrics.CounterVec {
	m := metrics.NewCounterVec(&metrics.CounterOpts{Subsystem: subsystem, Name: name, Help: help, StabilityLevel: metrics.ALPHA}, labels)
	s.add(m, "counter", name, help, labels)
	return m
}

func (s *set) durations(name, help string, labels ...string) Durations {
	return s.histogram(buckets(), name, help, labels...)
}

func (s *set) histogram(buckets []float64, name, help string, labels ...string) Durations {
	m := metrics.NewHistogramVec(&metrics.HistogramOpts{Subsystem: subsystem, Name: name, Help: help, Buckets: buckets, StabilityLevel: metrics.ALPHA}, labels)
	s.add(m, "histogram", name, help, labels)
	return Durations{m}
}

// scraped is a gauge that is asked for when somebody looks.
func (s *set) scraped(name, help string, labels []string, ask func(emit func(value float64, labels ...string))) {
	c := &asked{desc: metrics.NewDesc(subsystem+"_"+name, help, labels, nil, metrics.ALPHA, ""), ask: ask}
	s.all = append(s.all, Metric{subsystem + "_" + name, "gauge", help, labels})
	if err := s.to.CustomRegister(c); err != nil {
		s.errs = append(s.errs, fmt.Errorf("register metric %s_%s: %w", subsystem, name, err))
	}
}

// build says what runs.
func (s *set) build(version string) {
	labels := []string{"version", "go_version"}
	const name, help = "build_info", "The constant 1, labeled by the version of the driver and of Go."
	m := metrics.NewGaugeVec(&metrics.GaugeOpts{Subsystem: subsystem, Name: name, Help: help, StabilityLevel: metrics.ALPHA}, labels)
	s.add(m, "gauge", name, help, labels)
	m.WithLabelValues(version, runtime.Version()).Set(1)
}

// Durations are measured with the clock of whoever measures.
type Durations struct{ histogram *metrics.HistogramVec }

// Expect shows a histogram that has nothing in it yet.
func (d Durations) Expect(labels ...string) { d.histogram.WithLabelValues(labels...) }

// Observe takes note of a duration. The labels are in the order of the metric's.
func (d Durations) Observe(took time.Duration, labels ...string) {
	d.histogram.WithLabelValues(labels...).Observe(took.Seconds())
}

type asked struct {
	metrics.BaseStableCollector
	desc *metrics.Desc
	ask  func(emit func(value float64, labels ...string))
}

// DescribeWithStability implements metrics.StableCollector.
func (a *asked) DescribeWithStability(ch chan<- *metrics.Desc) { ch <- a.desc }

// CollectWithStability implements metrics.StableCollector.
func (a *asked) CollectWithStability(ch chan<- metrics.Metric) {
	a.ask(func(value float64, labels ...string) {
		ch <- metrics.NewLazyConstMetric(a.desc, metrics.GaugeValue, value, labels...)
	})
}
