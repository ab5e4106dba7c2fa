// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
	"github.com/space-dra/space-dra-driver/test/framework/dashboard"
)

// object is a part of the input of promcheck.
type object = map[string]any

// TestDashboard_showsDataForEachPanel collects the driver's metrics with the packages of Prometheus
// while pods start and terminate. The queries of alerts must be valid, but need no data.
func TestDashboard_showsDataForEachPanel(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	shown, err := dashboard.Load(framework.Root())
	if err != nil {
		t.Fatal(err)
	}
	queries := map[string][]string{}
	for _, panel := range shown.Panels {
		for _, target := range panel.Targets {
			queries[panel.Title] = append(queries[panel.Title], target.Query("1m"))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*framework.Timeout)
	defer cancel()
	prometheus := exec.CommandContext(ctx, framework.Binary("promcheck"), "watch", t.TempDir())
	prometheus.Cancel = func() error { return prometheus.Process.Signal(syscall.SIGTERM) }
	prometheus.Stdin = strings.NewReader(framework.JSON(object{"configuration": configuration(t), "shown": queries, "valid": alerts(t)}))
	log := &framework.Output{}
	prometheus.Stdout, prometheus.Stderr = log, log
	if err := prometheus.Start(); err != nil {
		t.Fatalf("start Prometheus, which make promcheck builds: %v", err)
	}
	defer func() {
		if t.Failed() {
			cancel()
		}
		if err := prometheus.Wait(); err != nil {
			t.Errorf("Prometheus: %v: %s", err, log)
		}
	}()

	env.CreateClaim(t, ns, claimOf("limited", "example-limited-pool"))
	env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	env.CreateClaim(t, ns, withClaimConfig(framework.NewClaim("invalid"), `,"clusterRoles":["cluster-admin"]`))
	for _, claim := range []string{"limited", "test-claim", "invalid"} {
		env.StartPod(t, ns, framework.NewPod(claim, claim))
	}
	framework.Await(t, framework.Claim(env.Client, ns, "invalid"), framework.NotReadyBecause(spaceapi.ReasonInvalidParameters, "cluster-admin"))
	framework.Await(t, framework.Claim(env.Client, ns, "limited"), framework.SpacesReady(1))
	// Other tests need that space, too.
	framework.AwaitLog(t, log, regexp.MustCompile("shown Pools with a limit\n"))
	env.DeletePod(t, ns, "limited")
	framework.Await(t, framework.Pod(env.Client, ns, "test-claim"), framework.PodReady())
	framework.AwaitLog(t, log, regexp.MustCompile("shown Remaining token lifetime\n"))
	env.DeletePod(t, ns, "test-claim")
}

// configuration returns the configuration of Prometheus for the driver's pods. It reaches them through
// the API server.
func configuration(t *testing.T) object {
	t.Helper()
	config, err := env.Cluster.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	server, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(server) }})
	t.Cleanup(proxy.Close)
	pods, err := env.DriverPods(t.Context(), "app.kubernetes.io/component in (controller,kubeletplugin)")
	if err != nil {
		t.Fatal(err)
	}
	var targets []object
	for _, pod := range pods {
		for _, port := range pod.Spec.Containers[0].Ports {
			if port.Name == "health" {
				continue
			}
			targets = append(targets, object{"targets": []string{strings.TrimPrefix(proxy.URL, "http://")}, "labels": object{
				"__metrics_path__": fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:%d/proxy/metrics", pod.Namespace, pod.Name, port.ContainerPort),
				// The labels of the chart's PodMonitor.
				"instance": fmt.Sprintf("%s:%d", pod.Status.PodIP, port.ContainerPort), "namespace": pod.Namespace, "pod": pod.Name, "node": pod.Spec.NodeName,
			}})
		}
	}
	return object{
		"global":         object{"scrape_interval": "5s", "scrape_timeout": "5s"},
		"scrape_configs": []object{{"job_name": "space-dra-driver", "static_configs": targets}},
	}
}

// alerts returns the queries of the chart's alerts.
func alerts(t *testing.T) []string {
	t.Helper()
	rendered := env.Helm(t, "template", framework.DriverNamespace, framework.Chart(), "--namespace", framework.DriverNamespace,
		"--set", "metrics.prometheusRule.enabled=true", "--show-only", "templates/prometheusrule.yaml")
	var rule struct {
		Spec struct {
			Groups []struct{ Rules []struct{ Expr string } }
		}
	}
	if err := yaml.Unmarshal([]byte(rendered), &rule); err != nil || len(rule.Spec.Groups) != 1 {
		t.Fatalf("read the rules: %v: %s", err, rendered)
	}
	var out []string
	for _, rule := range rule.Spec.Groups[0].Rules {
		out = append(out, rule.Expr)
	}
	return out
}
