// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/json"
	"fmt"
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

// clusterRole creates a ClusterRole, binds it in the whole cluster to a new ServiceAccount, and
// returns a client for that.
func (s *fixture) clusterRole(account string, rules ...rbacv1.PolicyRule) kubernetes.Interface {
	s.Helper()
	client := s.account(account)
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: s.ns}, Rules: rules}
	s.asAdmin(post("/apis/rbac.authorization.k8s.io/v1/clusterroles", framework.JSON(role)),
		post(framework.ClusterRoleBindings, framework.BindingBody("ClusterRoleBinding", s.ns, s.ns, s.ns, account)))
	s.Cleanup(func() {
		_ = env.Client.RbacV1().ClusterRoles().Delete(context.Background(), s.ns, metav1.DeleteOptions{})
		_ = env.Client.RbacV1().ClusterRoleBindings().Delete(context.Background(), s.ns, metav1.DeleteOptions{})
	})
	return client
}

// viewer has the ClusterRole view, and the chart's ClusterRole for viewers, in the whole cluster.
func (s *fixture) viewer() kubernetes.Interface {
	s.Helper()
	viewer := s.account("viewer")
	for _, role := range []string{"view", scenariosRelease + "-viewer"} {
		name := s.ns + "-" + role
		s.asAdmin(post(framework.ClusterRoleBindings, framework.BindingBody("ClusterRoleBinding", name, role, s.ns, "viewer")))
		s.Cleanup(func() {
			_ = env.Client.RbacV1().ClusterRoleBindings().Delete(context.Background(), name, metav1.DeleteOptions{})
		})
	}
	return viewer
}

const another = "another.example.com"

// otherPlugin has the usual permissions of a kubelet plugin of these drivers.
func (s *fixture) otherPlugin(drivers ...string) kubernetes.Interface {
	s.Helper()
	return s.clusterRole("other",
		rbacv1.PolicyRule{APIGroups: []string{"resource.k8s.io"}, Resources: []string{"resourceclaims"}, Verbs: []string{"get"}},
		rbacv1.PolicyRule{APIGroups: []string{"resource.k8s.io"}, Resources: []string{"resourceclaims/status"}, Verbs: []string{"update"}},
		rbacv1.PolicyRule{APIGroups: []string{"resource.k8s.io"}, Resources: []string{"resourceclaims/driver"}, Verbs: []string{"arbitrary-node:update"}, ResourceNames: drivers},
		rbacv1.PolicyRule{APIGroups: []string{"resource.k8s.io"}, Resources: []string{"resourceslices"}, Verbs: []string{"get", "list", "watch", "create", "update", "delete"}})
}

// shared creates a claim with devices of two drivers. It returns a function for an update of its status.
func (s *fixture) shared() func(change func(*resourceapi.ResourceClaimStatus)) framework.Call {
	s.Helper()
	env.CreateClaim(s, s.ns, framework.OfClass(scenariosDriver, framework.NewClaim("shared", "space", "other")))
	allocateTo(s.T, scenariosDriver, s.ns, "shared", func(c *resourceapi.ResourceClaim) { c.Status.Allocation.Devices.Results[1].Driver = another })
	claim, _ := spacesOf(s.T, env, s.ns, "shared", 1)
	claim.TypeMeta = metav1.TypeMeta{APIVersion: resourceapi.SchemeGroupVersion.String(), Kind: "ResourceClaim"}
	claim.ResourceVersion = ""
	return func(change func(*resourceapi.ResourceClaimStatus)) framework.Call {
		changed := claim.DeepCopy()
		result := changed.Status.Allocation.Devices.Results[1]
		share := string(*result.ShareID)
		changed.Status.Devices = append(changed.Status.Devices, resourceapi.AllocatedDeviceStatus{Driver: result.Driver, Pool: result.Pool, Device: result.Device, ShareID: &share})
		change(&changed.Status)
		return framework.Put(claimPath(s.ns, "shared/status"), framework.JSON(changed))
	}
}

// own leaves the status as it is, with a device of the plugin's own driver.
func own(*resourceapi.ResourceClaimStatus) {}

// redirected changes the namespace and the API server of the space.
func redirected(status *resourceapi.ResourceClaimStatus) {
	data, _ := json.Marshal(map[string]string{"namespace": "another", "server": "https://192.0.2.1"})
	status.Devices[0].Data = &runtime.RawExtension{Raw: data}
}

