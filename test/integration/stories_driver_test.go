// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/json"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// clusterRole creates a ClusterRole called after the author's namespace, and binds it in the whole
// cluster to a new ServiceAccount, whose client it returns.
func (s *scene) clusterRole(account string, rules ...rbacv1.PolicyRule) kubernetes.Interface {
	s.Helper()
	client := s.account(account)
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: s.ns}, Rules: rules}
	s.given(post("/apis/rbac.authorization.k8s.io/v1/clusterroles", framework.JSON(role)),
		post(framework.ClusterRoleBindings, framework.BindingBody("ClusterRoleBinding", s.ns, s.ns, s.ns, account)))
	s.Cleanup(func() {
		_ = env.Client.RbacV1().ClusterRoles().Delete(context.Background(), s.ns, metav1.DeleteOptions{})
		_ = env.Client.RbacV1().ClusterRoleBindings().Delete(context.Background(), s.ns, metav1.DeleteOptions{})
	})
	return client
}

// viewer reads in the whole cluster, and has the chart's ClusterRole for viewers.
func (s *scene) viewer() kubernetes.Interface {
	s.Helper()
	viewer := s.account("viewer")
	for _, role := range []string{"view", storiesRelease + "-viewer"} {
		name := s.ns + "-" + role
		s.given(post(framework.ClusterRoleBindings, framework.BindingBody("ClusterRoleBinding", name, role, s.ns, "viewer")))
		s.Cleanup(func() {
			_ = env.Client.RbacV1().ClusterRoleBindings().Delete(context.Background(), name, metav1.DeleteOptions{})
		})
	}
	return viewer
}

const another = "another.example.com"

// otherPlugin has the usual permissions of another driver's kubelet plugin, and speaks for these drivers.
func (s *scene) otherPlugin(drivers ...string) kubernetes.Interface {
	s.Helper()
	return s.clusterRole("other",
		rbacv1.PolicyRule{APIGroups: []string{"resource.k8s.io"}, Resources: []string{"resourceclaims"}, Verbs: []string{"get"}},
		rbacv1.PolicyRule{APIGroups: []string{"resource.k8s.io"}, Resources: []string{"resourceclaims/status"}, Verbs: []string{"update"}},
		rbacv1.PolicyRule{APIGroups: []string{"resource.k8s.io"}, Resources: []string{"resourceclaims/driver"}, Verbs: []string{"arbitrary-node:update"}, ResourceNames: drivers},
		rbacv1.PolicyRule{APIGroups: []string{"resource.k8s.io"}, Resources: []string{"resourceslices"}, Verbs: []string{"get", "list", "watch", "create", "update", "delete"}})
}

// shared is a claim with devices of two drivers. The function returns a write of its status.
func (s *scene) shared() func(change func(*resourceapi.ResourceClaimStatus)) framework.Call {
	s.Helper()
	env.CreateClaim(s, s.ns, framework.OfClass(storiesDriver, framework.NewClaim("shared", "space", "other")))
	allocateTo(s.T, storiesDriver, s.ns, "shared", func(c *resourceapi.ResourceClaim) { c.Status.Allocation.Devices.Results[1].Driver = another })
	claim, _ := spacesOf(s.T, env, s.ns, "shared", 1)
	claim.TypeMeta = metav1.TypeMeta{APIVersion: resourceapi.SchemeGroupVersion.String(), Kind: "ResourceClaim"}
	claim.ResourceVersion = ""
	return func(change func(*resourceapi.ResourceClaimStatus)) framework.Call {
		changed := claim.DeepCopy()
		// Its own entry, as of any driver.
		result := changed.Status.Allocation.Devices.Results[1]
		share := string(*result.ShareID)
		changed.Status.Devices = append(changed.Status.Devices, resourceapi.AllocatedDeviceStatus{Driver: result.Driver, Pool: result.Pool, Device: result.Device, ShareID: &share})
		change(&changed.Status)
		return framework.Put(claimPath(s.ns, "shared/status"), framework.JSON(changed))
	}
}

func own(*resourceapi.ResourceClaimStatus) {}

