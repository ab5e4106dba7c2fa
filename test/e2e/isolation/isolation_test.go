// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package isolation

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// Addresses of nodes, as in clouds and with NodeLocal DNSCache.
const (
	metadata = "169.254.169.254:80"
	dnsCache = "169.254.20.10:53"
)

// The ports on which servers answer over TCP and UDP. Rules of a class name the first one.
const (
	port      = "8080"
	otherPort = "8081"
)

// traffic is a row of the table in docs/threat-model.md.
type traffic struct {
	what    string
	from    source
	network string
	to      string
	// isolated and withRules are whether it is allowed in a space of each class.
	isolated, withRules bool
}

// check returns an error unless the traffic is allowed, or is denied.
func (r traffic) check(ctx context.Context, allowed bool) error {
	out, err := r.from(ctx, "netprobe", r.network, r.to)
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if connected := out == "connected\n"; connected != allowed {
		return fmt.Errorf("%s %s: allowed should be %t: %s", r.network, r.to, allowed, out)
	}
	return nil
}

// source runs a command where traffic begins.
type source func(ctx context.Context, command ...string) (string, error)

func inPod(namespace, name string) source {
	return func(ctx context.Context, command ...string) (string, error) {
		return env.TryExec(ctx, namespace, name, command...)
	}
}

func onNode(i int) source {
	return func(ctx context.Context, command ...string) (string, error) {
		return framework.OnNode(ctx, env.Cluster.Nodes()[i], command...)
	}
}