// publish returns a request that creates a ResourceSlice for the nodes that a JSON field selects.
func (s *fixture) publish(driver, nodes string) framework.Call {
	name := s.ns + "-" + rand.String(5)
	s.Cleanup(func() {
		_ = env.Client.ResourceV1().ResourceSlices().Delete(context.Background(), name, metav1.DeleteOptions{})
	})
	return post(framework.ResourceSlices, strings.ReplaceAll(slice(driver, nodes), "attempt", name))
}

// publishedSlice waits for a ResourceSlice of the controller with another UID.
func (s *fixture) publishedSlice(not types.UID) *resourceapi.ResourceSlice {
	s.Helper()
	return framework.AwaitAny(s, env.Client.ResourceV1().RESTClient(), "resourceslices", "", framework.That("of the controller", func(slice *resourceapi.ResourceSlice) bool {
		return slice.Spec.Driver == scenariosDriver && slice.Spec.NodeName == nil && slice.UID != not
	}))
}

var otherDriver = []scenario{
	{"Redirect a pod to another space with the status of a claim", "", func(s *fixture) {
		other, put := s.otherPlugin(another), s.shared()
		s.allow("the plugin writes its own entry", other, put(own))
		s.deny("the plugin changes the entry of the space", other, put(redirected), `cannot arbitrary-node:update resource "resourceclaims/driver"`)
		s.deny("the plugin removes the entry of the space", other, put(func(s *resourceapi.ResourceClaimStatus) { s.Devices = s.Devices[1:] }), `"resourceclaims/driver"`)
	}},
	{"Redirect a pod to another space with permission for all drivers", "", func(s *fixture) {
		other, put := s.otherPlugin(another, scenariosDriver), s.shared()
		s.allow("the plugin writes its own entry", other, put(own))
		s.deny("the plugin changes the entry of the space", other, put(redirected), byPolicy("claims"))
	}},
	{"Add the parameters of a class to an allocation", "", func(s *fixture) {
		other, put := s.otherPlugin(another), s.shared()
		s.allow("the plugin writes its own entry", other, put(own))
		s.deny("the plugin adds parameters of a DeviceClass", other, put(func(s *resourceapi.ResourceClaimStatus) {
			framework.WithClassConfig(`"podSecurity":{"enforce":"privileged"}`)(&resourceapi.ResourceClaim{Status: *s})
		}), `"resourceclaims/binding"`)
	}},
	{"Deallocate a claim, so that its space is deprovisioned", "", func(s *fixture) {
		other, put := s.otherPlugin(another), s.shared()
		s.allow("the plugin writes its own entry", other, put(own))
		s.deny("the plugin deallocates the claim", other, put(func(s *resourceapi.ResourceClaimStatus) { *s = resourceapi.ResourceClaimStatus{} }), `"resourceclaims/binding"`)
	}},
	{"Publish devices in the driver's name", "", func(s *fixture) {
		other := s.otherPlugin(another)
		s.allow("the plugin publishes its own devices", other, s.publish(another, `"allNodes":true`))
		s.deny("the plugin publishes spaces", other, s.publish(scenariosDriver, `"allNodes":true`), byPolicy("slices"))
	}},
	{"Delete the driver's devices", "", func(s *fixture) {
		other := s.otherPlugin(another)
		first := s.publishedSlice("")
		s.allow("the plugin deletes a ResourceSlice", other, remove(framework.ResourceSlices+"/"+first.Name))
		s.publishedSlice(first.UID)
		s.deniedOrLimited++
	}},
	{"Access the space of a claim that it prepares", "", func(s *fixture) {
		other := s.otherPlugin(another)
		s.allow("the plugin reads the claim", other, get(claimPath(s.ns, "claim")))
		s.deny("the plugin gets a token of the space", other, post(core(s.space, "serviceaccounts/space/token"), framework.TokenBody("", "", "")), byRBAC)
	}},
}

// controllerOn returns a client with the token of a controller's pod on a new node, and the pod.
func (s *fixture) controllerOn(node string) (kubernetes.Interface, *corev1.Pod) {
	s.Helper()
	pod := s.boundPod(s.installed, scenariosRelease+"-controller", node)
	return env.AsPod(s.T, pod), pod
}

// pluginOn returns a client with the token of a kubelet plugin's pod on a new node, and the pod.
func (s *fixture) pluginOn(node string) (kubernetes.Interface, *corev1.Pod) {
	s.Helper()
	pod := s.boundPod(s.installed, scenariosRelease+"-kubeletplugin", node)
	return env.AsPod(s.T, pod), pod
}

// useOn reserves the claim for a new pod on a node.
func (s *fixture) useOn(node string) *corev1.Pod {
	s.Helper()
	pod := bind(s.T, createPod(s.T, s.ns, framework.NewPod("user-"+node)), node)
	reserve(s.T, "claim", pod)
	awaitNodesRecorded(s.T, spaceapi.KeysFor(scenariosDriver), s.space, pod)
	return pod
}

