// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	health "k8s.io/kubelet/pkg/apis/dra-health/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestReplacedNode_hasNewTokens deletes the Node of pods that continue to run, and creates it again
// under its name, as a kubelet does that registers again. Tokens are bound to the UID of the Node.
func TestReplacedNode_hasNewTokens(t *testing.T) {
	t.Parallel()
	c, other, n := readyClaim(t), readyClaim(t), newNode(t)
	n.createNode(t, c)
	p := n.start(t)
	n.mustPrepare(t, p, c)
	n.mustPrepare(t, p, other, c)
	n.awaitHealth(t, p, health.HealthStatus_HEALTHY)
	before := n.token(t, c)

	n.deleteNode(t)
	n.awaitHealth(t, p, health.HealthStatus_UNHEALTHY)
	framework.AwaitDenied(t, "a token that is bound to a deleted Node", whoAmI(t, before))
	for _, c := range []*claim{c, other} {
		framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", c.Namespace,
			framework.EventAbout("ResourceClaim", c.Name, spaceapi.ReasonTokenRenewalFailed, `nodes "`+n.name+`" not found`))
	}

	n.createNode(t, c)
	n.awaitHealth(t, p, health.HealthStatus_HEALTHY)
	n.awaitRenewed(t, c)
	n.awaitRenewed(t, other)
	n.mustUnprepare(t, p, c, other)
	n.mustUnprepare(t, p, other)
}

// TestReplacedNode_ownsThePoolsPerNode shows that the ResourceSlices of a node have its new Node as
// their owner: garbage collection deletes those of the previous one.
func TestReplacedNode_ownsThePoolsPerNode(t *testing.T) {
	t.Parallel()
	c, n := readyClaim(t), newNode(t)
	file := filepath.Join(n.dir, "pools.yaml")
	if err := os.WriteFile(file, []byte("pools: [{name: local, perNode: {limit: 3}}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.arguments = []string{"--pools-file=" + file}
	awaitSlice := func(owner *corev1.Node) {
		t.Helper()
		framework.AwaitAny(t, env.Client.ResourceV1().RESTClient(), "resourceslices", "", framework.That("of Node "+n.name+" with UID "+string(owner.UID), func(s *resourceapi.ResourceSlice) bool {
			return ptr.Deref(s.Spec.NodeName, "") == n.name && len(s.OwnerReferences) == 1 && s.OwnerReferences[0].UID == owner.UID && s.DeletionTimestamp == nil
		}))
	}
	first := n.createNode(t, c)
	p := n.start(t)
	n.mustPrepare(t, p, c)
	awaitSlice(first)
	before := n.token(t, c)

	n.deleteNode(t)
	second := n.createNode(t, c)
	ctx, cancel := callContext(t)
	defer cancel()
	select {
	case <-p.exited:
	case <-ctx.Done():
		t.Fatal("the plugin did not end, and would publish ResourceSlices of the former Node")
	}
	if log := p.log.String(); !strings.Contains(log, "the Node was recreated: restart to publish ResourceSlices that it owns") {
		t.Errorf("the plugin ended for another reason: %s", log)
	}
	p = n.start(t) // as the kubelet restarts the container
	awaitSlice(second)
	framework.AwaitDenied(t, "a token that is bound to the former Node", whoAmI(t, before))
	n.awaitRenewed(t, c)
	n.mustUnprepare(t, p, c)
}

// createNode creates the Node object of a node of its own. Its name is that of the namespace of a
// claim, which no other node has.
func (n *node) createNode(t *testing.T, c *claim) *corev1.Node {
	t.Helper()
	n.name = c.Namespace
	created, err := env.Client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func (n *node) deleteNode(t *testing.T) {
	t.Helper()
	if err := env.Client.CoreV1().Nodes().Delete(t.Context(), n.name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// awaitHealth waits until the plugin reports that all devices have this health.
func (n *node) awaitHealth(t *testing.T, p *plugin, want health.HealthStatus) {
	t.Helper()
	ctx, cancel := callContext(t)
	defer cancel()
	reports := n.watchHealth(ctx, t, p)
	var last *health.NodeWatchResourcesResponse
	for {
		report, err := reports.Recv()
		if err != nil {
			t.Fatalf("waited until the devices are %s: %v; the last report is %s", want, err, last)
		}
		last = report
		has := len(report.Devices) > 0
		for _, device := range report.Devices {
			has = has && device.Health == want
		}
		if has {
			return
		}
	}
}

// whoAmI returns a request for the user of a token.
func whoAmI(t *testing.T, token string) framework.Request {
	t.Helper()
	client := env.WithToken(t, token)
	return func(ctx context.Context) error {
		_, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		return err
	}
}
