// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package board

import "fmt"

// ours selects the driver's own series.
const ours = `{job=~"$job"}`

// with selects those of them that match as well.
func with(matchers string) string {
	return `{job=~"$job",` + matchers + `}`
}

// increase is how many there were for each value of the labels.
func increase(by, counter string) string {
	return fmt.Sprintf("sum by (%s) (increase(%s%s[$__rate_interval]))", by, counter, ours)
}

// quantiles are the time that half, nine of ten, and all but one of a hundred took.
func quantiles(histogram, selector string) []Query {
	var out []Query
	for _, q := range []struct{ of, name string }{{"0.5", "p50"}, {"0.9", "p90"}, {"0.99", "p99"}} {
		out = append(out, Query{
			Expr:   fmt.Sprintf("histogram_quantile(%s, sum by (le) (rate(%s_bucket%s[$__rate_interval])))", q.of, histogram, selector),
			Legend: q.name,
		})
	}
	return out
}

// Panels are the dashboard, from left to right and from top to bottom.
func Panels() []Panel {
	return arrange(
		row{4, 4, now()},
		row{12, 8, spaces()},
		row{12, 8, durations()},
		row{12, 8, tokens()},
		row{12, 8, requests()},
		row{8, 8, work()},
		row{8, 8, processes()},
	)
}

// row is panels of one size.
type row struct {
	width, height int
	panels        []Panel
}

func arrange(rows ...row) []Panel {
	var out []Panel
	for _, r := range rows {
		for _, p := range r.panels {
			p.Width, p.Height = r.width, r.height
			out = append(out, p)
		}
	}
	return out
}

func stat(title, about string, unit Unit, expr string) Panel {
	return Panel{Title: title, About: about, Kind: Stat, Unit: unit, Queries: []Query{{Expr: expr}}}
}

func lines(title, about string, unit Unit, queries ...Query) Panel {
	return Panel{Title: title, About: about, Kind: Lines, Unit: unit, Queries: queries}
}

// but changes a panel.
func (p Panel) but(change func(*Panel)) Panel {
	change(&p)
	return p
}

// alerted has the alerts that look at the same.
func (p Panel) alerted(names ...string) Panel {
	return p.but(func(p *Panel) { p.Alerts = names })
}

func now() []Panel {
	ready := stat("Spaces ready", "Spaces that pods can use.", Count, "sum(space_dra_spaces"+with(`state="ready"`)+") or vector(0)")
	pending := stat("Spaces pending", "Spaces that are being made. Pods wait for them.", Count, "sum(space_dra_spaces"+with(`state="pending"`)+") or vector(0)")
	stuck := stat("Stuck namespaces", "Namespaces of ended spaces that do not go.", Count, "max(space_dra_namespaces_stuck_terminating"+ours+")").alerted("SpaceStuckTerminating")
	leaders := stat("Leaders", "Controllers that lead: one, and none for some seconds while they change.", Count, "sum(leader_election_master_status"+ours+")").alerted("SpaceNoLeader", "SpaceControllerDown")
	plugins := stat("Plugins", "Kubelet plugins that Prometheus sees: one for each node.", Count, "count(space_dra_prepared_claims"+ours+")").alerted("SpacePluginDown")
	nearest := stat("Nearest end of a token", "How long the first token of all nodes still works. Tokens are renewed after two thirds of their lifetime.", Seconds, "min(space_dra_token_nearest_expiry_seconds"+ours+")").alerted("SpaceTokenAboutToEnd")
	return []Panel{
		ready, pending,
		stuck.but(func(p *Panel) { p.Warn = 1 }),
		leaders.but(func(p *Panel) { p.Low = true }),
		plugins.but(func(p *Panel) { p.Low = true }),
		nearest.but(func(p *Panel) { p.Warn, p.Low = 120, true }),
	}
}

func spaces() []Panel {
	return []Panel{
		lines("Spaces by state and pool", "As the leading controller sees them. Spaces that have ended are of no pool.", Count,
			Query{"sum by (state, pool) (space_dra_spaces" + ours + ")", "{{state}} {{pool}}"}),
		lines("Pools with a limit", "Spaces of a pool, and how many it has. The next pod waits when all are in use.", Count,
			Query{"sum by (pool) (space_dra_spaces" + with(`pool!=""`) + ") and on (pool) space_dra_pool_limit" + ours, "{{pool}}"},
			Query{"max by (pool) (space_dra_pool_limit" + ours + ")", "{{pool}}: limit"}).alerted("SpacePoolExhausted"),
		lines("Claims that got their spaces", "Claims whose spaces were made, and attempts that failed and are tried again.", Count,
			Query{increase("result", "space_dra_provision_duration_seconds_count"), "{{result}}"}).alerted("SpaceProvisioningFailing"),
		lines("Claims that were told why they have no space", "By the reason in the claim's condition.", Count,
			Query{increase("reason", "space_dra_provisioning_errors_total"), "{{reason}}"}),
	}
}

