// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	// renewals is the number of tokens that the kubelet plugin renews at the same time.
	renewals = 4

	prepareTime    = "Prepare of one more claim (s)"
	unprepareTime  = "Unprepare of one more claim (s)"
	callsTime      = "the baseline calls: the claim read and a token requested, without the kubelet plugin (s)"
	renewalTime    = "start of the kubelet plugin until all tokens are renewed (s)"
	renewCallsTime = "the baseline calls for as many tokens (s)"
	renewalCPU     = "CPU of the renewal, for each token (ms)"
)

// BenchmarkNode measures the kubelet plugin through its socket, with a growing and then a shrinking
// number of prepared claims, to distinguish growth from a change of the machine's load.
func BenchmarkNode(b *testing.B) {
	r := startReport(b, "node")
	env := controlPlane(b)
	framework.StartController(b, env)
	createNode(b, env)
	numbers := *flags.prepared
	most := slices.Max(numbers)
	_, all := claims{env: env, driver: spaceapi.DefaultDriverName}.ready(b, "node", most+*flags.pods, ignored)
	n := &node{b: b, env: env, dir: b.TempDir(), all: all[:most], probes: all[most:]}
	n.start()
	// A warm-up.
	n.probe(newReport())
	for _, number := range numbers {
		n.prepareUntil(number)
		n.probe(r)
		n.renew(r)
		n.rest(r)
	}
	for _, number := range slices.Backward(numbers) {
		n.prepareUntil(number)
		n.probe(r)
	}
	for _, title := range []string{prepareTime, unprepareTime} {
		r.atMost(fmt.Sprintf("%s, ratio of %d to %d prepared claims", title, most, numbers[0]), flat, r.median(title, claimsName(most))/r.median(title, claimsName(numbers[0])))
	}
}

func claimsName(n int) string { return fmt.Sprintf("%d prepared claims", n) }

// node is a process of the kubelet plugin. The benchmark makes the calls of the kubelet.
type node struct {
	b      *testing.B
	env    *framework.Env
	dir    string
	plugin *process
	dra    drav1.DRAPluginClient
	// The first prepared ones of all claims are prepared. Probes are claims to measure Prepare and
	// Unprepare.
	all, probes []*resourceapi.ResourceClaim
	prepared    int
}

// start starts or restarts the kubelet plugin, and registers it. Claims stay prepared.
func (n *node) start() {
	n.b.Helper()
	if n.plugin != nil {
		n.plugin.stop()
	}
	kubelet, served, profiles := filepath.Join(n.dir, "kubelet"), framework.FreeAddress(n.b), framework.FreeAddress(n.b)
	for _, dir := range []string{"plugins_registry", "plugins/" + spaceapi.DefaultDriverName} {
		if err := os.MkdirAll(filepath.Join(kubelet, dir), 0o750); err != nil {
			n.b.Fatal(err)
		}
	}
	n.plugin = start(n.b, framework.Binary("space-kubeletplugin"), "--node-name="+nodeName, "--pod-uid=bench", "--kubeconfig="+n.env.Cluster.Kubeconfig(),
		"--kubelet-root-dir="+kubelet, "--cdi-root="+filepath.Join(n.dir, "cdi"), "--credentials-dir="+filepath.Join(n.dir, "artifacts"),
		"--http-bind-address="+served, "--pprof-bind-address="+profiles)
	n.plugin.metrics, n.plugin.profiles = framework.PlainHTTP(served), framework.PlainHTTP(profiles)
	registrar := registration.NewRegistrationClient(n.dial(filepath.Join(kubelet, "plugins_registry", spaceapi.DefaultDriverName+"-bench-reg.sock")))
	info, err := registrar.GetInfo(n.plugin.ctx, &registration.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		n.b.Fatalf("get the info of the kubelet plugin: %v", err)
	}
	if _, err := registrar.NotifyRegistrationStatus(n.plugin.ctx, &registration.RegistrationStatus{PluginRegistered: true}); err != nil {
		n.b.Fatalf("notify the kubelet plugin of the registration: %v", err)
	}
	n.dra = drav1.NewDRAPluginClient(n.dial(info.Endpoint))
}

// dial connects to a socket as soon as a server listens.
func (n *node) dial(socket string) *grpc.ClientConn {
	n.b.Helper()
	params := grpc.ConnectParams{MinConnectTimeout: time.Second}
	params.Backoff.BaseDelay, params.Backoff.Multiplier, params.Backoff.MaxDelay = 5*time.Millisecond, 1.2, 100*time.Millisecond
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(params))
	if err != nil {
		n.b.Fatalf("connect to the kubelet plugin: %v", err)
	}
	n.b.Cleanup(func() { _ = conn.Close() })
	return conn
}

