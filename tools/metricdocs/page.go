// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
)

const head = `<!-- Made by make generate of what pkg/space/metrics registers. Do not edit. -->

# Metrics

Both components serve metrics in the Prometheus format at ` + "`/metrics`" + `: the controller at its metrics port, optionally
[to authorized clients only](operations.md#secured-metrics), and the kubelet plugin at its HTTP port. Names may still change.

No label has a value that comes from a claim: the number of series does not grow with the number of spaces. ` + "`pool`" + ` has a value
for each pool that is in use, and where pools are per node, that is one for each such node. Durations are in seconds, in buckets from 5 ms to 10 minutes.
Counters and histograms of the driver exist from the start, except for reasons that have not occurred yet.
`

const libraries = `
## Of Kubernetes' libraries

| Metric | Labels | What it is |
|---|---|---|
| ` + "`rest_client_requests_total`" + ` | code, method, host | Requests to the API server |
| ` + "`rest_client_request_duration_seconds`" + ` | verb, host | How long they took |
| ` + "`workqueue_depth`, `workqueue_adds_total`, `workqueue_retries_total`" + ` | name, and more | What is waiting: claims |
| ` + "`workqueue_queue_duration_seconds`, `workqueue_work_duration_seconds`" + ` | name, and more | How long claims wait, and how long the work takes |
| ` + "`controller_runtime_*`" + ` | controller, and more | Of the controller: reconciles, their errors and durations |
| ` + "`leader_election_master_status`" + ` | name | 1 in the controller that leads, 0 in a standby |
| ` + "`process_*`, `go_*`" + ` | | Memory, CPU and file descriptors of the process, and Go's own |

The API server counts requests by resource, for all clients together, in ` + "`apiserver_request_total`" + `.
`

// generate writes the page.
func generate() []byte {
	controller := metrics.NewController(prometheus.NewRegistry(), "")
	controller.Collect(nil, nil, nil)
	plugin := metrics.NewPlugin(prometheus.NewRegistry(), "")
	plugin.Watch(nil)
	var out bytes.Buffer
	fmt.Fprint(&out, head)
	table(&out, "Of the controller", controller.Metrics())
	table(&out, "Of the kubelet plugin", plugin.Metrics())
	fmt.Fprint(&out, libraries)
	return out.Bytes()
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
		"state":  {metrics.StatePending, metrics.StateReady, metrics.StateExpired, metrics.StateRetained, metrics.StateTerminating},
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