func redirected(status *resourceapi.ResourceClaimStatus) {
	data, _ := json.Marshal(map[string]string{"namespace": "another", "server": "https://192.0.2.1"})
	status.Devices[0].Data = &runtime.RawExtension{Raw: data}
}

// publish creates a ResourceSlice for the nodes that a field names.
func (s *scene) publish(driver, nodes string) framework.Call {
	name := s.ns + "-" + rand.String(5)
	s.Cleanup(func() {
		_ = env.Client.ResourceV1().ResourceSlices().Delete(context.Background(), name, metav1.DeleteOptions{})
	})
	return post(framework.ResourceSlices, strings.ReplaceAll(slice(driver, nodes), "attempt", name))
}

// publishedSlice waits for a ResourceSlice that the controller published, other than a former one.
func (s *scene) publishedSlice(former types.UID) *resourceapi.ResourceSlice {
	s.Helper()
	return framework.AwaitAny(s, env.Client.ResourceV1().RESTClient(), "resourceslices", "", framework.That("of the controller", func(slice *resourceapi.ResourceSlice) bool {
		return slice.Spec.Driver == storiesDriver && slice.Spec.NodeName == nil && slice.UID != former
	}))
}

var otherDriver = []story{
	{"Lead a pod to another space in the status of a claim", "", func(s *scene) {
		other, put := s.otherPlugin(another), s.shared()
		s.can("the plugin writes its own entry", other, put(own))
		s.cannot("the plugin changes the entry of the space", other, put(redirected), `cannot arbitrary-node:update resource "resourceclaims/driver"`)
		s.cannot("the plugin removes the entry of the space", other, put(func(s *resourceapi.ResourceClaimStatus) { s.Devices = s.Devices[1:] }), `"resourceclaims/driver"`)
	}},
	{"Lead a pod to another space as a plugin that may write for all drivers", "", func(s *scene) {
		other, put := s.otherPlugin(another, storiesDriver), s.shared()
		s.can("the plugin writes its own entry", other, put(own))
		s.cannot("the plugin changes the entry of the space", other, put(redirected), byPolicy("claims"))
	}},
	{"Add the parameters of a class to an allocation", "", func(s *scene) {
		other, put := s.otherPlugin(another), s.shared()
		s.can("the plugin writes its own entry", other, put(own))
		s.cannot("the plugin speaks as the DeviceClass", other, put(func(s *resourceapi.ResourceClaimStatus) {
			framework.WithClassConfig(`"podSecurity":{"enforce":"privileged"}`)(&resourceapi.ResourceClaim{Status: *s})
		}), `"resourceclaims/binding"`)
	}},
	{"Deallocate a claim, so that its space is deprovisioned", "", func(s *scene) {
		other, put := s.otherPlugin(another), s.shared()
		s.can("the plugin writes its own entry", other, put(own))
		s.cannot("the plugin deallocates the claim", other, put(func(s *resourceapi.ResourceClaimStatus) { *s = resourceapi.ResourceClaimStatus{} }), `"resourceclaims/binding"`)
	}},
	{"Publish devices in the driver's name", "", func(s *scene) {
		other := s.otherPlugin(another)
		s.can("the plugin publishes its own devices", other, s.publish(another, `"allNodes":true`))
		s.cannot("the plugin publishes spaces", other, s.publish(storiesDriver, `"allNodes":true`), byPolicy("slices"))
	}},
	{"Delete the driver's devices", "", func(s *scene) {
		other := s.otherPlugin(another)
		first := s.publishedSlice("")
		s.can("the plugin deletes a ResourceSlice", other, remove(framework.ResourceSlices+"/"+first.Name))
		s.publishedSlice(first.UID)
		s.stopped++
	}},
	{"Enter the space of a claim that it serves", "", func(s *scene) {
		other := s.otherPlugin(another)
		s.can("the plugin reads the claim", other, get(claimPath(s.ns, "claim")))
		s.cannot("the plugin gets a token of the space", other, post(core(s.space, "serviceaccounts/space/token"), framework.TokenBody("", "", "")), byRBAC)
	}},
}

// controllerOn returns a client with the token of a controller's pod on a new node, and the pod.
func (s *scene) controllerOn(node string) (kubernetes.Interface, *corev1.Pod) {
	s.Helper()
	pod := s.boundPod(s.installed, storiesRelease+"-controller", node)
	return env.AsPod(s.T, pod), pod
}