// boundTo is the spec of a token that is bound to a Node.
func boundTo(node string) authenticationv1.TokenRequestSpec {
	return authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Node", APIVersion: "v1", Name: node}}
}

// requestToken returns a dry run of a request for a token that is bound to a Node.
func (s *fixture) requestToken(node string) framework.Call {
	return post(core(s.space, "serviceaccounts/space/token"), framework.TokenBody("Node", node, ""))
}

var controllersNode = []scenario{
	{"Create a privileged space", "", func(s *fixture) {
		controller, _ := s.controllerOn("scenarios-privileged")
		ns := func(name, podSecurity string) framework.Call {
			space := spaceNamespace(scenariosDriver, name, "scenarios", s.ns, "none")
			space.Labels["pod-security.kubernetes.io/enforce"] = podSecurity
			return post(namespacePath(""), framework.JSON(space))
		}
		s.allow("the node creates a space without a claim", controller, ns("scenarios-unclaimed", "baseline"))
		// The running controller deletes it.
		env.AwaitNamespaceDeleted(s, "scenarios-unclaimed")
		s.deny("the node creates a privileged one", controller, ns("scenarios-privileged", "privileged"), byPolicy("controller-namespaces"))
		s.deny("the node lowers the standard of another space", controller, patch(namespacePath(s.space), set("labels", "pod-security.kubernetes.io/enforce", "privileged")), byPolicy("controller-namespaces"))
	}},
	{"Access the space of another node, and break out of it", "", func(s *fixture) {
		const node = "scenarios-intruder"
		controller, _ := s.controllerOn(node)
		plugin := env.AsPod(s.T, bind(s.T, createPod(s.T, s.installed, pluginPod("intruder")), node))
		record := patch(namespacePath(s.space), set("annotations", spaceapi.KeysFor(scenariosDriver).Nodes, node+"=x")).Stored()
		var intruder kubernetes.Interface
		// The running controller corrects the metadata.
		framework.AwaitAllowed(s, "the node adds itself to the metadata, and gets a token", func(ctx context.Context) error {
			if err := record.By(controller)(ctx); err != nil {
				return err
			}
			created, err := plugin.CoreV1().ServiceAccounts(s.space).CreateToken(ctx, spaceapi.ServiceAccountName, &authenticationv1.TokenRequest{Spec: boundTo(node)}, metav1.CreateOptions{})
			if err == nil {
				intruder = env.WithToken(s.T, created.Status.Token)
			}
			return err
		})
		s.allow("the node works in the space", intruder, configMap(s.space, "of-intruder"))
		s.deny("the node runs a privileged pod there", intruder, newPod(s.space, "privileged", `"hostPID":true,`), `violates PodSecurity "baseline`)
		s.deny("the node lowers the standard", intruder, patch(namespacePath(s.space), set("labels", "pod-security.kubernetes.io/enforce", "privileged")), byRBAC)
		s.deny("the node reads in another namespace", intruder, get(core(s.ns, "pods")), byRBAC)
	}},
	{"Grant permissions outside of a space", "", func(s *fixture) {
		controller, _ := s.controllerOn("scenarios-granter")
		s.allow("the node grants a space a second role", controller, grant(s.space, "space-2", "view", s.space, "space"))
		s.deny("the node grants it to another user", controller, grant(s.space, "space-3", "edit", s.ns, "default"), byPolicy("controller-rolebindings"))
		s.deny("the node grants a role in another namespace", controller, grant(s.ns, "space", "edit", s.ns, "space"), byPolicy("controller-rolebindings"))
		s.deny("the node grants a role that no value names", controller, grant(s.space, "space-3", "system:node", s.space, "space"), byEscalation)
		s.deny("the node grants a role in the whole cluster", controller, post(framework.ClusterRoleBindings, framework.BindingBody("ClusterRoleBinding", "attempt", "view", s.space, "space")), byRBAC)
	}},
	{"Grant others more than their class", `"access":[` + accessOf("support", "view", spaceapi.AccessReady) + `,` + accessOf("developers", "edit", spaceapi.AccessReady) + `]`, func(s *fixture) {
		controller, _ := s.controllerOn("scenarios-generous")
		give := func(entry int, group, role string) framework.Call {
			return post(framework.RBACPath(s.space, "rolebindings"), fmt.Sprintf(`{"metadata":{"name":"space-access-%d"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":%q},
				"subjects":[{"kind":"Group","apiGroup":"rbac.authorization.k8s.io","name":%q}]}`, entry, role, group))
		}
		s.allow("the node deletes the RoleBinding of a group", controller, remove(s.bindingOfAccess()))
		s.allow("the node creates it again", controller, give(1, "support", "view"))
		s.asAdmin(remove(s.bindingOfAccess()))
		s.deny("the node creates it for another group", controller, give(1, "system:authenticated", "view"), byPolicy("controller-rolebindings"))
		s.deny("the node creates it with another role", controller, give(1, "support", "edit"), byPolicy("controller-rolebindings"))
		s.deny("the node creates that of another entry", controller, give(1, "developers", "edit"), byPolicy("controller-rolebindings"))
		s.deny("the node creates one more", controller, give(3, "support", "view"), byPolicy("controller-rolebindings"))
	}},
	{"Revoke the permissions of others outside of spaces", "", func(s *fixture) {
		controller, _ := s.controllerOn("scenarios-revoker")
		s.asAdmin(grant(s.space, "accomplice", "view", s.ns, "default"), grant(s.ns, "accomplice", "view", s.ns, "default"))
		empty := func(namespace string) framework.Call {
			return patch(framework.RBACPath(namespace, "rolebindings/accomplice"), `{"subjects":null}`)
		}
		s.allow("the node empties a RoleBinding in a space", controller, empty(s.space))
		s.deny("the node empties one in another namespace", controller, empty(s.ns), byPolicy("controller-rolebindings"))
	}},
	{"Delete a namespace by marking it as a space first", "", func(s *fixture) {
		controller, _ := s.controllerOn("scenarios-deleter")
		keys := spaceapi.KeysFor(scenariosDriver)
		s.allow("the node sets the end of the retention of a space", controller, patch(namespacePath(s.space), set("annotations", keys.RetainedUntil, "2030-01-01T00:00:00Z")))
		s.deny("the node marks a namespace as a space", controller, patch(namespacePath(s.ns), set("labels", keys.ClaimUID, "x")), byPolicy("controller-namespaces"))
		s.deny("the node deletes the namespace", controller, remove(namespacePath(s.ns)), byPolicy("controller-namespaces"))
	}},
	{"Use the controller's token after its pod is deleted", "", func(s *fixture) {
		controller, pod := s.controllerOn("scenarios-keeper")
		s.allow("the token works", controller, get("/apis/resource.k8s.io/v1/resourceclaims"))
		s.asAdmin(remove(core(pod.Namespace, "pods/"+pod.Name+"?gracePeriodSeconds=0")))
		s.awaitDenied("the token reads", controller, get("/apis/resource.k8s.io/v1/resourceclaims"), byExpiry)
	}},
	{"Use its kubelet plugin's token to get one of another node's space", "", func(s *fixture) {
		const node = "scenarios-kubelet"
		_, pod := s.pluginOn(node)
		kubelet := asUser(s.T, "system:node:"+node, "system:nodes", "system:authenticated")
		path := core(s.installed, "serviceaccounts/"+scenariosRelease+"-kubeletplugin/token")
		s.allow("the kubelet gets a token for the pod", kubelet, post(path, framework.TokenBody("Pod", pod.Name, pod.UID)))
		plugin := s.token("the kubelet uses one", kubelet, s.installed, pod.Spec.ServiceAccountName, authenticationv1.TokenRequestSpec{
			BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
		})
		s.deny("the kubelet gets one without a pod", kubelet, post(path, framework.TokenBody("", "", "")), "not bound to a pod")
		s.deny("the kubelet plugin gets a token of the space", plugin, s.requestToken(node), byPolicy("kubeletplugin-tokens"))
		s.deny("the kubelet reads the claim", kubelet, get(claimPath(s.ns, "claim")), "no relationship found")
	}},
}

