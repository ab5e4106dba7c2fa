// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
	"github.com/space-dra/space-dra-driver/test/framework/dashboard"
	"github.com/space-dra/space-dra-driver/test/framework/prometheus"
)

// TestDashboard_showsDataForEachPanel lets a real Prometheus look at the driver while pods come and go.
func TestDashboard_showsDataForEachPanel(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	server := startPrometheus(t)
	from := time.Now()

	limited := framework.NewClaim("limited")
	limited.Spec.Devices.Requests[0].Exactly.DeviceClassName = "example-limited-pool"
	env.CreateClaim(t, ns, limited)
	env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	env.CreateClaim(t, ns, choosing(framework.NewClaim("refused"), `,"clusterRoles":["cluster-admin"]`))
	for _, claim := range []string{"limited", "test-claim", "refused"} {
		env.StartPod(t, ns, framework.NewPod(claim, claim))
	}
	framework.Await(t, framework.Claim(env.Client, ns, "refused"), framework.NotReadyBecause(spaceapi.ReasonInvalidParameters, "cluster-admin"))
	framework.Await(t, framework.Claim(env.Client, ns, "limited"), framework.SpacesReady(1))
	// Others want that space, too.
	awaitShown(t, server, from, "Pools with a limit")
	env.DeletePod(t, ns, "limited")
	framework.Await(t, framework.Pod(env.Client, ns, "test-claim"), framework.PodReady())
	awaitShown(t, server, from, "Time to first token expiry")
	env.DeletePod(t, ns, "test-claim")

	awaitShown(t, server, from)
	rulesWork(t, server)
}

// startPrometheus runs Prometheus for the time of a test, with the chart's rules.
func startPrometheus(t *testing.T) *prometheus.Server {
	t.Helper()
	rendered, err := env.Tool(t.Context(), "helm", "template", framework.DriverNamespace,
		filepath.Join(filepath.Dir(cluster.DefaultConfig().BuildDir), "deployments/helm/space-dra-driver"),
		"--namespace", framework.DriverNamespace, "--set", "metrics.prometheusRule.enabled=true", "--show-only", "templates/prometheusrule.yaml")
	if err != nil {
		t.Fatalf("render the rules: %v: %s", err, rendered)
	}
	var rule struct{ Spec struct{ Groups []any } }
	if err := yaml.Unmarshal([]byte(rendered), &rule); err != nil || len(rule.Spec.Groups) == 0 {
		t.Fatalf("read the rules: %v: %s", err, rendered)
	}
	server, err := prometheus.Start(t.Context(), t.TempDir(), env, rule.Spec.Groups)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("Prometheus' log:\n%s", server.Log())
		}
	})
	return server
}

// awaitShown waits until each query of the panels, or of all, has had a number
// since then. Prometheus can only be asked again and again.
func awaitShown(t *testing.T, server *prometheus.Server, from time.Time, titles ...string) {
	t.Helper()
	shown, err := dashboard.Load(filepath.Dir(cluster.DefaultConfig().BuildDir))
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]string{}
	for _, panel := range shown.Panels {
		for i, target := range panel.Targets {
			if len(titles) == 0 || slices.Contains(titles, panel.Title) {
				missing[fmt.Sprintf("%s %c", panel.Title, 'A'+i)] = target.Query("30s")
			}
		}
	}
	if len(missing) < len(titles) {
		t.Fatalf("the dashboard lacks one of the panels %q", titles)
	}
	var last error
	err = wait.PollUntilContextTimeout(t.Context(), 500*time.Millisecond, framework.Patience, true, func(ctx context.Context) (bool, error) {
		for query, expr := range missing {
			var curves []prometheus.Curve
			if curves, last = server.QueryRange(ctx, expr, from, time.Now(), time.Second); last != nil {
				return false, nil
			}
			if slices.ContainsFunc(curves, prometheus.Curve.Finite) {
				delete(missing, query)
			}
		}
		return len(missing) == 0, nil
	})
	if err != nil {
		t.Fatalf("waited for the dashboard's panels to show something: %v, last error %v; these do not: %v", err, last, missing)
	}
}

// rulesWork waits until Prometheus has tried each rule, and looks at what came of it.
func rulesWork(t *testing.T, server *prometheus.Server) {
	t.Helper()
	var rules []prometheus.Rule
	err := wait.PollUntilContextTimeout(t.Context(), 500*time.Millisecond, framework.Patience, true, func(ctx context.Context) (bool, error) {
		var err error
		rules, err = server.Rules(ctx)
		untried := func(r prometheus.Rule) bool { return r.LastEvaluation.IsZero() }
		return len(rules) > 0 && !slices.ContainsFunc(rules, untried), err
	})
	if err != nil {
		t.Fatalf("waited for the rules to be evaluated: %v; they are: %+v", err, rules)
	}
	for _, rule := range rules {
		if rule.Health != "ok" {
			t.Errorf("rule %s is %s: %s", rule.Name, rule.Health, rule.LastError)
		}
	}
	if log := server.Log(); strings.Contains(log, "Evaluating rule failed") {
		t.Error("a rule could not be evaluated: see the log")
	}
}
