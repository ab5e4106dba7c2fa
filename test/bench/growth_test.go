// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	nodeName = "bench-node"
	// chunk is how many spaces are created before the benchmark waits for them.
	chunk = 500

	oneSpace    = "from the allocation of one more claim until it is Ready (s)"
	startTime   = "start until the caches are in sync (s)"
	peakMemory  = "peak memory of the process (MiB)"
	liveMemory  = "live objects (MiB)"
	startCPU    = "CPU from the start until at rest (s)"
	restCPU     = "CPU at rest (thousandths of a core)"
	oneScrape   = "one scrape of the metrics (s)"
	otherDriver = "other.resource.example.com"
)

// BenchmarkGrowth measures the start of the controller with a growing number of existing spaces, each
// of which a pod uses, and at the end also with many claims of another driver.
func BenchmarkGrowth(b *testing.B) {
	r := startReport(b, "growth")
	// Without a kubelet, the node's pods must not be evicted.
	g := &growth{b: b, report: r, env: controlPlane(b, "--controllers=*,-node-lifecycle-controller")}
	createNode(b, g.env)
	g.start()
	g.baseline = baselineOf(b, g.env, g.fill(1))
	for _, n := range *flags.existing {
		g.fill(n)
		g.measure(fmt.Sprintf("%d spaces", n))
	}
	first, last := fmt.Sprintf("%d spaces", (*flags.existing)[0]), fmt.Sprintf("%d spaces", g.spaces)
	r.atMost("one more space, ratio of "+last+" to "+first, flat, r.median(oneSpace, last)/r.median(oneSpace, first))
	r.atMost("peak memory with "+last+", MiB", 200, r.median(peakMemory, last))
	r.atMost("seconds until the caches are in sync with "+last, 10, r.median(startTime, last))
	if *flags.others == 0 {
		return
	}
	if err := (claims{env: g.env, driver: otherDriver}).create(b.Context(), "other", *flags.others, ignored); err != nil {
		b.Fatal(err)
	}
	g.measure(fmt.Sprintf("%s, and %d claims of another driver", last, *flags.others))
}

// createNode creates a node without a kubelet.
func createNode(b *testing.B, env *framework.Env) {
	b.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}
	if _, err := env.Client.CoreV1().Nodes().Create(b.Context(), node, metav1.CreateOptions{}); err != nil {
		b.Fatalf("create a node: %v", err)
	}
}

// growth measures a controller.
type growth struct {
	b          *testing.B
	report     *report
	env        *framework.Env
	controller *process
	baseline   *baseline
	// spaces and probes are the numbers of spaces that fill and that probe created.
	spaces, probes int
}

// fill creates spaces until there are n, and returns one of the claims.
func (g *growth) fill(n int) (sample *resourceapi.ResourceClaim) {
	g.b.Helper()
	begin, before := time.Now(), g.spaces
	for g.spaces < n {
		count := min(chunk, n-g.spaces)
		_, all := claims{env: g.env, driver: spaceapi.DefaultDriverName, node: nodeName}.ready(g.b, fmt.Sprintf("g%d", g.spaces), count, ignored)
		sample = all[0]
		g.spaces += count
	}
	g.b.Logf("%d spaces with a pod each, %.1f/s created", n, float64(n-before)/time.Since(begin).Seconds())
	return sample
}

// start starts or restarts the controller, and waits until its caches are in sync.
func (g *growth) start() {
	g.b.Helper()
	if g.controller != nil {
		g.controller.stop()
	}
	health, metrics, profiles := framework.FreeAddress(g.b), framework.FreeAddress(g.b), framework.FreeAddress(g.b)
	g.controller = start(g.b, framework.Binary("space-controller"), "--kubeconfig="+g.env.Cluster.Kubeconfig(), "--leader-elect-resource-namespace="+framework.DriverNamespace,
		"--resync-period="+flags.rest.String(), "--health-probe-bind-address="+health, "--metrics-bind-address="+metrics, "--pprof-bind-address="+profiles)
	g.controller.metrics, g.controller.profiles = framework.PlainHTTP(metrics), framework.PlainHTTP(profiles)
	framework.PlainHTTP(health).Await(g.b, "/readyz", http.StatusOK)
}

// measure measures the start of the controller, then the controller at rest, and one more space.
func (g *growth) measure(name string) {
	g.b.Helper()
	begin := time.Now()
	g.start()
	g.report.add(startTime, name, time.Since(begin).Seconds())
	c := g.controller
	c.awaitRest()
	g.report.add(startCPU, name, c.cpu())
	g.report.add(restCPU, name, 1000*c.load(*flags.rest))
	g.report.add(peakMemory, name, c.peak())
	for range *flags.pods {
		begin = time.Now()
		c.get(c.metrics, "/metrics")
		g.report.add(oneScrape, name, time.Since(begin).Seconds())
	}
	g.report.add(liveMemory, name, c.live())
	g.probe(name)
}

// probe measures one more space several times, in turns with the baseline.
func (g *growth) probe(name string) {
	g.b.Helper()
	for range *flags.pods {
		g.probes++
		var begin time.Time
		claims{env: g.env, driver: spaceapi.DefaultDriverName}.ready(g.b, fmt.Sprintf("one-%d", g.probes), 1, func(*resourceapi.ResourceClaim) { begin = time.Now() })
		g.report.add(oneSpace, name, time.Since(begin).Seconds())
		claims{env: g.env, driver: baselineDriver}.ready(g.b, fmt.Sprintf("one-baseline-%d", g.probes), 1, func(claim *resourceapi.ResourceClaim) {
			begin = time.Now()
			if err := g.baseline.serve(g.b.Context(), claim); err != nil {
				g.b.Error(err)
			}
		})
		g.report.add(oneSpace, name+", baseline", time.Since(begin).Seconds())
	}
	g.report.addRatios("one more space, to the baseline (ratio)", oneSpace, name, name+", baseline")
}
