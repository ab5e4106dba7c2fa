// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"strings"

	componentmetrics "k8s.io/component-base/metrics"

	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
)

const head = `<!-- Made by make generate of what pkg/space/metrics registers. Do not edit. -->

# Metrics

Both components serve metrics in the Prometheus format at ` + "`/metrics`" + ` of their HTTP port, beside ` + "`/healthz`" + ` and ` + "`/readyz`" + `,
or [to those only who may read them](operations.md#secured-metrics).
All are ALPHA: names may still change.

No label has a value that comes from a claim: the number of series does not grow with the number of spaces. ` + "`pool`" + ` has a value
for each pool that is in use, and where pools are per node, that is one for each such node. Durations are in seconds, in buckets from 5 ms to 10 minutes.
Counters and histograms of the driver are there from the start on, but for a reason that nobody was told yet.
`

const libraries = `
## Of both, by Kubernetes' libraries

| Metric | Labels | What it is |
|---|---|---|
| ` + "`rest_client_requests_total`" + ` | code, method, host | Requests to the API server |
| ` + "`rest_client_request_duration_seconds`" + ` | verb, host | How long they took |
| ` + "`rest_client_rate_limiter_duration_seconds`" + ` | verb, host | How long they waited before they were sent |
| ` + "`workqueue_depth`, `workqueue_adds_total`, `workqueue_retries_total`" + ` | name | What is waiting: claims |
| ` + "`workqueue_queue_duration_seconds`, `workqueue_work_duration_seconds`" + ` | name | How long claims wait, and how long the work takes |
| ` + "`leader_election_master_status`" + ` | name | 1 in the controller that leads, 0 in one that stands by |
| ` + "`process_*`, `go_*`" + ` | | Memory, CPU and file descriptors of the process, and Go's own |

The API server counts requests, too, in ` + "`apiserver_request_total`" + `, but for all its clients together.
`

// generate writes the page.
func generate() ([]byte, error) {
	controller, err := metrics.NewController(componentmetrics.NewKubeRegistry(), "")
	if err != nil {
		return nil, err
	}
	if err := controller.Count(func() map[metrics.Spaces]int { return nil }, func() map[string]int64 { return nil }); err != nil {
		return nil, err
	}
	plugin, err := metrics.NewPlugin(componentmetrics.NewKubeRegistry(), "")
	if err != nil {
		return nil, err
	}
	if err := plugin.Watch(func() metrics.Tokens { return metrics.Tokens{} }); err != nil {
		return nil, err
	}
	requests, err := metrics.NewRequests(componentmetrics.NewKubeRegistry())
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	fmt.Fprint(&out, head)
	table(&out, "Of the controller", controller.Metrics())
	table(&out, "Of the kubelet plugin", plugin.Metrics())
	table(&out, "Of both", requests.Metrics())
	fmt.Fprint(&out, libraries)
	return out.Bytes(), nil
}

func table(out *bytes.Buffer, title string, all []metrics.Metric) {
	fmt.Fprintf(out, "\n## %s\n\n| Metric | Type | Labels | What it is |\n|---|---|---|---|\n", title)
	for _, m := range all {
		fmt.Fprintf(out, "| `%s` | %s | %s | %s |\n", m.Name, m.Type, labels(m.Labels), m.Help)
	}
}

// labels has their values, too, where there are few.
func labels(names []string) string {
	values := map[string][]string{
		"result": {metrics.Succeeded, metrics.Failed},
		"state":  {metrics.StatePending, metrics.StateReady, metrics.StateExpired, metrics.StateRetained, metrics.StateEnding},
	}
	var out []string
	for _, name := range names {
		if len(values[name]) > 0 {
			name += " (" + strings.Join(values[name], ", ") + ")"
		}
		out = append(out, name)
	}
	return strings.Join(out, ", ")
}
