// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// policyFixture is a release of the chart without its workloads, a controller with the permissions of
// that release, and one space.
type policyFixture struct {
	driver    string
	keys      spaceapi.Keys
	namespace string
	// controller is a client with a token of the controller's ServiceAccount.
	controller kubernetes.Interface
	// claim is in the release's namespace, and space is its namespace.
	claim, space string
}

const policiesName = "policies-space-dra-driver"

// newPolicyFixture installs the release. Only one can exist at a time.
func newPolicyFixture(t *testing.T) *policyFixture {
	t.Helper()
	f := &policyFixture{driver: "policies.example.com", keys: spaceapi.KeysFor("policies.example.com"), namespace: env.Namespace(t), claim: "claim"}
	startController(t, env, releaseOf(t, "policies", f.namespace, map[string]string{
		"driverName": f.driver, "space.allowedClusterRoles": "{admin}", "space.deniedDeviceClasses": "{policies-denied}",
		"deviceClasses[0].name": "policies-gold", "deviceClasses[0].extendedResourceName": "policies.example.com/gold",
	},
		"rbac-controller.yaml", "rbac-kubeletplugin.yaml", "admission-spaces.yaml", "admission-nested.yaml",
		"admission-controller.yaml", "admission-kubeletplugin.yaml", "admission-space-metadata.yaml", "admission-claims.yaml")...)
	f.controller = env.As(t, f.namespace, policiesName+"-controller")
	f.space = provision(t, f.driver, f.namespace, f.claim)
	return f
}

// denial is a request that a policy denies, with an error that contains words.
type denial struct {
	what  string
	call  framework.Call
	words string
}

// denied waits until requests are denied: the API server learns of policies, and of the objects that
// they read, by watches.
func denied(t *testing.T, client kubernetes.Interface, denials ...denial) {
	t.Helper()
	for _, d := range denials {
		framework.AwaitDenied(t, d.what, d.call.By(client), d.words)
	}
}

// allowed waits until requests succeed, for the same reason.
func allowed(t *testing.T, client kubernetes.Interface, calls map[string]framework.Call) {
	t.Helper()
	for what, call := range calls {
		framework.AwaitAllowed(t, what, call.By(client))
	}
}

var (
	post, patch, remove = framework.Post, framework.Patch, framework.Delete
	namespacePath, core = framework.NamespacePath, framework.CorePath
	slice               = framework.SliceBody
	dryRun              = metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
)

// TestAdmissionPolicies_denyAndAllow makes requests that policies deny or allow, in addition to those
// of TestThreats_areDenied in test/e2e.
func TestAdmissionPolicies_denyAndAllow(t *testing.T) {
	f := newPolicyFixture(t)
	t.Run("controller namespaces", f.controllerNamespaces)
	t.Run("controller contents of spaces", f.controllerContents)
	t.Run("controller status of claims", f.controllerStatus)
	t.Run("plugin tokens", f.pluginTokens)
	t.Run("plugin audiences", f.pluginAudiences)
	t.Run("plugin events", f.pluginEvents)
	t.Run("plugin slices", f.pluginSlices)
	t.Run("metadata of spaces", f.spaceMetadata)
	t.Run("nested spaces", f.nestedSpaces)
	t.Run("namespaces of tenants", f.tenantNamespaces)
	t.Run("pods of tenants", f.tenantPods)
	t.Run("services of tenants", f.tenantServices)
	t.Run("quotas of tenants", f.tenantQuotas)
	t.Run("RoleBindings of tenants", f.tenantRoleBindings)
	t.Run("tokens of tenants", f.tenantTokens)
	t.Run("addresses of tenants", f.tenantAddresses)
	t.Run("status of claims", f.claimStatus)
	t.Run("types of expressions", f.expressionTypes)
	deallocate(t, env, f.namespace, f.claim)
	env.AwaitNamespaceDeleted(t, f.space)
}

// set returns a merge patch that sets a label or an annotation, or removes it if value is null.
func set(field, key, value string) string {
	if value != "null" {
		value = strconv.Quote(value)
	}
	return fmt.Sprintf(`{"metadata":{%q:{%q:%s}}}`, field, key, value)
}

