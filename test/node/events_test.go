// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"testing"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestRenewal_reportsLastingFailures(t *testing.T) {
	c := readyClaim(t)
	n, p := prepared(t, c)
	n.proxy.Intercept(func(call faults.Call, _ func()) faults.Answer {
		if call.Subresource == "token" {
			return faults.Failed
		}
		return faults.Forwarded
	})
	replaceAccount(t, c)
	// The kubelet plugin reports failures after a minute. Other tests run meanwhile.
	t.Parallel()
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", c.Namespace,
		framework.EventAbout("ResourceClaim", c.Name, spaceapi.ReasonTokenRenewalFailed, "Node "+nodeName+" has not been able to renew the tokens"))
	n.mustUnprepare(t, p, c)
}
