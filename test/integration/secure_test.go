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

// The controller has the rights that the chart gives it, and the reader the role that
// the chart makes for him.
func TestSecuredMetricsAreForThoseWhoMayGetThem(t *testing.T) {
	t.Parallel()
	const driver, release = "secured.example.com", "secured"
	applyChart(t, release, framework.DriverNamespace, map[string]string{"driverName": driver, "metrics.secure.enabled": "true"},
		"rbac-controller.yaml", "rbac-metrics.yaml")
	removeSlices(t, driver)
	ns := env.Namespace(t)
	token := env.Token(t, ns, "default")
	plain, address := framework.FreeAddress(t), framework.FreeAddress(t)
	flags, anybody := framework.Certified(t, address)
	reader := anybody.As(token)
	c := startController(t, env, append(flags,
		"--kubeconfig="+kubeconfigAs(t, release+"-space-dra-driver-controller"), "--driver-name="+driver,
		"--lease-name="+release+"-space-dra-driver-controller", "--http-address="+plain,
		// So much that it would be seen in the log if it were ever written.
		"--v=10")...)

	framework.Plainly(plain).Await(t, "/readyz", http.StatusOK)
	framework.Plainly(plain).Await(t, "/metrics", http.StatusNotFound)
	anybody.Await(t, "/metrics", http.StatusUnauthorized)
	// Not at its end, where other characters may say the same.
	forged := []byte(token)
	forged[len(forged)/2] ^= 1
	anybody.As(string(forged)).Await(t, "/metrics", http.StatusUnauthorized)
	reader.Await(t, "/metrics", http.StatusForbidden, "system:serviceaccount:"+ns+":default may not get")
	env.Bind(t, release+"-space-dra-driver-metrics-reader", ns, "default")
	reader.Await(t, "/metrics", http.StatusOK, "space_dra_build_info", `space_dra_api_requests_total{code="201",resource="tokenreviews",verb="create"}`)

	// What it wrote is complete when it has ended.
	c.Stop(t, syscall.SIGTERM)
	log := c.Log.String()
	_, rest, _ := strings.Cut(token, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	for _, part := range []string{payload, signature} {
		if strings.Contains(log, part) {
			t.Error("the reader's token is in the log")
		}
	}
	if !strings.Contains(log, "tokenreviews") && !strings.Contains(log, "subjectaccessreviews") {
		t.Error("the log has so little in it that this says nothing")
	}
}