func (f *policyFixture) controllerNamespaces(t *testing.T) {
	space := namespacePath(f.space)
	createWith := func(podSecurity, driver, namespace, claim string) framework.Call {
		ns := spaceNamespace(driver, "policies-any", "uid", namespace, claim)
		ns.Labels["pod-security.kubernetes.io/enforce"] = podSecurity
		return post(namespacePath(""), framework.JSON(ns))
	}
	create := func(driver, namespace, claim string) framework.Call {
		return createWith("baseline", driver, namespace, claim)
	}
	const created, annotations = "namespaces with the metadata of a space", "annotations nodes, token-audiences, retained-until, failed-pod and deletion-retried-at"
	denied(t, f.controller,
		denial{"create one without annotations", create(f.driver, "", ""), created},
		denial{"create one of another driver", create("another.example.com", "ns", "claim"), created},
		denial{"create one with a lower Pod Security Standard", createWith("privileged", f.driver, "ns", "claim"), "Pod Security Standard that the Helm values allow"},
		denial{"take one over", patch(namespacePath("kube-system"), set("labels", f.keys.ClaimUID, "uid")), "update and delete namespaces of spaces"},
		denial{"change the record", patch(space, set("annotations", f.keys.ClaimName, "another")), annotations},
		denial{"change the configuration", patch(space, set("annotations", f.keys.Config, "{}")), annotations},
		denial{"remove a part of the record", patch(space, set("annotations", f.keys.ClaimName, "null")), annotations},
	)
	allowed(t, f.controller, map[string]framework.Call{
		"create a space":                 create(f.driver, "ns", "claim"),
		"create a stricter space":        createWith("restricted", f.driver, "ns", "claim"),
		"retain a space":                 patch(space, set("annotations", f.keys.RetainedUntil, "2030-01-01T00:00:00Z")),
		"record a failed pod of a space": patch(space, set("annotations", f.keys.FailedPod, "pod")),
		"record the nodes of a space":    patch(space, set("annotations", f.keys.Nodes, "node=uid")),
		"retry the deletion of a space":  patch(space, set("annotations", f.keys.DeletionRetriedAt, "2030-01-01T00:00:00Z")),
		"record that no node uses space": patch(space, set("annotations", f.keys.Nodes, "null")),
	})
}

func (f *policyFixture) controllerContents(t *testing.T) {
	const spaces, itself = "write in namespaces of spaces", "the space's own ServiceAccount"
	object := func(name string) string { return fmt.Sprintf(`{"metadata":{"name":%q}}`, name) }
	bind := func(name, namespace, of string) framework.Call {
		return post(framework.RBACPath(namespace, "rolebindings"), framework.BindingBody("RoleBinding", name, "edit", of, spaceapi.ServiceAccountName))
	}
	own := framework.RBACPath(f.space, "rolebindings/space")
	denied(t, f.controller,
		denial{"a ServiceAccount in another namespace", post(core("kube-system", "serviceaccounts"), object("space")), spaces},
		denial{"another ServiceAccount", post(core(f.space, "serviceaccounts"), object("builder")), "objects named space"},
		denial{"a quota in another namespace", post(core("default", "resourcequotas"), object("space")), spaces},
		denial{"a NetworkPolicy in another namespace", post(framework.NetworkPolicyPath("default", ""), framework.JSON(openPolicy("space"))), spaces},
		denial{"a RoleBinding with another name", bind("another", f.space, f.space), itself},
		denial{"the RoleBinding of access that the space does not record", bind("space-access-1", f.space, f.space), "the access that the space records"},
		denial{"other subjects of the RoleBinding", patch(own, `{"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"eve"}]}`), "remove their subjects"},
	)
	allowed(t, f.controller, map[string]framework.Call{"remove all subjects": patch(own, `{"subjects":null}`)})
}

