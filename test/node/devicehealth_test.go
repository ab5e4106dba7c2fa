// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	health "k8s.io/kubelet/pkg/apis/dra-health/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestTheKubeletIsToldWhetherSpacesCanBeUsed(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	p := n.start(t)
	ctx, cancel := patience(t)
	defer cancel()
	socket := filepath.Join(n.kubelet, "plugins", spaceapi.DefaultDriverName, "pod-1.sock")
	reports, err := health.NewDRAResourceHealthClient(p.dial(t, socket)).NodeWatchResources(ctx, &health.NodeWatchResourcesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	await := func(want health.HealthStatus, words string) {
		t.Helper()
		for {
			report, err := reports.Recv()
			if err != nil {
				t.Fatalf("waited for a report of a device that is %s: %v", want, err)
			}
			if len(report.Devices) == 1 && report.Devices[0].Health == want && strings.Contains(report.Devices[0].Message, words) {
				return
			}
		}
	}

	// A space with a short life: its token ends with it.
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	framework.Modify(t, env, ns, "claim", func(claim *resourceapi.ResourceClaim) {
		framework.SetAllocation(claim)
		config := resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClass}
		config.Opaque = &resourceapi.OpaqueDeviceConfiguration{
			Driver:     spaceapi.DefaultDriverName,
			Parameters: runtime.RawExtension{Raw: fmt.Appendf(nil, `{"apiVersion":%q,"kind":%q,"maxLifetime":"30s"}`, spaceapi.APIVersion, spaceapi.SpaceClassConfigKind)},
		}
		claim.Status.Allocation.Devices.Config = append(claim.Status.Allocation.Devices.Config, config)
	})
	object, spaces := framework.SpacesOf(t, env, ns, "claim", 1)
	c := &claim{ResourceClaim: object, spaces: spaces}
	if _, err := p.prepare(ctx, c); err != nil {
		t.Fatal(err)
	}
	await(health.HealthStatus_HEALTHY, "")
	await(health.HealthStatus_UNHEALTHY, "the space has expired")
	if err := p.unprepare(ctx, c); err != nil {
		t.Error(err)
	}
}
