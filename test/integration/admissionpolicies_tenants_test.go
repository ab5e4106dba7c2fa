// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// tenantNamespaces grants all permissions in the space to its tenant, and to an accomplice outside of
// it, as tenants with the role cluster-admin can.
func (f *policyFixture) tenantNamespaces(t *testing.T) {
	space := namespacePath(f.space)
	accomplice := f.createAccount(t, "accomplice")
	for name, account := range map[string]string{"tenant": f.space + ":" + spaceapi.ServiceAccountName, "accomplice": accomplice} {
		env.Kubectl(t, "create", "rolebinding", name, "--namespace="+f.space, "--clusterrole=cluster-admin", "--serviceaccount="+account)
		client := env.As(t, f.space, spaceapi.ServiceAccountName)
		if name == "accomplice" {
			client = env.As(t, f.namespace, name)
		}
		const all, peers = "permission to patch or delete all namespaces", "traffic between its own pods"
		denied(t, client,
			denial{name + ": lower the Pod Security Standard", patch(space, set("labels", "pod-security.kubernetes.io/enforce", "privileged")), all},
			denial{name + ": change another label", patch(space, set("labels", "team", "blue")), all},
			denial{name + ": change the status", patch(space+"/status", `{"status":{"phase":"Active"},"metadata":{"labels":{"a":"b"}}}`), all},
			denial{name + ": delete the namespace", remove(space), all},
			denial{name + ": allow all traffic", post(framework.NetworkPolicyPath(f.space, ""), framework.JSON(openPolicy("any"))), peers},
			denial{name + ": delete the NetworkPolicy", remove(framework.NetworkPolicyPath(f.space, "space")), "NetworkPolicy space isolates"},
		)
		allowed(t, client, map[string]framework.Call{
			name + ": write in the space": post(core(f.space, "configmaps"), `{"metadata":{"name":"any"}}`),
		})
	}
	allowed(t, env.Client, map[string]framework.Call{
		"an administrator changes a label": patch(space, set("labels", "team", "blue")),
		"an administrator opens a space":   post(framework.NetworkPolicyPath(f.space, ""), framework.JSON(openPolicy("any"))),
	})
}

// createAccount creates a ServiceAccount in the release's namespace.
func (f *policyFixture) createAccount(t *testing.T, name string) string {
	t.Helper()
	env.Kubectl(t, "create", "serviceaccount", name, "--namespace="+f.namespace)
	return f.namespace + ":" + name
}

// tenantPods creates pods that would preempt those of others, or run for too long.
func (f *policyFixture) tenantPods(t *testing.T) {
	const longest = 300 // the default of maxTerminationGracePeriod
	pod := func(namespace string, change func(*corev1.PodSpec)) framework.Call {
		pod := framework.NewPod("any")
		change(&pod.Spec)
		return post(core(namespace, "pods"), framework.JSON(pod))
	}
	priority := func(class string) func(*corev1.PodSpec) {
		return func(spec *corev1.PodSpec) { spec.PriorityClassName = class }
	}
	grace := func(seconds int64) func(*corev1.PodSpec) {
		return func(spec *corev1.PodSpec) { spec.TerminationGracePeriodSeconds = ptr.To(seconds) }
	}
	// The API server immediately deletes a pod that is not bound to a node.
	newNode(t, env, "policies-e", nil)
	running := bind(t, createPod(t, f.space, framework.NewPod("running")), "policies-e")
	deleted := func(seconds int) framework.Call {
		return remove(core(f.space, fmt.Sprintf("pods/%s?gracePeriodSeconds=%d", running.Name, seconds)))
	}
	evicted := func(seconds int) framework.Call {
		return post(core(f.space, "pods/"+running.Name+"/eviction"), fmt.Sprintf(
			`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q},"deleteOptions":{"gracePeriodSeconds":%d}}`, running.Name, seconds))
	}
	const system, period = "system PriorityClass", "at most 300 seconds (maxTerminationGracePeriod"
	denied(t, env.Client,
		denial{"preempt everything on a node", pod(f.space, priority("system-node-critical")), system},
		denial{"preempt pods of the cluster", pod(f.space, priority("system-cluster-critical")), system},
		denial{"run for a year after the space is deprovisioned", pod(f.space, grace(365*24*3600)), period},
		denial{"run a second too long", pod(f.space, grace(longest+1)), period},
		denial{"terminate for a year", deleted(365 * 24 * 3600), period},
		denial{"be evicted for a year", evicted(365 * 24 * 3600), period},
		denial{"terminate all pods for a year", remove(core(f.space, fmt.Sprintf("pods?gracePeriodSeconds=%d", 365*24*3600))), period},
	)
	allowed(t, env.Client, map[string]framework.Call{
		"a pod with defaults":                      pod(f.space, func(*corev1.PodSpec) {}),
		"a pod with the longest period":            pod(f.space, grace(longest)),
		"delete a pod":                             remove(core(f.space, "pods/"+running.Name)),
		"delete a pod immediately":                 deleted(0),
		"delete a pod in the longest period":       deleted(longest),
		"delete all pods":                          remove(core(f.space, "pods")),
		"evict a pod":                              evicted(longest),
		"a critical pod in another namespace":      pod(metav1.NamespaceSystem, priority("system-node-critical")),
		"a long grace period in another namespace": pod(f.namespace, grace(365*24*3600)),
	})
}

