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

// claimStatus changes the entries of the controller in the status of claims, with the permissions of
// another driver's kubelet plugin.
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