func pluginPod(name string) *corev1.Pod {
	pod := framework.NewPod(name)
	pod.Spec.ServiceAccountName = scenariosRelease + "-kubeletplugin"
	return pod
}

var stolenTokens = []scenario{
	{"Get tokens of a space with the kubelet plugins' tokens of two nodes", "", func(s *fixture) {
		const near, far = "scenarios-near", "scenarios-far"
		first, _ := s.pluginOn(near)
		second, _ := s.pluginOn(far)
		s.useOn(near)
		s.allow("the first node's plugin gets a token", first, s.requestToken(near))
		s.deny("the second node's plugin gets one for its node", second, s.requestToken(far), "no pod on node "+far)
		s.deny("the second node's plugin gets one for the first", second, s.requestToken(near), byPolicy("kubeletplugin-tokens"))
	}},
	{"Use a token of a space after its last pod on the node is deleted", "", func(s *fixture) {
		const node = "scenarios-left"
		plugin, _ := s.pluginOn(node)
		pod := s.useOn(node)
		kept := s.token("the plugin gets a token", plugin, s.space, spaceapi.ServiceAccountName, boundTo(node))
		release(s.T, "claim", pod)
		s.awaitDenied("the plugin gets another one", plugin, s.requestToken(node), "no pod on node "+node)
		s.allow("the token still works", kept, configMap(s.space, "kept"))
		s.asAdmin(remove("/api/v1/nodes/" + node))
		s.awaitDenied("the token reads after its Node was deleted", kept, s.read(), byExpiry)
	}},
	{"Exchange a token that is bound to the Node for one that is not", "", func(s *fixture) {
		const node = "scenarios-unbound"
		plugin, _ := s.pluginOn(node)
		s.useOn(node)
		bound := s.token("the plugin gets a token", plugin, s.space, spaceapi.ServiceAccountName, boundTo(node))
		unbound := s.token("the token gets another one", bound, s.space, spaceapi.ServiceAccountName, authenticationv1.TokenRequestSpec{})
		s.asAdmin(remove("/api/v1/nodes/" + node))
		s.awaitDenied("the first token reads after its Node was deleted", bound, s.read(), byExpiry)
		s.allow("the second token still works", unbound, configMap(s.space, "unbound"))
		s.asAdmin(remove(core(s.space, "serviceaccounts/space")))
		s.awaitDenied("the second token reads after its ServiceAccount was deleted", unbound, s.read(), byExpiry)
	}},
	{"Use a token after the space is deprovisioned", "", func(s *fixture) {
		const node = "scenarios-after"
		plugin, _ := s.pluginOn(node)
		s.useOn(node)
		kept := s.token("the plugin gets a token", plugin, s.space, spaceapi.ServiceAccountName, boundTo(node))
		s.allow("the token works", kept, s.read())
		// A namespace that is deleted has no tokens to deny.
		unblock := blockDeletion(s.T, env, s.space)
		s.deallocate()
		s.awaitDenied("the token reads", kept, s.read())
		s.awaitDenied("the plugin gets another one", plugin, s.requestToken(node))
		unblock()
	}},
	{"Use the token after the kubelet plugin's pod is deleted", "", func(s *fixture) {
		plugin, pod := s.pluginOn("scenarios-deleted")
		s.allow("the token reads claims", plugin, get(claimPath(s.ns, "claim")))
		s.asAdmin(remove(core(pod.Namespace, "pods/"+pod.Name+"?gracePeriodSeconds=0")))
		s.awaitDenied("the token reads claims", plugin, get(claimPath(s.ns, "claim")), byExpiry)
	}},
	{"Get a token of a ServiceAccount that an author of claims created", "", func(s *fixture) {
		const node = "scenarios-accomplice"
		author := s.author()
		plugin, _ := s.pluginOn(node)
		s.allow("the author creates a ServiceAccount called space", author, newAccount(s.ns, spaceapi.ServiceAccountName))
		s.deny("the plugin gets a token of it", plugin, post(core(s.ns, "serviceaccounts/space/token"), framework.TokenBody("Node", node, "")), byPolicy("kubeletplugin-tokens"))
	}},
	{"Publish devices for its node, then for another", "", func(s *fixture) {
		const node = "scenarios-publisher"
		plugin, _ := s.pluginOn(node)
		of := func(node string) framework.Call { return s.publish(scenariosDriver, `"nodeName":"`+node+`"`) }
		s.allow("the plugin publishes its own devices", plugin, of(node))
		s.deny("the plugin publishes devices of another node", plugin, of("another"), byPolicy("kubeletplugin-slices"))
	}},
	{"Add its node to the metadata of another space", "", func(s *fixture) {
		const node = "scenarios-hopper"
		plugin, _ := s.pluginOn(node)
		s.useOn(node)
		next := s.provision("next", "")
		tenant := s.token("the plugin gets a token", plugin, s.space, spaceapi.ServiceAccountName, boundTo(node))
		s.allow("the token reads the metadata of its space", tenant, get(namespacePath(s.space)))
		record := patch(namespacePath(next), set("annotations", spaceapi.KeysFor(scenariosDriver).Nodes, node+"=x"))
		s.deny("the token adds the node to another space", tenant, record, byRBAC)
		s.deny("the plugin adds it", plugin, record, byRBAC)
		s.deny("the plugin gets a token of the other space", plugin, post(core(next, "serviceaccounts/space/token"), framework.TokenBody("Node", node, "")), "no pod on node "+node)
	}},
}