// TestIsolation_deniesAllButTheListedTraffic tries each row of the table in docs/threat-model.md. Its
// controls, for which all traffic is allowed, are a space that is not isolated, and the isolated one while
// its NetworkPolicy does not exist.
func TestIsolation_deniesAllButTheListedTraffic(t *testing.T) {
	s := newSurroundings(t)
	open, isolated, withRules := s.space(t, "open"), s.space(t, "isolated"), s.space(t, "isolated-with-rules")
	all := func(traffic) bool { return true }
	ofIsolated := func(r traffic) bool { return r.isolated }

	s.check(t, "a space with mode Open", open, all)
	s.check(t, "an isolated space", isolated, ofIsolated)
	s.check(t, "an isolated space with rules of its class", withRules, func(r traffic) bool { return r.withRules })

	scaleController(t, 0)
	policies := env.Client.NetworkingV1().NetworkPolicies(isolated.namespace)
	if err := policies.Delete(t.Context(), spaceapi.ObjectName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.check(t, "an isolated space whose NetworkPolicy was deleted", isolated, all)
	scaleController(t, 2)
	framework.AwaitAny(t, env.Client.NetworkingV1().RESTClient(), "networkpolicies", isolated.namespace,
		framework.That("restored", func(*networkingv1.NetworkPolicy) bool { return true }))
	s.check(t, "an isolated space whose NetworkPolicy was restored", isolated, ofIsolated)

	var rows [][]string
	word := map[bool]string{true: "allowed", false: "denied"}
	for _, r := range s.traffic(t, isolated) {
		rows = append(rows, []string{r.what, word[r.isolated], word[r.withRules]})
	}
	if want := framework.Rows(t, "threat-model.md", "## Network isolation"); !reflect.DeepEqual(rows, want) {
		t.Errorf("the traffic is %q, and docs/threat-model.md has %q", rows, want)
	}
}

// TestIsolation_keepsDNSAndTheAPIServer uses a client in an isolated space, which connects to the API server
// by its name.
func TestIsolation_keepsDNSAndTheAPIServer(t *testing.T) {
	ns := env.Namespace(t)
	space := env.Use(t, ns, framework.OfClass("isolated", framework.NewClaim("claim")), framework.NewPod("holder", "claim"))
	env.CreatePod(t, space.Namespace, framework.NewPod("pod"))
	out := env.Exec(t, space.Namespace, "pod", "sh", "-c", framework.RetryTimeouts(
		"env KUBERNETES_SERVICE_HOST=kubernetes.default.svc kubectl auth whoami --output=jsonpath={.status.userInfo.username}")+`echo "$out"`)
	if want := "system:serviceaccount:" + space.Namespace + ":default\n"; out != want {
		t.Errorf("the API server answered %q, want %q", out, want)
	}
}

// surroundings are what pods in a space try to reach, and those that try to reach them.
type surroundings struct {
	// outside, allowed and other are namespaces: of pods with claims, of pods that the rules of a class
	// allow, and of an open space. Each has a pod called server.
	outside, allowed, other string
	// addresses are those of the pods called server.
	addresses map[string]string
	// dns is the address of the DNS pod.
	dns string
}

func newSurroundings(t *testing.T) *surroundings {
	t.Helper()
	s := &surroundings{outside: env.Namespace(t), allowed: env.Namespace(t), addresses: map[string]string{}}
	env.Kubectl(t, "label", "namespace", s.allowed, "traffic=allowed")
	s.serve(t, s.outside, 0)
	s.serve(t, s.allowed, 0)
	s.other = env.Use(t, s.outside, framework.OfClass("open", framework.NewClaim("other")), framework.NewPod("other", "other")).Namespace
	s.serve(t, s.other, 1)
	s.dns = framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "pods", metav1.NamespaceSystem, framework.PodReady()).Status.PodIP

	// Addresses of the node on which clients run.
	for _, address := range []string{metadata, dnsCache} {
		host, _, _ := net.SplitHostPort(address)
		if _, err := framework.OnNode(t.Context(), env.Cluster.Nodes()[1], "busybox", "ip", "addr", "add", host+"/32", "dev", "lo"); err != nil {
			t.Fatal(err)
		}
	}
	node := server("node", 1, metadata, dnsCache)
	node.Spec.HostNetwork = true
	env.CreatePod(t, s.outside, node)
	// It ends with the host.
	if err := env.Cluster.ControlPlane().Command(context.WithoutCancel(t.Context()), "netprobe", "serve", ":"+port).Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// space is a space with a pod called server, and a pod called client on another node.
type space struct {
	namespace string
	// holder is the pod that uses the claim.
	holder string
}

func (s *surroundings) space(t *testing.T, class string) space {
	t.Helper()
	claim := framework.OfClass(class, framework.NewClaim(class))
	namespace := env.Use(t, s.outside, claim, framework.NewPod(class, class)).Namespace
	s.serve(t, namespace, 0)
	env.CreatePod(t, namespace, framework.On(env.Node(1), framework.NewPod("client")))
	return space{namespace, class}
}

// serve creates a pod on a node that answers on both ports, and a Service with a node port in front of it.
func (s *surroundings) serve(t *testing.T, namespace string, node int) {
	t.Helper()
	pod := server("server", node, ":"+port, ":"+otherPort)
	pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.Parse(port)}},
		PeriodSeconds: 1,
	}
	s.addresses[namespace] = env.CreatePod(t, namespace, pod).Status.PodIP
	env.Kubectl(t, "expose", "pod", "server", "-n", namespace, "--port="+port, "--type=NodePort")
}

func server(name string, node int, addresses ...string) *corev1.Pod {
	pod := framework.On(env.Node(node), framework.NewPod(name))
	pod.Labels = map[string]string{"app": name}
	pod.Spec.Containers[0].Command = append([]string{"netprobe", "serve"}, addresses...)
	return pod
}