// pluginOn returns a client with the token of a kubelet plugin's pod on a new node, and the pod.
func (s *scene) pluginOn(node string) (kubernetes.Interface, *corev1.Pod) {
	s.Helper()
	pod := s.boundPod(s.installed, storiesRelease+"-kubeletplugin", node)
	return env.AsPod(s.T, pod), pod
}

// useOn makes a pod on a node use the claim.
func (s *scene) useOn(node string) *corev1.Pod {
	s.Helper()
	pod := bind(s.T, createPod(s.T, s.ns, framework.NewPod("user-"+node)), node)
	reserve(s.T, "claim", pod)
	awaitUsedBy(s.T, spaceapi.KeysFor(storiesDriver), s.space, pod)
	return pod
}

// boundTo is what a kubelet plugin requests.
func boundTo(node string) authenticationv1.TokenRequestSpec {
	return authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Node", APIVersion: "v1", Name: node}}
}

// mint requests a token of the space for a node, and does not store anything.
func (s *scene) mint(node string) framework.Call {
	return post(core(s.space, "serviceaccounts/space/token"), framework.TokenBody("Node", node, ""))
}

var controllersNode = []story{
	{"Create a privileged space", "", func(s *scene) {
		controller, _ := s.controllerOn("stories-privileged")
		ns := func(name, podSecurity string) framework.Call {
			space := recorded(storiesDriver, name, "stories", s.ns, "none")
			space.Labels["pod-security.kubernetes.io/enforce"] = podSecurity
			return post(namespacePath(""), framework.JSON(space))
		}
		s.can("the node creates a space without a claim", controller, ns("stories-made", "baseline"))
		// The controller that still runs deletes it.
		env.AwaitNamespaceGone(s, "stories-made")
		s.cannot("the node creates a privileged one", controller, ns("stories-privileged", "privileged"), byPolicy("controller-namespaces"))
		s.cannot("the node lowers the standard of another space", controller, patch(namespacePath(s.space), set("labels", "pod-security.kubernetes.io/enforce", "privileged")), byPolicy("controller-namespaces"))
	}},
	{"Enter the space of another node, and leave it from there", "", func(s *scene) {
		const node = "stories-intruder"
		controller, _ := s.controllerOn(node)
		plugin := env.AsPod(s.T, bind(s.T, createPod(s.T, s.installed, pluginPod("intruder")), node))
		record := patch(namespacePath(s.space), set("annotations", spaceapi.KeysFor(storiesDriver).Nodes, node+"=x")).Stored()
		var intruder kubernetes.Interface
		// The controller that still runs corrects the record.
		framework.AwaitAllowed(s, "the node adds itself to the metadata, and gets a token", func(ctx context.Context) error {
			if err := record.By(controller)(ctx); err != nil {
				return err
			}
			made, err := plugin.CoreV1().ServiceAccounts(s.space).CreateToken(ctx, spaceapi.ServiceAccountName, &authenticationv1.TokenRequest{Spec: boundTo(node)}, metav1.CreateOptions{})
			if err == nil {
				intruder = env.WithToken(s.T, made.Status.Token)
			}
			return err
		})
		s.can("the node works in the space", intruder, configMap(s.space, "of-intruder"))
		s.cannot("the node runs a privileged pod there", intruder, newPod(s.space, "privileged", `"hostPID":true,`), `violates PodSecurity "baseline`)
		s.cannot("the node lowers the standard", intruder, patch(namespacePath(s.space), set("labels", "pod-security.kubernetes.io/enforce", "privileged")), byRBAC)
		s.cannot("the node reads elsewhere", intruder, get(core(s.ns, "pods")), byRBAC)
	}},
	{"Grant permissions beyond a space", "", func(s *scene) {
		controller, _ := s.controllerOn("stories-granter")
		s.can("the node grants a space a second role", controller, grant(s.space, "space-2", "view", s.space, "space"))
		s.cannot("the node grants it to somebody else", controller, grant(s.space, "space-3", "edit", s.ns, "default"), byPolicy("controller-rolebindings"))
		s.cannot("the node grants a role elsewhere", controller, grant(s.ns, "space", "edit", s.ns, "space"), byPolicy("controller-rolebindings"))
		s.cannot("the node grants a role that no value names", controller, grant(s.space, "space-3", "system:node", s.space, "space"), byEscalation)
		s.cannot("the node grants a role in the whole cluster", controller, post(framework.ClusterRoleBindings, framework.BindingBody("ClusterRoleBinding", "attempt", "view", s.space, "space")), byRBAC)
	}},
	{"Revoke the permissions of others outside of spaces", "", func(s *scene) {
		controller, _ := s.controllerOn("stories-revoker")
		s.given(grant(s.space, "friend", "view", s.ns, "default"), grant(s.ns, "friend", "view", s.ns, "default"))
		empty := func(namespace string) framework.Call {
			return patch(framework.RBACPath(namespace, "rolebindings/friend"), `{"subjects":null}`)
		}
		s.can("the node empties a RoleBinding in a space", controller, empty(s.space))
		s.cannot("the node empties one elsewhere", controller, empty(s.ns), byPolicy("controller-rolebindings"))
	}},
	{"Delete a namespace after it was turned into a space", "", func(s *scene) {
		controller, _ := s.controllerOn("stories-deleter")
		keys := spaceapi.KeysFor(storiesDriver)
		s.can("the node sets the end of the retention of a space", controller, patch(namespacePath(s.space), set("annotations", keys.RetainedUntil, "2030-01-01T00:00:00Z")))
		s.cannot("the node turns a namespace into a space", controller, patch(namespacePath(s.ns), set("labels", keys.ClaimUID, "x")), byPolicy("controller-namespaces"))
		s.cannot("the node deletes the namespace", controller, remove(namespacePath(s.ns)), byPolicy("controller-namespaces"))
	}},
	{"Keep the controller's token after its pod was deleted", "", func(s *scene) {
		controller, pod := s.controllerOn("stories-keeper")
		s.can("the token works", controller, get("/apis/resource.k8s.io/v1/resourceclaims"))
		s.given(remove(core(pod.Namespace, "pods/"+pod.Name+"?gracePeriodSeconds=0")))
		s.loses("the token reads", controller, get("/apis/resource.k8s.io/v1/resourceclaims"), byExpiry)
	}},
	{"Request the token of its kubelet plugin, and with it one of another node's space", "", func(s *scene) {
		const node = "stories-kubelet"
		_, pod := s.pluginOn(node)
		kubelet := asUser(s.T, "system:node:"+node, "system:nodes", "system:authenticated")
		path := core(s.installed, "serviceaccounts/"+storiesRelease+"-kubeletplugin/token")
		s.can("the kubelet gets a token for the pod", kubelet, post(path, framework.TokenBody("Pod", pod.Name, pod.UID)))
		plugin := s.token("the kubelet uses one", kubelet, s.installed, pod.Spec.ServiceAccountName, authenticationv1.TokenRequestSpec{
			BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
		})
		s.cannot("the kubelet gets one without a pod", kubelet, post(path, framework.TokenBody("", "", "")), "not bound to a pod")
		s.cannot("the kubelet plugin gets a token of the space", plugin, s.mint(node), byPolicy("kubeletplugin-tokens"))
		s.cannot("the kubelet reads the claim", kubelet, get(claimPath(s.ns, "claim")), "no relationship found")
	}},
}