// tenantServices creates Services that would redirect the traffic of others.
func (f *policyFixture) tenantServices(t *testing.T) {
	service := func(namespace, spec string) framework.Call {
		return post(core(namespace, "services"), `{"metadata":{"name":"any"},"spec":{`+spec+`"ports":[{"port":443}]}}`)
	}
	const external = `"externalIPs":["192.0.2.1"],`
	env.Kubectl(t, "create", "service", "loadbalancer", "public", "--namespace="+f.space, "--tcp=443")
	addresses := patch(core(f.space, "services/public/status"), `{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}`)
	denied(t, env.Client,
		denial{"take an external address", service(f.space, external), "may not have externalIPs"},
		denial{"take an external address later", patch(core(f.space, "services/public"), `{"spec":{`+strings.TrimSuffix(external, ",")+`}}`), "may not have externalIPs"},
	)
	// Tenants with the role cluster-admin may write the status.
	denied(t, env.As(t, f.space, spaceapi.ServiceAccountName), denial{"take the address of a load balancer", addresses, "addresses of a load balancer"})
	allowed(t, env.Client, map[string]framework.Call{
		"a Service": service(f.space, ""),
		"a Service with an external address in another namespace": service(f.namespace, external),
		"a load balancer's controller":                            addresses,
	})
}

// kubernetesController is the user of a controller of kube-controller-manager.
func kubernetesController(name string) string {
	return "system:serviceaccount:" + metav1.NamespaceSystem + ":" + name
}

// by lets a call impersonate a user.
func by(user string, call framework.Call) framework.Call {
	call.As = user
	return call
}

