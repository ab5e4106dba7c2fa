// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"slices"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// createPod makes a pod that nobody schedules and no kubelet runs.
func createPod(t *testing.T, namespace string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	pod.Spec.SchedulerName = "nobody"
	created, err := env.Client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = env.ForceDelete(context.Background(), namespace, pod.Name) })
	return created
}

// bind does what the scheduler does last.
func bind(t *testing.T, pod *corev1.Pod, node string) *corev1.Pod {
	t.Helper()
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, UID: pod.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}
	if err := env.Client.CoreV1().Pods(pod.Namespace).Bind(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod = pod.DeepCopy()
	pod.Spec.NodeName = node
	return pod
}

// reserve does what the scheduler does before it binds a pod.
func reserve(t *testing.T, claim string, pod *corev1.Pod) {
	t.Helper()
	modify(t, env, pod.Namespace, claim, usedBy(pod))
}

func usedBy(pod *corev1.Pod) func(*resourceapi.ResourceClaim) {
	return func(c *resourceapi.ResourceClaim) {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resourceapi.ResourceClaimConsumerReference{Resource: "pods", Name: pod.Name, UID: pod.UID})
	}
}

// release does what kube-controller-manager does when one of several pods has ended.
func release(t *testing.T, claim string, pod *corev1.Pod) {
	t.Helper()
	modify(t, env, pod.Namespace, claim, func(c *resourceapi.ResourceClaim) {
		c.Status.ReservedFor = slices.DeleteFunc(c.Status.ReservedFor, func(r resourceapi.ResourceClaimConsumerReference) bool { return r.UID == pod.UID })
	})
}

// plugin is what the kubelet plugin can do on a node.
type plugin struct {
	kubernetes.Interface
	node string
}

// pluginOn returns a client with the token of the plugin's pod on a node.
func (f *fenced) pluginOn(t *testing.T, node string) plugin {
	t.Helper()
	newNode(t, env, node, nil)
	pod := framework.NewPod("plugin-" + node)
	pod.Spec.ServiceAccountName = fencedName + "-kubeletplugin"
	return plugin{env.AsPod(t, bind(t, createPod(t, f.namespace, pod), node)), node}
}

// mint asks for a token as the plugin does.
func (p plugin) mint(namespace string, bound *authenticationv1.BoundObjectReference) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bound}}
		_, err := p.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, spaceapi.ServiceAccountName, request, metav1.CreateOptions{})
		return err
	}
}

func toNode(name string) *authenticationv1.BoundObjectReference {
	return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: name}
}

func (f *fenced) awaitNodes(t *testing.T, nodes string) {
	t.Helper()
	framework.Await(t, framework.Namespace(env.Client, f.space), framework.That("used on the nodes "+nodes, func(ns *corev1.Namespace) bool {
		return ns.Annotations[f.keys.Nodes] == nodes
	}))
}

func (f *fenced) keepsPluginsToNodesInUse(t *testing.T) {
	a, b := f.pluginOn(t, "fenced-a"), f.pluginOn(t, "fenced-b")
	outside := plugin{env.As(t, f.namespace, fencedName+"-kubeletplugin"), ""}
	env.Kubectl(t, "create", "serviceaccount", "space", "--namespace="+f.namespace)

	const spaces, own, use = "in namespaces of spaces", "bound to its own Node", "no pod that uses the claim of this space is known to be on node fenced-"
	first, second := createPod(t, f.namespace, framework.NewPod("first")), createPod(t, f.namespace, framework.NewPod("second"))
	allDenied(t,
		try{"a token in a namespace that is not a space", a.mint(f.namespace, toNode(a.node)), spaces},
		try{"a token that is not bound", a.mint(f.space, nil), own},
		try{"a token for another node", a.mint(f.space, toNode(b.node)), own},
		try{"a token for somebody without a node", outside.mint(f.space, toNode(a.node)), own},
		try{"a token before there is a pod", a.mint(f.space, toNode(a.node)), use + "a"},
	)
	if err := a.mint(f.space, toNode(a.node))(t.Context()); !framework.Refused(err) {
		t.Errorf("the plugin can't tell that it is to wait: %v", err)
	}
	_, err := a.CoreV1().ServiceAccounts(f.space).CreateToken(t.Context(), "default",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: toNode(a.node)}}, metav1.CreateOptions{})
	forbidden(t, "a token of another ServiceAccount", err, "cannot create")

	reserve(t, f.claim, first)
	first = bind(t, first, a.node)
	f.awaitNodes(t, a.node+"="+string(first.UID))
	f.awaitMinted(t, a)
	denied(t, "a token on a node without a pod", b.mint(f.space, toNode(b.node))(t.Context()), use+"b")

	reserve(t, f.claim, second)
	second = bind(t, second, b.node)
	f.awaitNodes(t, a.node+"="+string(first.UID)+","+b.node+"="+string(second.UID))
	f.awaitMinted(t, b)
	f.awaitMinted(t, a)

	release(t, f.claim, first)
	f.awaitNodes(t, b.node+"="+string(second.UID))
	awaitDenied(t, "a token after the pod's end", a.mint(f.space, toNode(a.node)), use+"a")
	f.awaitMinted(t, b)
	// The pods are deleted with this part of the test. kube-controller-manager deallocates a
	// claim that only pods have reserved which do not exist.
	release(t, f.claim, second)
}

