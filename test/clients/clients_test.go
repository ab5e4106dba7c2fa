// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/client-go/util/cert"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/cluster/pki"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// newCATimeout is longer than client-go takes to read a CA again: five minutes.
const newCATimeout = 7 * time.Minute

// programs repeat a request with the clients of the table in docs/pods.md.
var programs = map[string]struct{ name, command string }{
	"client-go":                             {"go", "repeat-client"},
	"Python, `kubernetes`":                  {"python", "/usr/bin/python3 /clients/repeat.py"},
	"JavaScript, `@kubernetes/client-node`": {"javascript", "node /clients/repeat.mjs"},
}

// columns are those of the table. Without a kubeconfig, clients have the in-cluster configuration.
var columns = []struct{ name, namespace, kubeconfig string }{
	{"kubeconfig", "$PLAIN_NAMESPACE", "/etc/plain/kubeconfig"},
	{"embedtoken", "$OTHER_NAMESPACE", "/etc/other/kubeconfig"},
	{"incluster", "$OTHER_NAMESPACE", ""},
}

// What a cell of the table begins with.
const (
	works     = "works"
	loadAgain = "load again"
	anonymous = "anonymous"
)

// client is a container that repeats a request.
type client struct {
	framework.Repeater

	// cell is what the table says.
	cell string
	// again is set if the program loads the kubeconfig before each request.
	again bool
}

// withClaimConfig adds parameters to a claim.
func withClaimConfig(fields string, claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
	return framework.WithParameters(claim, framework.ConfigJSON(spaceapi.SpaceClaimConfigKind, fields))
}

// newPod returns a pod with the machine's Python, Node.js and libraries, and with the programs in build/clients.
func newPod(t *testing.T, claims ...string) *corev1.Pod {
	t.Helper()
	pod := framework.NewPod("pod", claims...)
	for volume, dir := range map[string]string{"usr-bin": "/usr/bin", "usr-lib": "/usr/lib", "usr-share": "/usr/share", "lib": "/lib", "lib64": "/lib64"} {
		if _, err := os.Stat(dir); err == nil {
			framework.MountHostDir(pod, volume, dir, dir)
		}
	}
	framework.MountHostDir(pod, "clients", dir(), "/clients")
	framework.MountHostDir(pod, "bin", filepath.Join(framework.Root(), "build", "bin"), "/programs")
	env.MountHelm(pod)
	return pod
}

// dir has what pods need, by make clients-test and tests.
func dir() string { return filepath.Join(framework.Root(), "build", "clients") }

// addClients adds a container for each cell of the table that was tried, and one more where the program has to
// load the kubeconfig again.
func addClients(t *testing.T, ns string, pod *corev1.Pod) []client {
	t.Helper()
	var clients []client
	tried := 0
	for _, row := range framework.Rows(t, "pods.md", "### Client libraries") {
		if !strings.HasPrefix(row[len(row)-1], "tried") {
			continue
		}
		program, known := programs[row[0]]
		if !known {
			t.Fatalf("docs/pods.md says that %s was tried, for which there is no program", row[0])
		}
		tried++
		for i, column := range columns {
			add := func(name, arguments string, again bool) {
				framework.AddContainer(pod, name, fmt.Sprintf("exec %s %s %s", program.command, column.namespace, arguments))
				clients = append(clients, client{framework.Repeater{Env: env, Namespace: ns, Pod: pod.Name, Container: name}, row[1+i], again})
			}
			name := program.name + "-" + column.name
			add(name, column.kubeconfig, false)
			if strings.HasPrefix(row[1+i], loadAgain) {
				add(name+"-again", column.kubeconfig+" again", true)
			}
		}
	}
	if tried != len(programs) {
		t.Fatalf("docs/pods.md says that %d clients were tried, want %d", tried, len(programs))
	}
	return clients
}

// restartServer starts an API server for the pods with a certificate of an authority, and returns its URL.
func restartServer(t *testing.T, ca *pki.CA) string {
	t.Helper()
	if err := env.Cluster.KillAnotherAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The host of the control plane has its own /tmp.
	path := filepath.Join(framework.Root(), "build", "clients-server")
	names := cert.AltNames{IPs: []net.IP{net.ParseIP(env.Cluster.ControlPlane().Address())}}
	if err := ca.Issue(path, cert.Config{CommonName: "server", AltNames: names}); err != nil {
		t.Fatal(err)
	}
	config, err := env.Cluster.StartAnotherAPIServer(t.Context(), "--tls-cert-file="+path+".crt", "--tls-private-key-file="+path+".key")
	if err != nil {
		t.Fatal(err)
	}
	return config.Host
}

// advertise makes containers use a server, and trust authorities.
func advertise(t *testing.T, url string, authorities ...*pki.CA) (bundle []byte) {
	t.Helper()
	for _, ca := range authorities {
		bundle = append(bundle, ca.Cert()...)
	}
	file := filepath.Join(t.TempDir(), "ca.crt")
	err := os.WriteFile(file, bundle, 0o600)
	if err := errors.Join(err, env.UpgradeDriver(t.Context(), "--set=space.apiServerURL="+url, "--set-file=space.apiServerCA="+file), env.AwaitRollout(t.Context())); err != nil {
		t.Fatal(err)
	}
	return bundle
}