// prepare calls the kubelet plugin as the kubelet does.
func (n *node) prepare(ctx context.Context, claim *resourceapi.ResourceClaim) error {
	response, err := n.dra.NodePrepareResources(ctx, &drav1.NodePrepareResourcesRequest{Claims: request(claim)})
	if result := response.GetClaims()[string(claim.UID)]; err != nil || result == nil || result.Error != "" {
		return fmt.Errorf("prepare claim %s: the kubelet plugin returns %v, error %w", claim.Name, result, err)
	}
	return nil
}

// unprepare calls the kubelet plugin as the kubelet does.
func (n *node) unprepare(ctx context.Context, claim *resourceapi.ResourceClaim) error {
	response, err := n.dra.NodeUnprepareResources(ctx, &drav1.NodeUnprepareResourcesRequest{Claims: request(claim)})
	if result := response.GetClaims()[string(claim.UID)]; err != nil || result == nil || result.Error != "" {
		return fmt.Errorf("unprepare claim %s: the kubelet plugin returns %v, error %w", claim.Name, result, err)
	}
	return nil
}

func request(claim *resourceapi.ResourceClaim) []*drav1.Claim {
	return []*drav1.Claim{{Namespace: claim.Namespace, Name: claim.Name, Uid: string(claim.UID)}}
}

// baseline sends the requests to the API server that each Prepare needs.
func (n *node) baseline(ctx context.Context, claim *resourceapi.ResourceClaim) error {
	claim, err := n.env.Client.ResourceV1().ResourceClaims(claim.Namespace).Get(ctx, claim.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read a claim: %w", err)
	}
	space := framework.SpaceStatus(n.b, claim, 0)
	_, err = n.env.TryToken(ctx, space.Namespace, space.ServiceAccount)
	return err
}

// prepareUntil prepares or unprepares claims until number are prepared.
func (n *node) prepareUntil(number int) {
	n.b.Helper()
	from := n.prepared
	n.prepared = number
	n.b.Logf("%d prepared claims", number)
	each(n.b, max(0, number-from), func(ctx context.Context, i int) error { return n.prepare(ctx, n.all[from+i]) })
	each(n.b, max(0, from-number), func(ctx context.Context, i int) error { return n.unprepare(ctx, n.all[number+i]) })
}

// probe measures one more claim, in turns with the baseline calls.
func (n *node) probe(r *report) {
	n.b.Helper()
	for _, claim := range n.probes {
		for _, call := range []struct {
			title string
			do    func(context.Context, *resourceapi.ResourceClaim) error
		}{{prepareTime, n.prepare}, {unprepareTime, n.unprepare}, {callsTime, n.baseline}} {
			begin := time.Now()
			if err := call.do(n.b.Context(), claim); err != nil {
				n.b.Fatal(err)
			}
			r.add(call.title, claimsName(n.prepared), time.Since(begin).Seconds())
		}
	}
}

// renew restarts the kubelet plugin, which then renews all tokens, because they may have expired. This
// is the worst case.
func (n *node) renew(r *report) {
	n.b.Helper()
	begin := time.Now()
	n.start()
	n.plugin.await("renew all tokens", 100*time.Millisecond, func() bool {
		for _, sample := range n.plugin.scrape()["space_dra_token_renewals_total"] {
			if sample.Metric["result"] == "success" {
				return int(sample.Value) >= n.prepared
			}
		}
		return false
	})
	r.add(renewalTime, claimsName(n.prepared), time.Since(begin).Seconds())
	r.add(renewalCPU, claimsName(n.prepared), 1000*n.plugin.cpu()/float64(n.prepared))
	begin = time.Now()
	if err := eachUntil(n.b.Context(), n.prepared, renewals, func(ctx context.Context, i int) error { return n.baseline(ctx, n.all[i]) }); err != nil {
		n.b.Fatal(err)
	}
	r.add(renewCallsTime, claimsName(n.prepared), time.Since(begin).Seconds())
}

// rest measures the kubelet plugin at rest.
func (n *node) rest(r *report) {
	n.b.Helper()
	n.plugin.awaitRest()
	r.add(peakMemory, claimsName(n.prepared), n.plugin.peak())
	r.add(liveMemory, claimsName(n.prepared), n.plugin.live())
	metrics := n.plugin.scrape()
	r.add("goroutines", claimsName(n.prepared), float64(metrics["go_goroutines"][0].Value))
	r.add("open files", claimsName(n.prepared), float64(metrics["process_open_fds"][0].Value))
}
