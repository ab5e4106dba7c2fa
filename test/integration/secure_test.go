// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// The controller has the rights that the chart gives it, and the client has the role that
// the chart creates for Prometheus.
func TestSecureMetrics_areServedToAuthorizedClientsOnly(t *testing.T) {
	t.Parallel()
	const driver, release = "secured.example.com", "secured"
	applyChart(t, release, framework.DriverNamespace, map[string]string{"driverName": driver, "metrics.secure.enabled": "true"},
		"rbac-controller.yaml", "rbac-metrics.yaml")
	removeSlices(t, driver)
	ns := env.Namespace(t)
	token := env.Token(t, ns, "default")
	health, address := framework.FreeAddress(t), framework.FreeAddress(t)
	arguments, anybody := framework.Certified(t, address)
	reader := anybody.As(token)
	arguments = append(arguments,
		"--kubeconfig="+kubeconfigAs(t, release+"-space-dra-driver-controller"), "--driver-name="+driver,
		"--leader-elect-resource-name="+release+"-space-dra-driver-controller", "--health-probe-bind-address="+health)
	// From level 8 on, client-go logs what it sends.
	tooVerbose := framework.StartController(t, env, append(arguments, "--v=8")...)
	if err := tooVerbose.Wait(); err == nil || !strings.Contains(tooVerbose.Log.String(), "would log the tokens") {
		t.Errorf("a controller that would log tokens ended with %v", err)
	}
	c := startController(t, env, append(arguments, "--v=7")...)

	framework.Plainly(health).Await(t, "/readyz", http.StatusOK)
	framework.Plainly(health).Await(t, "/metrics", http.StatusNotFound)
	anybody.Await(t, "/metrics", http.StatusUnauthorized)
	// Another character in the middle of the signature. controller-runtime says 500 where the
	// API server says that a token is invalid.
	forged := []byte(token)
	middle := (strings.LastIndex(token, ".") + len(token)) / 2
	if forged[middle]++; token[middle] != 'A' {
		forged[middle] = 'A'
	}
	anybody.As(string(forged)).Await(t, "/metrics", http.StatusInternalServerError, "Authentication failed")
	reader.Await(t, "/metrics", http.StatusForbidden, "Authorization denied for user system:serviceaccount:"+ns+":default")
	env.Bind(t, release+"-space-dra-driver-metrics-reader", ns, "default")
	// Another token, because that the first one may not is cached.
	anybody.As(env.Token(t, ns, "default")).Await(t, "/metrics", http.StatusOK, "space_dra_build_info", `rest_client_requests_total{code="201"`)

	// What it wrote is complete when it has ended.
	c.Stop(t, syscall.SIGTERM)
	log := c.Log.String()
	_, rest, _ := strings.Cut(token, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	for _, part := range []string{payload, signature} {
		if strings.Contains(log, part) {
			t.Error("the client's token is in the log")
		}
	}
	if !strings.Contains(log, "tokenreviews") && !strings.Contains(log, "subjectaccessreviews") {
		t.Error("the log has so little in it that this says nothing")
	}
}