// useTools uses the spaces of a pod with tools that start for each command, configured in each way.
func useTools(t *testing.T, ns, pod, when string) {
	t.Helper()
	for _, column := range columns {
		script := "export PATH=$PATH:/helm:/programs KUBECONFIG=" + column.kubeconfig + framework.Tools + `
namespace=` + column.namespace + `
e2e-framework.test --namespace $namespace

# kuttl writes a kubeconfig to the current directory, and does not wait until what it deletes is gone.
mkdir $dir/kuttl
cd /programs/kuttl-src/pkg/test/test_data
cp -r list-pods teststep-errors with-overrides $dir/kuttl
cd $dir
kubectl kuttl test --parallel 1 --timeout 60 --namespace $namespace kuttl
kubectl delete pods --all

cd /programs/chainsaw-src/testdata/e2e/examples
chainsaw test --no-color --parallel 1 --apply-timeout 1m --assert-timeout 1m --delete-timeout 1m --cleanup-timeout 1m --namespace $namespace \
  array-assertion deployment inline patch quick-start step-template template update | tee $dir/chainsaw
grep "Passed  *tests 8" $dir/chainsaw`
		if out, err := env.TryExec(t.Context(), ns, pod, "sh", "-ec", script); err != nil {
			t.Errorf("%s, tools with %s: %v: %s", when, column.name, err, out)
		}
	}
}

// TestClients_workAsDocumented repeats a request with each client that docs/pods.md says was tried, while the
// certificate authority of the API server changes, and then the token.
func TestClients_workAsDocumented(t *testing.T) {
	before, after := framework.NewCA(t, "before"), framework.NewCA(t, "after")
	url := restartServer(t, before)
	advertise(t, url, before)
	for _, name := range []string{"repeat.py", "repeat.mjs"} {
		program, err := os.ReadFile(filepath.Join("testdata", name))
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir(), name), program, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	ns := env.Namespace(t)
	pod := newPod(t, "plain", "other")
	clients := addClients(t, ns, pod)
	env.CreateClaim(t, ns, withClaimConfig(`"embedToken":true,"inCluster":true`, framework.NewClaim("other")))
	spaces := []framework.Space{env.Use(t, ns, framework.NewClaim("plain"), pod), env.SpaceOf(t, ns, "pod", "other")}

	for _, c := range clients {
		if strings.HasPrefix(c.cell, anonymous) {
			c.AwaitFailed(t, 0, "system:anonymous")
		} else {
			c.AwaitOK(t, 0, framework.Timeout)
		}
	}
	useTools(t, ns, "pod", "at first")

	env.Exec(t, ns, "pod", "cp", "/etc/plain/ca.crt", "/tmp/before.crt")
	bundle := advertise(t, url, before, after)
	for _, claim := range []string{"plain", "other"} {
		framework.Eventually(t, "containers to have the new CA", func(ctx context.Context) error {
			got, err := env.TryExec(ctx, ns, "pod", "cat", "/etc/"+claim+"/ca.crt")
			if err == nil && !bytes.Equal([]byte(got), bundle) {
				err = errors.New("they have " + got)
			}
			return err
		})
	}
	restartServer(t, after)
	if out, err := env.TryExec(t.Context(), ns, "pod", "kubectl", "--kubeconfig=/etc/plain/kubeconfig", "--certificate-authority=/tmp/before.crt", "get", "--raw=/version"); err == nil || !strings.Contains(out, "x509") {
		t.Errorf("the server has no certificate of the new CA: with the previous one, kubectl prints %q, error %v", out, err)
	}
	requests := requestsOf(t, clients)
	for i, c := range clients {
		if !strings.HasPrefix(c.cell, anonymous) {
			c.AwaitOK(t, requests[i], newCATimeout)
		}
	}
	useTools(t, ns, "pod", "after a new CA")

	for _, space := range spaces {
		space.ReplaceToken(t, ns, "pod")
	}
	requests = requestsOf(t, clients)
	// Those that read the token again do so within a minute, and come first.
	for _, state := range []string{works, loadAgain, anonymous} {
		for i, c := range clients {
			switch {
			case !strings.HasPrefix(c.cell, state):
			case state == works || c.again:
				c.AwaitOK(t, requests[i], framework.Timeout)
			case state == loadAgain:
				c.AwaitFailed(t, requests[i], "Unauthorized")
			default:
				c.AwaitFailed(t, requests[i], "system:anonymous")
			}
		}
	}
	useTools(t, ns, "pod", "after a renewal")
}

func requestsOf(t *testing.T, clients []client) []int {
	t.Helper()
	var requests []int
	for _, c := range clients {
		requests = append(requests, c.Requests(t))
	}
	return requests
}