func (f *policyFixture) controllerStatus(t *testing.T) {
	// From Kubernetes 1.36 on, RBAC denies this, too.
	const role = "policies-binding"
	env.Kubectl(t, "create", "clusterrole", role, "--verb=update", "--resource=resourceclaims.resource.k8s.io/binding")
	env.Kubectl(t, "create", "clusterrolebinding", role, "--clusterrole="+role, "--serviceaccount="+f.namespace+":"+policiesName+"-controller")
	t.Cleanup(func() {
		_, _ = env.TryKubectl(context.Background(), "delete", "clusterrole,clusterrolebinding", role)
	})
	framework.AwaitDenied(t, "reserve a claim", func(ctx context.Context) error {
		claims := f.controller.ResourceV1().ResourceClaims(f.namespace)
		claim, err := claims.Get(ctx, f.claim, metav1.GetOptions{})
		if err != nil {
			return err
		}
		claim.Status.ReservedFor = []resourceapi.ResourceClaimConsumerReference{{Resource: "pods", Name: "any", UID: "any"}}
		_, err = claims.UpdateStatus(ctx, claim, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}, "status.devices")
}

// pluginOn returns a client with the token of the plugin's pod on a new node.
func (f *policyFixture) pluginOn(t *testing.T, node string) kubernetes.Interface {
	t.Helper()
	newNode(t, env, node, nil)
	pod := framework.NewPod("plugin-" + node)
	pod.Spec.ServiceAccountName = policiesName + "-kubeletplugin"
	return env.AsPod(t, bind(t, createPod(t, f.namespace, pod), node))
}

func (f *policyFixture) pluginTokens(t *testing.T) {
	const nodeA, nodeB = "policies-a", "policies-b"
	a, b := f.pluginOn(t, nodeA), f.pluginOn(t, nodeB)
	requestToken := func(node string) framework.Call {
		return post(core(f.space, "serviceaccounts/space/token"), framework.TokenBody("Node", node, ""))
	}
	const unused = "no pod on node "
	first, second := createPod(t, f.namespace, framework.NewPod("first")), createPod(t, f.namespace, framework.NewPod("second"))
	denied(t, env.As(t, f.namespace, policiesName+"-kubeletplugin"), denial{"a token without a node", requestToken(nodeA), "bound to its own Node"})
	denied(t, a, denial{"a token before a pod uses the claim", requestToken(nodeA), unused + nodeA})
	if err := requestToken(nodeA).By(a)(t.Context()); !framework.IsDenied(err) {
		t.Errorf("the kubelet plugin would not wait after error %v", err)
	}

	reserve(t, f.claim, first)
	first = bind(t, first, nodeA)
	awaitNodesRecorded(t, f.keys, f.space, first)
	framework.AwaitAllowed(t, "a token on the node of the pod", requestToken(nodeA).By(a))
	denied(t, b, denial{"a token on a node without a pod", requestToken(nodeB), unused + nodeB})

	reserve(t, f.claim, second)
	second = bind(t, second, nodeB)
	awaitNodesRecorded(t, f.keys, f.space, first, second)
	framework.AwaitAllowed(t, "a token on the second node", requestToken(nodeB).By(b))
	framework.AwaitAllowed(t, "a token on the first node", requestToken(nodeA).By(a))

	release(t, f.claim, first)
	awaitNodesRecorded(t, f.keys, f.space, second)
	denied(t, a, denial{"a token after the end of the pod", requestToken(nodeA), unused + nodeA})
	framework.AwaitAllowed(t, "a token on the second node", requestToken(nodeB).By(b))
	// kube-controller-manager deallocates claims that are reserved for pods that do not exist. These
	// pods are deleted at the end of this subtest.
	release(t, f.claim, second)
}

func (f *policyFixture) pluginEvents(t *testing.T) {
	const node, component, words = "policies-c", "space-kubeletplugin", "events about ResourceClaims"
	p := f.pluginOn(t, node)
	event := func(component, host string) *corev1.Event {
		return &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{GenerateName: "policies-", Namespace: f.namespace},
			InvolvedObject: corev1.ObjectReference{APIVersion: "resource.k8s.io/v1", Kind: "ResourceClaim", Namespace: f.namespace, Name: f.claim},
			Source:         corev1.EventSource{Component: component, Host: host},
		}
	}
	create := func(client kubernetes.Interface, event *corev1.Event) (path string) {
		t.Helper()
		created, err := client.CoreV1().Events(f.namespace).Create(t.Context(), event, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return core(f.namespace, "events/"+created.Name)
	}
	foreign := create(env.Client, event("default-scheduler", ""))
	all := core(f.namespace, "events")
	denied(t, p,
		denial{"an event as the scheduler", post(all, framework.JSON(event("default-scheduler", node))), words},
		denial{"a changed event of another component", patch(foreign, `{"source":{"component":"space-kubeletplugin","host":"policies-c"}}`), words},
	)
	own := create(p, event(component, node))
	allowed(t, p, map[string]framework.Call{"count its own event": patch(own, `{"count":2}`)})
}

func (f *policyFixture) pluginSlices(t *testing.T) {
	const node, words = "policies-d", "on its own node"
	p := f.pluginOn(t, node)
	create := func(driver, node string) *resourceapi.ResourceSlice {
		t.Helper()
		s := &resourceapi.ResourceSlice{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "policies-"},
			Spec:       resourceapi.ResourceSliceSpec{Driver: driver, NodeName: &node, Pool: resourceapi.ResourcePool{Name: "any", ResourceSliceCount: 1}},
		}
		s, err := env.Client.ResourceV1().ResourceSlices().Create(t.Context(), s, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	removeSlices(t, "gpu.example.com")
	update := func(s *resourceapi.ResourceSlice) framework.Call {
		s.Spec.Devices = []resourceapi.Device{{Name: "space"}}
		return framework.Put(framework.ResourceSlices+"/"+s.Name, framework.JSON(s))
	}
	own, others, foreign := create(f.driver, node), create(f.driver, "another"), create("gpu.example.com", node)
	ownSlice := post(framework.ResourceSlices, slice(f.driver, `"nodeName":"`+node+`"`))
	denied(t, env.As(t, f.namespace, policiesName+"-kubeletplugin"), denial{"a slice without a node", ownSlice, words})
	denied(t, p,
		denial{"a change to another node's slice", update(others), words},
		denial{"a change to another driver's slice", update(foreign), words},
		denial{"the deletion of another driver's slice", remove(framework.ResourceSlices + "/" + foreign.Name), words},
	)
	allowed(t, p, map[string]framework.Call{
		"a slice of its own": ownSlice, "a change to it": update(own), "its deletion": remove(framework.ResourceSlices + "/" + own.Name),
	})
}

// spaceMetadata changes the metadata of a space as an administrator.
func (f *policyFixture) spaceMetadata(t *testing.T) {
	const labels, annotations = "namespace labels with prefix policies.example.com/", "namespace annotations with prefix policies.example.com/"
	space, system := namespacePath(f.space), namespacePath("kube-system")
	marked := set("labels", f.keys.ClaimUID, "uid")
	denied(t, env.Client,
		denial{"create a namespace with the metadata", post(namespacePath(""), framework.JSON(spaceNamespace(f.driver, "policies-any", "uid", "", ""))), labels},
		denial{"mark a namespace as a space", patch(system, marked), labels},
		denial{"mark a namespace as a space through its status", patch(system+"/status", marked), labels},
		denial{"remove the label", patch(space, set("labels", f.keys.ClaimUID, "null")), labels},
		denial{"change the label", patch(space, marked), labels},
		denial{"set an unknown key", patch(system, set("labels", "policies.example.com/any", "x")), labels},
		denial{"allow spaces in a space", patch(space, set("labels", f.keys.NestedSpaces, "Allowed")), labels},
		denial{"add an audience", patch(space, set("annotations", f.keys.TokenAudiences, "sts.amazonaws.com")), annotations},
		denial{"add a node", patch(space, set("annotations", f.keys.Nodes, "node=uid")), annotations},
		denial{"change the configuration", patch(space, set("annotations", f.keys.Config, "{}")), annotations},
		denial{"change the claim", patch(space, set("annotations", f.keys.ClaimName, "another")), annotations},
		denial{"remove the claim", patch(space, set("annotations", f.keys.ClaimName, "null")), annotations},
	)
	allowed(t, env.Client, map[string]framework.Call{
		"another label of a space":      patch(space, set("labels", "team", "blue")),
		"an annotation of a space":      patch(space, set("annotations", "note", "x")),
		"a label of another namespace":  patch(system, set("labels", "team", "blue")),
		"another driver's label":        patch(system, set("labels", "not-policies.example.com/any", "x")),
		"a space's status":              patch(space+"/status", `{"status":{"conditions":[]}}`),
		"the deletion of a space":       remove(space),
		"a namespace with other labels": post(namespacePath(""), `{"metadata":{"name":"policies-any","labels":{"team":"blue"}}}`),
	})
}

// nestedSpaces requests a space in a space in each possible way, as an administrator.
func (f *policyFixture) nestedSpaces(t *testing.T) {
	// The API server requires this label for admin access.
	env.Kubectl(t, "label", "namespace", f.space, resourceapi.DRAAdminNamespaceLabelKey+"=true")
	claim := func(namespace string, requests ...resourceapi.DeviceRequest) framework.Call {
		claim := framework.NewClaim("any")
		claim.Spec.Devices.Requests = requests
		return post(framework.DRAPath(namespace, "resourceclaims"), framework.JSON(claim))
	}
	template := func(requests ...resourceapi.DeviceRequest) framework.Call {
		template := framework.NewTemplate("any")
		template.Spec.Spec.Devices.Requests = requests
		return post(framework.DRAPath(f.space, "resourceclaimtemplates"), framework.JSON(template))
	}
	pod := func(namespace, resourceName string, of func(*corev1.Pod) *corev1.Container) framework.Call {
		pod := framework.NewPod("any")
		amount := corev1.ResourceList{corev1.ResourceName(resourceName): resource.MustParse("1")}
		of(pod).Resources = corev1.ResourceRequirements{Limits: amount, Requests: amount}
		return post(core(namespace, "pods"), framework.JSON(pod))
	}
	container := func(pod *corev1.Pod) *corev1.Container { return &pod.Spec.Containers[0] }
	initContainer := func(pod *corev1.Pod) *corev1.Container {
		pod.Spec.InitContainers = []corev1.Container{pod.Spec.Containers[0]}
		pod.Spec.InitContainers[0].Name = "init"
		return &pod.Spec.InitContainers[0]
	}
	exactly := func(class string) resourceapi.DeviceRequest {
		return resourceapi.DeviceRequest{Name: class[:3], Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: class}}
	}
	oneOf := func(classes ...string) resourceapi.DeviceRequest {
		request := resourceapi.DeviceRequest{Name: "one-of"}
		for i, class := range classes {
			request.FirstAvailable = append(request.FirstAvailable, resourceapi.DeviceSubRequest{Name: fmt.Sprintf("sub-%d", i), DeviceClassName: class})
		}
		return request
	}
	asAdmin := exactly(f.driver)
	asAdmin.Exactly.AdminAccess = ptr.To(true)
	const other, implicit = "gpu.example.com", "deviceclass.resource.kubernetes.io/"
	denied(t, env.Client,
		denial{"the chart's class", claim(f.space, exactly(f.driver)), nestedDenied},
		denial{"another class of the chart", claim(f.space, exactly("policies-gold")), nestedDenied},
		denial{"a class that the values name", claim(f.space, exactly("policies-denied")), nestedDenied},
		// This DeviceClass is of another release of the chart, but the claim of this space names it.
		denial{"the space's own class", claim(f.space, exactly(spaceapi.DefaultDriverName)), nestedDenied},
		denial{"a second request", claim(f.space, exactly(other), exactly(f.driver)), nestedDenied},
		denial{"a second choice", claim(f.space, oneOf(other, f.driver)), nestedDenied},
		denial{"access as an administrator", claim(f.space, asAdmin), nestedDenied},
		denial{"a template", template(exactly(f.driver)), nestedDenied},
		denial{"a pod", pod(f.space, implicit+f.driver, container), nestedDenied},
		denial{"a pod, by the space's own class", pod(f.space, implicit+spaceapi.DefaultDriverName, container), nestedDenied},
		denial{"a pod, by the class's name for it", pod(f.space, "policies.example.com/gold", container), nestedDenied},
		denial{"a pod, in its init container", pod(f.space, implicit+"policies-denied", initContainer), nestedDenied},
	)
	allowed(t, env.Client, map[string]framework.Call{
		"another device":                          claim(f.space, exactly(other), oneOf(other)),
		"a template for another device":           template(exactly(other)),
		"a pod with another device":               pod(f.space, "example.com/gpu", initContainer),
		"a space in another namespace":            claim(f.namespace, exactly(f.driver), oneOf(other, f.driver)),
		"a pod with a space in another namespace": pod(f.namespace, implicit+f.driver, container),
	})
}

// expressionTypes checks that the API server has no warnings about types in expressions. An
// expression with a field that does not exist would fail only when it is evaluated.
func (f *policyFixture) expressionTypes(t *testing.T) {
	policies, err := env.Client.AdmissionregistrationV1().ValidatingAdmissionPolicies().List(t.Context(),
		metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=policies"})
	if err != nil || len(policies.Items) == 0 {
		t.Fatalf("policies: %v (error: %v)", policies, err)
	}
	for _, policy := range policies.Items {
		checked := framework.AwaitAny(t, env.Client.AdmissionregistrationV1().RESTClient(), "validatingadmissionpolicies", "",
			framework.That(policy.Name+" with checked types", func(p *admissionv1.ValidatingAdmissionPolicy) bool {
				return p.Name == policy.Name && p.Status.TypeChecking != nil
			}))
		for _, warning := range checked.Status.TypeChecking.ExpressionWarnings {
			t.Errorf("policy %s, %s: %s", policy.Name, warning.FieldRef, warning.Warning)
		}
	}
}

// pluginAudiences requests tokens for the API server and for other audiences, on a node with a pod
// that uses the space.
func (f *policyFixture) pluginAudiences(t *testing.T) {
	const node, words = "policies-e", "for the audiences of the API server"
	p := f.pluginOn(t, node)
	pod := createPod(t, f.namespace, framework.NewPod("audiences"))
	reserve(t, f.claim, pod)
	pod = bind(t, pod, node)
	awaitNodesRecorded(t, f.keys, f.space, pod)

	request := func(audiences ...string) *authenticationv1.TokenRequest {
		return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			Audiences: audiences, BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: node},
		}}
	}
	requestToken := func(audiences ...string) framework.Call {
		return post(core(f.space, "serviceaccounts/space/token"), framework.JSON(request(audiences...)))
	}
	// The API server fills in its own audiences.
	admin, err := env.Client.CoreV1().ServiceAccounts(f.space).CreateToken(t.Context(), "space", request(), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	own := admin.Spec.Audiences
	framework.AwaitAllowed(t, "a token without audiences", requestToken().By(p))
	framework.AwaitAllowed(t, "a token for the API server", requestToken(own...).By(p))
	denied(t, p,
		denial{"a token for a cloud", requestToken("sts.amazonaws.com"), words},
		denial{"a token for the API server and a cloud", requestToken(append(own, "sts.amazonaws.com")...), words},
	)

	// The space of a controller that did not write the audiences.
	space := framework.Namespace(env.Client, f.space)
	without := []byte(set("annotations", f.keys.TokenAudiences, "null"))
	if _, err := f.controller.CoreV1().Namespaces().Patch(t.Context(), f.space, types.MergePatchType, without, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	denied(t, p, denial{"a token for a space without audiences", requestToken(), words})
	release(t, f.claim, pod)
	framework.Await(t, space, framework.That("with the audiences of the API server", func(ns *corev1.Namespace) bool {
		return ns.Annotations[f.keys.TokenAudiences] != ""
	}))
}