func durations() []Panel {
	return []Panel{
		lines("Time to make a claim's spaces", "By the controller, in one go.", Seconds,
			quantiles("space_dra_provision_duration_seconds", with(`result="success"`))...).alerted("SpaceProvisioningSlow"),
		lines("Time to prepare a claim on a node", "As the kubelet waits for it. It includes waiting for the spaces.", Seconds,
			quantiles("space_dra_prepare_duration_seconds", with(`result="success"`))...),
		lines("Time to revoke credentials", "From the beginning of a space's end until its token is worth nothing.", Seconds,
			quantiles("space_dra_revoke_duration_seconds", ours)...),
		lines("Namespace deletion", "How long Kubernetes takes to delete what is in a space, and its namespace.", Seconds,
			quantiles("space_dra_namespace_deletion_duration_seconds", ours)...).alerted("SpaceStuckTerminating"),
	}
}

func tokens() []Panel {
	return []Panel{
		lines("Token renewals", "Claims whose tokens were renewed on a node, or one of whose could not be.", Count,
			Query{increase("result", "space_dra_token_renewals_total"), "{{result}}"}).alerted("SpaceTokenRenewalsFailing"),
		lines("Nearest end of a token, by node", "How long the first token to end still works. It falls until two thirds of a token's lifetime are over.", Seconds,
			Query{"min by (node) (space_dra_token_nearest_expiry_seconds" + ours + ")", "{{node}}"}).alerted("SpaceTokenAboutToEnd"),
	}
}

func requests() []Panel {
	return []Panel{
		lines("Requests to the API server", "Of both components, by method and the code of the response.", PerSecond,
			Query{"sum by (method, code) (rate(rest_client_requests_total" + ours + "[$__rate_interval]))", "{{method}} {{code}}"}),
		lines("Requests for each claim that got its spaces", "All requests of both components, divided by the claims.", Count,
			Query{"sum(rate(rest_client_requests_total" + ours + "[$__rate_interval])) / (sum(rate(space_dra_provision_duration_seconds_count" +
				with(`result="success"`) + "[$__rate_interval])) > 0)", "requests"}),
	}
}

func work() []Panel {
	return []Panel{
		lines("Corrections by resyncs", "Resyncs look for what was missed. What they correct again and again is a leak.", Count,
			Query{increase("kind", "space_dra_resync_corrections_total"), "{{kind}}"}).alerted("SpaceLeakSuspected"),
		lines("Queue", "Claims and spaces that wait for the controller.", Count,
			Query{"sum by (name) (workqueue_depth" + ours + ")", "{{name}}"}),
		lines("Time in the queue", "How long nine of ten wait for the controller.", Seconds,
			Query{"histogram_quantile(0.9, sum by (le, name) (rate(workqueue_queue_duration_seconds_bucket" + ours + "[$__rate_interval])))", "{{name}}"}),
	}
}

func processes() []Panel {
	return []Panel{
		lines("Claims on each node", "Claims whose tokens the node's plugin keeps fresh. A node without a curve has no plugin.", Count,
			Query{"sum by (node) (space_dra_prepared_claims" + ours + ")", "{{node}}"}).alerted("SpacePluginDown"),
		lines("Who leads", "1 for the controller that leads, 0 for those that stand by.", Count,
			Query{"max by (pod) (leader_election_master_status" + ours + ")", "{{pod}}"}).alerted("SpaceNoLeader"),
		lines("Versions", "How many pods run which version of the driver, of which version of Go.", Count,
			Query{"count by (version, go_version) (space_dra_build_info" + ours + ")", "{{version}} {{go_version}}"}),
		lines("Memory", "Of each pod's process.", Bytes,
			Query{"max by (pod) (process_resident_memory_bytes" + ours + ")", "{{pod}}"}),
		lines("Processors", "That each pod's process keeps busy.", Processors,
			Query{"sum by (pod) (rate(process_cpu_seconds_total" + ours + "[$__rate_interval]))", "{{pod}}"}),
		lines("Pods that answer", "1 for each pod that Prometheus gets metrics from, 0 for those that it doesn't.", Count,
			Query{"max by (pod) (up" + ours + ")", "{{pod}}"}).alerted("SpaceControllerDown"),
	}
}