// service returns the Service in front of the pod called server.
func service(t *testing.T, namespace string) *corev1.Service {
	t.Helper()
	found, err := env.Client.CoreV1().Services(namespace).Get(t.Context(), "server", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// traffic returns the traffic from and to a space.
func (s *surroundings) traffic(t *testing.T, of space) []traffic {
	t.Helper()
	at, nodes := net.JoinHostPort, env.Cluster.Nodes()
	client, server := inPod(of.namespace, "client"), s.addresses[of.namespace]
	outside := service(t, s.outside)
	return []traffic{
		{"from a pod in the space to another one, over TCP", client, "tcp", at(server, port), true, true},
		{"the same over UDP", client, "udp", at(server, port), true, true},
		{"to a Service of the space, by its name", client, "tcp", at("server", port), true, true},
		{"to the API server, by the name of its Service", client, "tcp", "kubernetes.default.svc:443", true, true},
		{"to the API server, by the address of its host", client, "tcp", at(env.Cluster.ControlPlane().Address(), "6443"), true, true},
		{"to DNS, over TCP", client, "tcp", "10.96.0.10:53", true, true},
		{"to a DNS cache on the node that `space.dns.cidrs` lists, over UDP", client, "udp", dnsCache, true, true},
		{"to another port of the API server's host", client, "tcp", at(env.Cluster.ControlPlane().Address(), port), false, false},
		{"to another port of the DNS pod", client, "tcp", at(s.dns, "8181"), false, false},
		{"to a pod of another space, over TCP", client, "tcp", at(s.addresses[s.other], port), false, false},
		{"to a pod of another space, over UDP", client, "udp", at(s.addresses[s.other], port), false, false},
		{"to a pod outside", client, "tcp", at(s.addresses[s.outside], port), false, false},
		{"to a Service outside", client, "tcp", at(outside.Spec.ClusterIP, port), false, false},
		{"to a node port of a Service outside", client, "tcp", at(nodes[1].Address(), strconv.Itoa(int(outside.Spec.Ports[0].NodePort))), false, false},
		{"to the kubelet of the pod's node", client, "tcp", at(nodes[1].Address(), "10250"), false, false},
		{"to the kubelet of another node", client, "tcp", at(nodes[0].Address(), "10250"), false, false},
		{"to the metadata address of a cloud, 169.254.169.254", client, "tcp", metadata, false, false},
		{"to a pod and port that `egress` names", client, "tcp", at(s.addresses[s.allowed], port), false, true},
		{"to a Service in front of that pod", client, "tcp", at(service(t, s.allowed).Spec.ClusterIP, port), false, true},
		{"to another port of that pod", client, "tcp", at(s.addresses[s.allowed], otherPort), false, false},
		{"to the same port of that pod, over UDP", client, "udp", at(s.addresses[s.allowed], port), false, false},

		{"from the pod's node, as probes of the kubelet", onNode(0), "tcp", at(server, port), true, true},
		{"from another node", onNode(1), "tcp", at(server, port), false, false},
		{"from a pod outside, over TCP", inPod(s.outside, "server"), "tcp", at(server, port), false, false},
		{"from a pod outside, over UDP", inPod(s.outside, "server"), "udp", at(server, port), false, false},
		{"from a pod outside to a Service of the space", inPod(s.outside, "server"), "tcp", at(service(t, of.namespace).Spec.ClusterIP, port), false, false},
		{"from the pod that uses the claim", inPod(s.outside, of.holder), "tcp", at(server, port), false, false},
		{"from a pod of another space", inPod(s.other, "server"), "tcp", at(server, port), false, false},
		{"from a pod that `ingress` names, to the port that it names", inPod(s.allowed, "server"), "tcp", at(server, port), false, true},
		{"from that pod to another port", inPod(s.allowed, "server"), "tcp", at(server, otherPort), false, false},
		{"from that pod to the same port, over UDP", inPod(s.allowed, "server"), "udp", at(server, port), false, false},
	}
}

// check has a subtest for each row. New pods and policies take effect with a delay.
func (s *surroundings) check(t *testing.T, state string, of space, allowed func(traffic) bool) {
	t.Run(state, func(t *testing.T) {
		for _, r := range s.traffic(t, of) {
			t.Run(r.what, func(t *testing.T) {
				t.Parallel()
				framework.Eventually(t, "traffic "+r.what, func(ctx context.Context) error { return r.check(ctx, allowed(r)) })
			})
		}
	})
}

// scaleController sets the number of the controller's pods, and waits until others have terminated.
func scaleController(t *testing.T, replicas int) {
	t.Helper()
	env.Kubectl(t, "scale", "-n", framework.DriverNamespace, "deployment/"+framework.ControllerName, "--replicas="+strconv.Itoa(replicas))
	if replicas == 0 {
		env.Kubectl(t, "wait", "-n", framework.DriverNamespace, "pods", "-l", framework.ControllerPods, "--for=delete", "--timeout="+framework.Timeout.String())
	}
}