// tenantQuotas tries to exceed the limits of a space as a tenant with the role cluster-admin.
func (f *policyFixture) tenantQuotas(t *testing.T) {
	const claim, words = "limited", "limit this space and cannot be changed"
	space := provision(t, f.driver, f.namespace, claim,
		framework.WithClassConfig(`"resourceQuota":{"hard":{"pods":"1"}},"limitRange":{"limits":[{"type":"Container","max":{"cpu":"1"}}]}`))
	env.Kubectl(t, "create", "rolebinding", "tenant", "--namespace="+space, "--clusterrole=cluster-admin", "--serviceaccount="+space+":"+spaceapi.ServiceAccountName)
	tenant := env.As(t, space, spaceapi.ServiceAccountName)
	quotas, limits := core(space, "resourcequotas"), core(space, "limitranges")
	raised := `{"metadata":{"name":"space"},"spec":{"hard":{"pods":"100"}}}`
	framework.AwaitAllowed(t, "the tenant to have the role", post(quotas, `{"metadata":{"name":"own"},"spec":{"hard":{"pods":"1"}}}`).By(tenant))
	denied(t, tenant,
		denial{"delete the quota", remove(quotas + "/space"), words},
		denial{"delete all quotas", remove(quotas), words},
		denial{"raise the quota", patch(quotas+"/space", raised), words},
		denial{"reset what the quota counts", patch(quotas+"/space/status", `{"status":{"used":{"pods":"0"}}}`), words},
		denial{"raise what the quota enforces", patch(quotas+"/space/status", `{"status":{"hard":{"pods":"100"}}}`), words},
		denial{"delete the limits", remove(limits + "/space"), words},
		denial{"delete all limits", remove(limits), words},
		denial{"remove a limit", patch(limits+"/space", `{"spec":{"limits":[]}}`), words},
	)
	// This space has none.
	denied(t, env.As(t, f.space, spaceapi.ServiceAccountName), denial{"create a quota of that name", post(core(f.space, "resourcequotas"), raised), words})
	env.Kubectl(t, "create", "quota", "own", "--namespace="+space, "--hard=pods=1")
	allowed(t, tenant, map[string]framework.Call{
		"raise its own quota":    patch(quotas+"/own", `{"spec":{"hard":{"pods":"2"}}}`),
		"delete its own quota":   remove(quotas + "/own"),
		"create limits":          post(limits, `{"metadata":{"name":"own"},"spec":{"limits":[{"type":"Container","max":{"cpu":"100m"}}]}}`),
		"read the space's quota": framework.Get(quotas + "/space"),
	})
	const hard, status = `{"metadata":{"name":"space"},"spec":{"hard":{"pods":"1"}}}`, `{"metadata":{"name":"space"},"status":{"hard":{"pods":"1"},"used":{"pods":"0"}}}`
	const limited = `{"metadata":{"name":"space"},"spec":{"limits":[{"type":"Container","max":{"cpu":"1"}}]}}`
	allowed(t, f.controller, map[string]framework.Call{
		"create a quota":    post(core(f.space, "resourcequotas"), hard),
		"put it in force":   framework.Put(quotas+"/space/status", status),
		"restore the quota": framework.Put(quotas+"/space", hard),
		"create limits":     post(core(f.space, "limitranges"), limited),
		"restore them":      framework.Put(limits+"/space", limited),
	})
	allowed(t, env.Client, map[string]framework.Call{
		"an administrator raises the quota": patch(quotas+"/space", raised),
		"Kubernetes counts":                 by(kubernetesController("resourcequota-controller"), framework.Put(quotas+"/space/status", status)),
		"Kubernetes deletes the quotas":     by(kubernetesController("namespace-controller"), remove(quotas)),
		"Kubernetes deletes the limits":     by(kubernetesController("namespace-controller"), remove(limits)),
		"Kubernetes removes owners":         by(kubernetesController("generic-garbage-collector"), patch(quotas+"/space", `{"metadata":{"ownerReferences":null}}`)),
	})
	// The API server itself counts, and the controller restores.
	createPod(t, space, framework.NewPod("counted"))
	awaitQuota := func(what string, is func(*corev1.ResourceQuota) bool) {
		t.Helper()
		framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "resourcequotas", space,
			framework.That("called space and "+what, func(q *corev1.ResourceQuota) bool { return q.Name == spaceapi.ObjectName && is(q) }))
	}
	awaitQuota("with a pod", func(q *corev1.ResourceQuota) bool { return q.Status.Used.Pods().Value() == 1 })
	env.Kubectl(t, "patch", "quota", "space", "--namespace="+space, "--type=merge", "--patch="+raised)
	awaitQuota("restored", func(q *corev1.ResourceQuota) bool { return q.Spec.Hard.Pods().Value() == 1 })
	deallocate(t, env, f.namespace, claim)
	env.AwaitNamespaceDeleted(t, space)
}

