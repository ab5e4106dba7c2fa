// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package metrics names what the driver's components count.
package metrics

import (
	"fmt"

	"k8s.io/component-base/metrics"
)

const subsystem = "space_dra"

// Controller is what the controller measures.
type Controller struct {
	// StuckTerminating is the number of namespaces whose deletion takes longer
	// than it should.
	StuckTerminating *metrics.Gauge
}

// NewController hands the controller's metrics to register, by which they come to
// be shown somewhere.
func NewController(register func(metrics.Registerable) error) (*Controller, error) {
	m := &Controller{
		StuckTerminating: metrics.NewGauge(&metrics.GaugeOpts{
			Subsystem:      subsystem,
			Name:           "namespaces_stuck_terminating",
			Help:           "Number of namespaces of ended spaces whose deletion takes longer than --stuck-after.",
			StabilityLevel: metrics.ALPHA,
		}),
	}
	if err := register(m.StuckTerminating); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return m, nil
}
