// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import "k8s.io/component-base/metrics"

// Requests counts what a component asks of the API server.
type Requests struct {
	counter *metrics.CounterVec
	set     *set
}

// NewRequests hands the metric to a registry.
func NewRequests(registry Registry) (*Requests, error) {
	s := &set{to: registry}
	m := &Requests{
		counter: s.counter("api_requests_total",
			"Number of requests to the API server. The code is that of the answer, or `none` if there was none. The resource is that of the path, with its subresource, or `none` if the path has none.",
			"verb", "resource", "code"),
		set: s,
	}
	return m, s.err()
}

// Count takes note of a request that was answered, or was not.
func (m *Requests) Count(verb, resource, code string) {
	m.counter.WithLabelValues(verb, resource, code).Inc()
}

// Metrics describes them all.
func (m *Requests) Metrics() []Metric { return m.set.all }