// tenantRoleBindings tries to grant permissions in a deprovisioned space, as an identity that still has some.
func (f *policyFixture) tenantRoleBindings(t *testing.T) {
	const claim, words = "granted", "this space is deprovisioned"
	space := provision(t, f.driver, f.namespace, claim, framework.WithClassConfig(`"retention":{"period":"1h"}`))
	account := f.createAccount(t, "grantee")
	grantee := env.As(t, f.namespace, "grantee")
	bindings := framework.RBACPath(space, "rolebindings")
	another := post(bindings, framework.BindingBody("RoleBinding", "another", "view", f.namespace, "grantee"))
	changed := patch(bindings+"/grantee", `{"metadata":{"finalizers":["example.com/hold"]}}`)
	bind := func() {
		t.Helper()
		env.Kubectl(t, "create", "rolebinding", "grantee", "--namespace="+space, "--clusterrole=cluster-admin", "--serviceaccount="+account)
		framework.AwaitAllowed(t, "the grantee to have the role", post(core(space, "configmaps"), `{"metadata":{"name":"any"}}`).By(grantee))
	}
	bind()
	allowed(t, grantee, map[string]framework.Call{"grant permissions in a space": another, "change a RoleBinding in a space": changed})
	deallocate(t, env, f.namespace, claim)
	// Until then, the controller would revoke another RoleBinding, too.
	awaitEvent(t, f.namespace, "ResourceClaim", claim, spaceapi.ReasonNamespaceRetained, space)
	framework.AwaitDenied(t, "the permissions of the grantee", post(core(space, "configmaps"), `{"metadata":{"name":"any"}}`).By(grantee))
	bind()
	denied(t, grantee, denial{"grant permissions", another, words}, denial{"change a RoleBinding", changed, words})
	allowed(t, grantee, map[string]framework.Call{"delete a RoleBinding": remove(bindings + "/grantee")})
	allowed(t, env.Client, map[string]framework.Call{
		"an administrator grants permissions": another,
		"Kubernetes removes owners":           by(kubernetesController("generic-garbage-collector"), patch(bindings+"/grantee", `{"metadata":{"ownerReferences":null}}`)),
	})
	allowed(t, f.controller, map[string]framework.Call{"delete a RoleBinding": remove(bindings + "/grantee")})
	env.Kubectl(t, "delete", "namespace", space)
}

// tenantTokens requests tokens that services outside of the cluster would accept, or accept for long.
func (f *policyFixture) tenantTokens(t *testing.T) {
	const node, foreign, long = "policies-f", "for the audiences of the API server", "valid for at most 24 hours"
	const day, longer = `"expirationSeconds":86400`, `"expirationSeconds":86401`
	const vault = `"audiences":["vault"]`
	requestToken := func(namespace, account, spec string) framework.Call {
		return post(core(namespace, "serviceaccounts/"+account+"/token"), `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{`+spec+`}}`)
	}
	pod := func(namespace, token string) framework.Call { return newPod(namespace, "any", tokenVolume(token)) }
	tenant := env.As(t, f.space, spaceapi.ServiceAccountName)
	denied(t, tenant,
		denial{"a token that is valid too long", requestToken(f.space, "space", longer), long},
		denial{"a token of another ServiceAccount that is valid too long", requestToken(f.space, "default", longer), long},
		denial{"a token for another service", requestToken(f.space, "default", vault), foreign},
		denial{"a pod with a token that is valid too long", pod(f.space, longer), long},
		denial{"a pod with such a token for another service", pod(f.space, longer+`,"audience":"vault"`), long},
	)
	allowed(t, tenant, map[string]framework.Call{
		"a token":                        requestToken(f.space, "space", ""),
		"a token for a day":              requestToken(f.space, "default", day),
		"a pod with a token for a day":   pod(f.space, day),
		"a pod that leaves the lifetime": pod(f.space, `"audience":"istio-ca"`),
	})
	// Policies apply to pods of all users and controllers.
	denied(t, env.Client, denial{"an administrator's pod with a token that is valid too long", pod(f.space, longer), long})
	allowed(t, env.Client, map[string]framework.Call{
		"an administrator requests a token for another service": requestToken(f.space, "space", vault+","+longer),
		"a token elsewhere":            requestToken(f.namespace, "default", vault+","+longer),
		"a pod with a token elsewhere": pod(f.namespace, longer),
	})
	// Kubelets request what pods on their nodes name.
	newNode(t, env, node, nil)
	vaults := framework.NewPod("vaults")
	vaults.Spec.Volumes = []corev1.Volume{{Name: "vault", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault", Path: "token"}}},
	}}}}
	vaults = bind(t, createPod(t, f.space, vaults), node)
	kubelet := asUser(t, "system:node:"+node, "system:nodes")
	framework.AwaitAllowed(t, "the token of a volume", requestToken(f.space, "default",
		fmt.Sprintf(`%s,"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":%q,"uid":%q}`, vault, vaults.Name, vaults.UID)).By(kubelet))
}