func pluginPod(name string) *corev1.Pod {
	pod := framework.NewPod(name)
	pod.Spec.ServiceAccountName = storiesRelease + "-kubeletplugin"
	return pod
}

var stolenTokens = []story{
	{"Collect the tokens of a space with the tokens of two nodes", "", func(s *scene) {
		const near, far = "stories-near", "stories-far"
		first, _ := s.pluginOn(near)
		second, _ := s.pluginOn(far)
		s.useOn(near)
		s.can("the first node's plugin gets a token", first, s.mint(near))
		s.cannot("the second node's plugin gets one for its node", second, s.mint(far), "no pod on node "+far)
		s.cannot("the second node's plugin gets one for the first", second, s.mint(near), byPolicy("kubeletplugin-tokens"))
	}},
	{"Keep a token after the pods left the node", "", func(s *scene) {
		const node = "stories-left"
		plugin, _ := s.pluginOn(node)
		pod := s.useOn(node)
		kept := s.token("the plugin gets a token", plugin, s.space, spaceapi.ServiceAccountName, boundTo(node))
		release(s.T, "claim", pod)
		s.loses("the plugin gets another one", plugin, s.mint(node), "no pod on node "+node)
		s.can("the token still works", kept, configMap(s.space, "kept"))
		s.given(remove("/api/v1/nodes/" + node))
		s.loses("the token reads after its Node was deleted", kept, s.read(), byExpiry)
	}},
	{"Turn a token that is bound to the node into one that is not", "", func(s *scene) {
		const node = "stories-unbound"
		plugin, _ := s.pluginOn(node)
		s.useOn(node)
		bound := s.token("the plugin gets a token", plugin, s.space, spaceapi.ServiceAccountName, boundTo(node))
		unbound := s.token("the token gets another one", bound, s.space, spaceapi.ServiceAccountName, authenticationv1.TokenRequestSpec{})
		s.given(remove("/api/v1/nodes/" + node))
		s.loses("the first token reads after its Node was deleted", bound, s.read(), byExpiry)
		s.can("the second token still works", unbound, configMap(s.space, "unbound"))
		s.given(remove(core(s.space, "serviceaccounts/space")))
		s.loses("the second token reads after its ServiceAccount was deleted", unbound, s.read(), byExpiry)
	}},
	{"Keep a token after the space", "", func(s *scene) {
		const node = "stories-after"
		plugin, _ := s.pluginOn(node)
		s.useOn(node)
		kept := s.token("the plugin gets a token", plugin, s.space, spaceapi.ServiceAccountName, boundTo(node))
		s.can("the token works", kept, s.read())
		s.end()
		s.loses("the token reads", kept, s.read())
		s.loses("the plugin gets another one", plugin, s.mint(node))
	}},
	{"Use the token after the pod of the kubelet plugin was deleted", "", func(s *scene) {
		plugin, pod := s.pluginOn("stories-gone")
		s.can("the token reads claims", plugin, get(claimPath(s.ns, "claim")))
		s.given(remove(core(pod.Namespace, "pods/"+pod.Name+"?gracePeriodSeconds=0")))
		s.loses("the token reads claims", plugin, get(claimPath(s.ns, "claim")), byExpiry)
	}},
	{"Make up a space together with an author", "", func(s *scene) {
		const node = "stories-accomplice"
		author := s.author()
		plugin, _ := s.pluginOn(node)
		s.can("the author creates a ServiceAccount called space", author, newAccount(s.ns, spaceapi.ServiceAccountName))
		s.cannot("the plugin gets a token of it", plugin, post(core(s.ns, "serviceaccounts/space/token"), framework.TokenBody("Node", node, "")), byPolicy("kubeletplugin-tokens"))
	}},
	{"Publish devices, first of its node and then of others", "", func(s *scene) {
		const node = "stories-publisher"
		plugin, _ := s.pluginOn(node)
		of := func(node string) framework.Call { return s.publish(storiesDriver, `"nodeName":"`+node+`"`) }
		s.can("the plugin publishes its own devices", plugin, of(node))
		s.cannot("the plugin publishes devices of another node", plugin, of("another"), byPolicy("kubeletplugin-slices"))
	}},
	{"Work in a space, and record the node on another one", "", func(s *scene) {
		const node = "stories-hopper"
		plugin, _ := s.pluginOn(node)
		s.useOn(node)
		next := s.provision("next", "")
		tenant := s.token("the plugin gets a token", plugin, s.space, spaceapi.ServiceAccountName, boundTo(node))
		s.can("the token reads the metadata of its space", tenant, get(namespacePath(s.space)))
		record := patch(namespacePath(next), set("annotations", spaceapi.KeysFor(storiesDriver).Nodes, node+"=x"))
		s.cannot("the token records the node on another space", tenant, record, byRBAC)
		s.cannot("the plugin records it", plugin, record, byRBAC)
		s.cannot("the plugin gets a token of the other space", plugin, post(core(next, "serviceaccounts/space/token"), framework.TokenBody("Node", node, "")), "no pod on node "+node)
	}},
}