// awaitMinted waits until a node gets a token: the API server follows the
// annotation by its own watch.
func (f *fenced) awaitMinted(t *testing.T, p plugin) {
	t.Helper()
	if err := persist(t.Context(), p.mint(f.space, toNode(p.node))); err != nil {
		t.Fatalf("a token on node %s: %v", p.node, err)
	}
}

func (f *fenced) keepsPluginsToTheirEvents(t *testing.T) {
	p := f.pluginOn(t, "fenced-c")
	event := func(kind, component, host string) *corev1.Event {
		return &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Name: "any", Namespace: f.namespace},
			InvolvedObject: corev1.ObjectReference{APIVersion: "resource.k8s.io/v1", Kind: kind, Namespace: f.namespace, Name: f.claim},
			Source:         corev1.EventSource{Component: component, Host: host},
			Reason:         spaceapi.ReasonTokenRenewalFailed, Type: corev1.EventTypeWarning,
		}
	}
	create := func(e *corev1.Event) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			_, err := p.CoreV1().Events(f.namespace).Create(ctx, e, dryRun)
			return err
		}
	}
	foreign := event("Pod", "kubelet", "fenced-c")
	foreign.InvolvedObject.APIVersion, foreign.Name = "v1", "foreign"
	if _, err := env.Client.CoreV1().Events(f.namespace).Create(t.Context(), foreign, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const words = "events about ResourceClaims"
	allDenied(t,
		try{"an event about a pod", create(event("Pod", "space-kubeletplugin", p.node)), words},
		try{"an event as the scheduler", create(event("ResourceClaim", "default-scheduler", p.node)), words},
		try{"an event from another node", create(event("ResourceClaim", "space-kubeletplugin", "another")), words},
		try{"a changed event of somebody else", func(ctx context.Context) error {
			patch := []byte(`{"involvedObject":{"kind":"ResourceClaim","apiVersion":"resource.k8s.io/v1"},"source":{"component":"space-kubeletplugin"}}`)
			_, err := p.CoreV1().Events(f.namespace).Patch(ctx, "foreign", types.StrategicMergePatchType, patch, dryPatch)
			return err
		}, words},
	)
	if err := create(event("ResourceClaim", "space-kubeletplugin", p.node))(t.Context()); err != nil {
		t.Errorf("an event about a claim: %v", err)
	}
	own := event("ResourceClaim", "space-kubeletplugin", p.node)
	if _, err := p.CoreV1().Events(f.namespace).Create(t.Context(), own, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.CoreV1().Events(f.namespace).Patch(t.Context(), own.Name, types.StrategicMergePatchType, []byte(`{"count":2}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("its own event once more: %v", err)
	}
}

func (f *fenced) keepsPluginsToTheirSlices(t *testing.T) {
	p := f.pluginOn(t, "fenced-d")
	outside := env.As(t, f.namespace, fencedName+"-kubeletplugin")
	slice := func(driver, node string) *resourceapi.ResourceSlice {
		s := &resourceapi.ResourceSlice{ObjectMeta: metav1.ObjectMeta{GenerateName: "fenced-"}, Spec: resourceapi.ResourceSliceSpec{
			Driver: driver, NodeName: &node, Pool: resourceapi.ResourcePool{Name: "any", ResourceSliceCount: 1},
		}}
		if node == "" {
			s.Spec.NodeName, s.Spec.AllNodes = nil, ptr.To(true)
		}
		return s
	}
	create := func(client kubernetes.Interface, s *resourceapi.ResourceSlice) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.ResourceV1().ResourceSlices().Create(ctx, s, dryRun)
			return err
		}
	}
	made := func(driver, node string) *resourceapi.ResourceSlice {
		t.Helper()
		s, err := env.Client.ResourceV1().ResourceSlices().Create(t.Context(), slice(driver, node), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = env.Client.ResourceV1().ResourceSlices().Delete(context.Background(), s.Name, metav1.DeleteOptions{})
		})
		return s
	}
	own, others, foreign := made(f.driver, p.node), made(f.driver, "another"), made("gpu.example.com", p.node)
	update := func(s *resourceapi.ResourceSlice) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			s := s.DeepCopy()
			s.Spec.Devices = []resourceapi.Device{{Name: "space"}}
			_, err := p.ResourceV1().ResourceSlices().Update(ctx, s, dryUpdate)
			return err
		}
	}
	remove := func(s *resourceapi.ResourceSlice) func(ctx context.Context) error {
		return func(ctx context.Context) error { return p.ResourceV1().ResourceSlices().Delete(ctx, s.Name, dryDelete) }
	}
	const words = "on its own node"
	allDenied(t,
		try{"a slice of another node", create(p, slice(f.driver, "another")), words},
		try{"a slice of no node", create(p, slice(f.driver, "")), words},
		try{"a slice of another driver", create(p, slice("gpu.example.com", p.node)), words},
		try{"a slice by somebody without a node", create(outside, slice(f.driver, p.node)), words},
		try{"a change to another node's slice", update(others), words},
		try{"a change to another driver's slice", update(foreign), words},
		try{"deleting another node's slice", remove(others), words},
		try{"deleting another driver's slice", remove(foreign), words},
	)
	for what, do := range map[string]func(context.Context) error{
		"a slice of its own": create(p, slice(f.driver, p.node)), "a change to it": update(own), "deleting it": remove(own),
	} {
		if err := do(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
