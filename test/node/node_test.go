// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	resourceapi "k8s.io/api/resource/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
	"github.com/space-dra/space-dra-driver/test/node/fileops"
)

// node simulates a node: directories that persist when the kubelet plugin stops, and a connection to the
// API server.
type node struct {
	// name is that of its Node object.
	name                         string
	dir, kubelet, cdi, artifacts string
	kubeconfig, ca               string
	steps                        steps
	proxy                        *faults.Proxy
	empty                        map[string]bool
	// arguments and environment are added to those that each plugin has.
	arguments, environment []string

	mutex   sync.Mutex
	running *plugin
}

// newNode creates a node on which the kubelet plugin has run, and no claim was prepared.
func newNode(t *testing.T) *node {
	t.Helper()
	n := newEmptyNode(t)
	n.start(t).kill()
	n.empty = n.paths(t)
	return n
}

// prepared creates a node with a kubelet plugin that has prepared a claim.
func prepared(t *testing.T, c *claim) (*node, *plugin) {
	t.Helper()
	n := newNode(t)
	p := n.start(t)
	n.mustPrepare(t, p, c)
	return n, p
}

// newEmptyNode creates a node on which the kubelet plugin has not run yet.
func newEmptyNode(t *testing.T) *node {
	t.Helper()
	dir := framework.NewNodeDir(t)
	n := &node{
		name: nodeName, dir: dir, kubelet: filepath.Join(dir, "kubelet"), cdi: filepath.Join(dir, "cdi"), artifacts: filepath.Join(dir, "artifacts"),
		kubeconfig: filepath.Join(dir, "kubeconfig"), ca: filepath.Join(dir, "ca.crt"),
	}
	if err := os.WriteFile(n.ca, env.Cluster.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := env.Cluster.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	n.proxy = faults.New(t, config, n.kubeconfig)
	n.proxy.Intercept(n.intercept)
	return n
}

// intercept makes steps of the kubelet plugin's requests and their responses, except in the background:
// it reads the version of the API server, and watches prepared claims.
func (n *node) intercept(call faults.Call, forward func()) faults.Answer {
	if call.Resource == "" || call.Verb == "watch" {
		return faults.Forwarded
	}
	name := call.Verb + " " + strings.TrimSuffix(call.Resource+"/"+call.Subresource, "/")
	if !n.step(name) {
		return faults.Broken
	}
	forward()
	if !n.step("the response to " + name) {
		return faults.Broken
	}
	return faults.Forwarded
}

// step takes a step, or kills the kubelet plugin.
func (n *node) step(name string) bool {
	allowed := n.steps.next(name)
	if !allowed {
		n.plugin().signalKill()
	}
	return allowed
}

func (n *node) plugin() *plugin {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return n.running
}

// start starts the kubelet plugin on the node.
func (n *node) start(t *testing.T) *plugin { return n.startAs(t, "pod-1", nil) }

// startCounted starts a kubelet plugin whose file operations are steps.
func (n *node) startCounted(t *testing.T) *plugin { return n.startAs(t, "pod-1", n.guard) }

// guard makes steps of the file operations in the node's directories.
func (n *node) guard(op fileops.Operation) bool {
	for _, path := range op.Paths {
		for _, dir := range n.dirs() {
			if path == dir || strings.HasPrefix(path, dir+"/") {
				return n.steps.next(n.normalize(op.String()))
			}
		}
	}
	return true
}

func (n *node) dirs() []string { return []string{n.kubelet, n.cdi, n.artifacts} }

var (
	uids   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	random = regexp.MustCompile(`[0-9]{5,}`)
)

// normalize replaces the parts of an operation that differ between runs.
func (n *node) normalize(op string) string {
	op = strings.ReplaceAll(op, n.dir+"/", "")
	op = strings.ReplaceAll(op, spaceapi.DefaultDriverName, "driver")
	return random.ReplaceAllString(uids.ReplaceAllString(op, "uid"), "random")
}

// paths returns all files and directories on the node, except sockets, and the staging directories
// themselves.
func (n *node) paths(t *testing.T) map[string]bool {
	t.Helper()
	paths := map[string]bool{}
	for _, dir := range n.dirs() {
		err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			if err == nil && entry.Type() != os.ModeSocket && filepath.Base(path) != "serialize.lock" && path != n.staging(path) {
				paths[path] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

// newPaths returns the paths on the node that newNode did not find.
func (n *node) newPaths(t *testing.T) []string {
	t.Helper()
	var out []string
	for path := range n.paths(t) {
		if !n.empty[path] {
			out = append(out, path)
		}
	}
	return out
}

// readyClaim creates a claim, and waits until its spaces are ready.
func readyClaim(t *testing.T, requests ...string) *claim {
	t.Helper()
	object, spaces := framework.ReadyClaim(t, env, env.Namespace(t), "claim", requests...)
	return &claim{ResourceClaim: object, spaces: spaces}
}

// claim is a ResourceClaim with the status of its spaces.
type claim struct {
	*resourceapi.ResourceClaim
	spaces []spaceapi.SpaceStatus
}

// callContext returns the context of a call. The kubelet's timeout is shorter, 45 seconds.
func callContext(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), framework.Timeout)
}