// tenantAddresses tries to redirect the API server's proxy, as a tenant with the role
// cluster-admin.
func (f *policyFixture) tenantAddresses(t *testing.T) {
	const node, conditions, controllers = "policies-g", "more than the conditions in the status of pods", "may write Endpoints and EndpointSlices"
	newNode(t, env, node, nil)
	status := core(f.space, "pods/"+bind(t, createPod(t, f.space, framework.NewPod("addressed")), node).Name+"/status")
	set := func(fields string) framework.Call { return patch(status, `{"status":{`+fields+`}}`) }
	nominate := patch(core(f.space, "pods/"+createPod(t, f.space, framework.NewPod("waiting")).Name+"/status"), `{"status":{"nominatedNodeName":"policies-g"}}`)
	address := set(`"podIP":"192.0.2.1","podIPs":[{"ip":"192.0.2.1"}]`)
	endpoints := post(core(f.space, "endpoints"), `{"metadata":{"name":"any"},"subsets":[{"addresses":[{"ip":"192.0.2.1"}],"ports":[{"port":443}]}]}`)
	slices := post("/apis/discovery.k8s.io/v1/namespaces/"+f.space+"/endpointslices", `{"metadata":{"name":"any","labels":{"kubernetes.io/service-name":"any"}},
		"addressType":"IPv4","endpoints":[{"addresses":["192.0.2.1"]}],"ports":[{"port":443}]}`)
	tenant := env.As(t, f.space, spaceapi.ServiceAccountName)
	denied(t, tenant,
		denial{"set the address of a pod", address, conditions},
		denial{"set the address of a pod's node", set(`"hostIP":"192.0.2.1","hostIPs":[{"ip":"192.0.2.1"}]`), conditions},
		denial{"end a pod for the quota only", set(`"phase":"Succeeded"`), conditions},
		denial{"reserve a node for a pod", nominate, conditions},
		denial{"set the addresses of a Service", endpoints, controllers},
		denial{"set the addresses of a Service with a slice", slices, controllers},
	)
	allowed(t, tenant, map[string]framework.Call{"set a readiness gate": set(`"conditions":[{"type":"example.com/registered","status":"True"}]`)})
	allowed(t, env.Client, map[string]framework.Call{
		"an administrator sets an address":                 address,
		"the scheduler nominates a node":                   by("system:kube-scheduler", nominate),
		"kube-controller-manager ends a pod":               by(kubernetesController("pod-garbage-collector"), set(`"phase":"Failed"`)),
		"kube-controller-manager writes Endpoints":         by(kubernetesController("endpoint-controller"), endpoints),
		"kube-controller-manager writes an EndpointSlice":  by(kubernetesController("endpointslice-controller"), slices),
		"kube-controller-manager mirrors an EndpointSlice": by(kubernetesController("endpointslicemirroring-controller"), slices),
	})
	framework.AwaitAllowed(t, "the kubelet sets an address", address.By(asUser(t, "system:node:"+node, "system:nodes")))
}

// claimStatus tries to write the parts of the status that belong to the driver, with the permissions
// of the kubelet plugin of another driver.
func (f *policyFixture) claimStatus(t *testing.T) {
	other := f.createAccount(t, "other-driver")
	// The API server checks these permissions from Kubernetes 1.36 on.
	const role = "policies-other-driver"
	env.Kubectl(t, "create", "clusterrole", role, "--verb=get,update", "--resource=resourceclaims,resourceclaims/status")
	env.Kubectl(t, "create", "clusterrole", role+"-devices", "--verb=arbitrary-node:update", "--resource=resourceclaims.resource.k8s.io/driver", "--resource-name="+f.driver, "--resource-name=other.example.com")
	for _, name := range []string{role, role + "-devices"} {
		t.Cleanup(func() { _, _ = env.TryKubectl(context.Background(), "delete", "clusterrole", name) })
		env.Kubectl(t, "create", "rolebinding", name, "--namespace="+f.namespace, "--clusterrole="+name, "--serviceaccount="+other)
	}
	get := func(name string) *resourceapi.ResourceClaim {
		t.Helper()
		claim, err := env.Client.ResourceV1().ResourceClaims(f.namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return claim
	}
	update := func(claim *resourceapi.ResourceClaim, as string, change func(*resourceapi.ResourceClaimStatus)) framework.Call {
		changed := claim.DeepCopy()
		change(&changed.Status)
		call := framework.Put(framework.DRAPath(f.namespace, "resourceclaims/"+claim.Name+"/status"), framework.JSON(changed))
		call.As = as
		return call
	}
	env.CreateClaim(t, f.namespace, framework.NewClaim("unallocated"))
	env.CreateClaim(t, f.namespace, framework.NewClaim("foreign"))
	allocateTo(t, "other.example.com", f.namespace, "foreign")
	ours, unallocated, foreign := get(f.claim), get("unallocated"), get("foreign")
	another := func(s *resourceapi.ResourceClaimStatus) { s.Devices[0].Data.Raw = []byte(`{"namespace":"another"}`) }
	allocated := func(s *resourceapi.ResourceClaimStatus) { s.Allocation = ours.Status.Allocation }
	deallocated := func(s *resourceapi.ResourceClaimStatus) { *s = resourceapi.ResourceClaimStatus{} }

	const only = "only the controller of driver policies.example.com"
	schedulers := "only schedulers may allocate or deallocate spaces"
	if env.AtLeast("1.36") {
		// The API server checks permissions before policies.
		schedulers = `cannot update resource "resourceclaims/binding"`
	}
	denied(t, env.As(t, f.namespace, "other-driver"),
		denial{"redirect a pod to another space", update(ours, "", another), only},
		denial{"remove the space's entry", update(ours, "", func(s *resourceapi.ResourceClaimStatus) { s.Devices = nil }), only},
		denial{"allocate a space", update(unallocated, "", allocated), schedulers},
		denial{"deallocate a space", update(ours, "", deallocated), schedulers},
	)
	allowed(t, env.As(t, f.namespace, "other-driver"), map[string]framework.Call{
		"an entry of another driver": update(foreign, "", func(s *resourceapi.ResourceClaimStatus) {
			result := s.Allocation.Devices.Results[0]
			s.Devices = []resourceapi.AllocatedDeviceStatus{{Driver: result.Driver, Pool: result.Pool, Device: result.Device, ShareID: (*string)(result.ShareID)}}
		}),
	})
	allowed(t, f.controller, map[string]framework.Call{"the space's entry": update(ours, "", another)})
	allowed(t, env.Client, map[string]framework.Call{
		"the scheduler allocates a space":             update(unallocated, "system:kube-scheduler", allocated),
		"kube-controller-manager deallocates a space": update(ours, "system:serviceaccount:kube-system:resource-claim-controller", deallocated),
	})
}
