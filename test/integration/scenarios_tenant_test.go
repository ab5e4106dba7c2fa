// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// Fields of classes.
const (
	admins        = `"clusterRoles":["admin"]`
	clusterAdmins = `"clusterRoles":["cluster-admin"]`
	retained      = `"retention":{"period":"1h"}`
)

// addAccomplice makes the tenant grant a role in the space to an identity outside.
func (s *fixture) addAccomplice(name, role string) kubernetes.Interface {
	s.Helper()
	accomplice := s.account(name)
	s.allow("the tenant grants a role to "+name, s.tenant, grant(s.space, name, role, s.ns, name))
	s.allow(name+" works in the space", accomplice, configMap(s.space, "of-"+name))
	return accomplice
}

// read returns a request that every role of a space allows.
func (s *fixture) read() framework.Call { return get(core(s.space, "configmaps")) }

// event waits for an event that a workload controller creates when a pod is denied.
func (s *fixture) event(kind, name, words string) {
	s.Helper()
	awaitEvent(s.T, s.space, kind, name, "FailedCreate", words)
	s.deniedOrLimited++
}

// awaitQuota waits until the quota of the space, which allows no ports of nodes, is in effect: admission learns
// of it by a watch.
func (s *fixture) awaitQuota() {
	s.Helper()
	service := post(core(s.space, "services"), `{"metadata":{"name":"any"},"spec":{"type":"NodePort","ports":[{"port":443}]}}`)
	framework.AwaitDenied(s, "a Service with a port of nodes", service.By(s.tenant), "exceeded quota: space")
}

// createWorkload makes the tenant create a workload, for which kube-controller-manager creates pods.
func (s *fixture) createWorkload(kind, path, spec string) {
	s.Helper()
	s.allow("the tenant creates a "+kind, s.tenant, post(path, `{"metadata":{"name":"workload"},"spec":{`+spec+`}}`))
}

func apps(namespace, resource string) string {
	return "/apis/apps/v1/namespaces/" + namespace + "/" + resource
}

func workload(fields string) string {
	return `"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":` + podSpec(fields) + `}`
}

var secondIdentity = []scenario{
	{"Lower the Pod Security Standard through an accomplice", clusterAdmins, func(s *fixture) {
		accomplice := s.addAccomplice("accomplice", "cluster-admin")
		s.deny("the accomplice lowers the standard", accomplice, patch(namespacePath(s.space), set("labels", "pod-security.kubernetes.io/enforce", "privileged")), byPolicy("tenant-namespaces"))
	}},
	{"Delete the namespace through an accomplice", clusterAdmins, func(s *fixture) {
		accomplice := s.addAccomplice("accomplice", "cluster-admin")
		s.deny("the accomplice deletes the namespace", accomplice, remove(namespacePath(s.space)), byPolicy("tenant-namespaces"))
	}},
	{"Open the network through an accomplice", clusterAdmins, func(s *fixture) {
		accomplice, all := s.addAccomplice("accomplice", "cluster-admin"), framework.NetworkPolicyPath(s.space, "")
		s.allow("the accomplice allows traffic within the space", accomplice, post(all, `{"metadata":{"name":"within"},"spec":{"podSelector":{},"egress":[{"to":[{"podSelector":{}}]}]}}`))
		s.deny("the accomplice allows all traffic", accomplice, patch(all+"/within", `{"spec":{"egress":[{}]}}`), byPolicy("tenant-networkpolicies"))
		s.deny("the accomplice deletes all NetworkPolicies", accomplice, remove(all), byPolicy("tenant-networkpolicies"))
	}},
	{"Preempt pods of others through a ReplicaSet", "", func(s *fixture) {
		s.createWorkload("ReplicaSet", apps(s.space, "replicasets"), workload(`"priorityClassName":"system-node-critical",`))
		s.event("ReplicaSet", "workload", byPolicy("tenant-pods"))
	}},
	{"Run a pod for a year after the space is deprovisioned through a Job", "", func(s *fixture) {
		s.createWorkload("Job", "/apis/batch/v1/namespaces/"+s.space+"/jobs", `"template":{"spec":`+podSpec(`"restartPolicy":"Never","terminationGracePeriodSeconds":31536000,`)+`}`)
		s.event("Job", "workload", byPolicy("tenant-pods"))
	}},
	{"Run a pod in the node's network through a StatefulSet", "", func(s *fixture) {
		s.createWorkload("StatefulSet", apps(s.space, "statefulsets"), workload(`"hostNetwork":true,`))
		s.event("StatefulSet", "workload", `violates PodSecurity "baseline`)
	}},
	{"Keep access as another ServiceAccount of a retained space", admins + "," + retained, func(s *fixture) {
		s.allow("the tenant creates a ServiceAccount", s.tenant, newAccount(s.space, "builder"))
		s.allow("the tenant grants it the role edit", s.tenant, grant(s.space, "builder", "edit", s.space, "builder"))
		builder := s.token("the tenant gets its token", s.tenant, s.space, "builder", authenticationv1.TokenRequestSpec{})
		s.allow("the ServiceAccount works", builder, configMap(s.space, "of-builder"))
		s.deallocate()
		s.awaitDenied("the ServiceAccount reads", builder, s.read(), byRBAC)
	}},
	{"Keep access with a token in a Secret", retained, func(s *fixture) {
		s.allow("the tenant creates a Secret for a token", s.tenant, post(core(s.space, "secrets"), `{"metadata":{"name":"token","annotations":{"kubernetes.io/service-account.name":"space"}},"type":"kubernetes.io/service-account-token"}`))
		secret := framework.AwaitAny(s, s.tenant.CoreV1().RESTClient(), "secrets", s.space, framework.That("with a token", func(s *corev1.Secret) bool { return len(s.Data["token"]) > 0 }))
		kept := env.WithToken(s.T, string(secret.Data["token"]))
		s.allow("the token, which does not expire, works", kept, s.read())
		s.deallocate()
		s.awaitDenied("the token reads", kept, s.read())
		framework.AwaitDenied(s, "the token itself", s.read().By(kept), byExpiry)
	}},
	{"Keep the permissions of an accomplice with a finalizer", admins, func(s *fixture) {
		accomplice, binding := s.addAccomplice("accomplice", "admin"), framework.RBACPath(s.space, "rolebindings/accomplice")
		s.allow("the accomplice adds a finalizer to the RoleBinding", accomplice, patch(binding, `{"metadata":{"finalizers":["`+testFinalizer+`"]}}`))
		s.deallocate()
		s.awaitDenied("the accomplice reads", accomplice, s.read(), byRBAC)
		s.asAdmin(patch(binding, `{"metadata":{"finalizers":null}}`))
	}},
	{"Keep the permissions of an accomplice with a finalizer and a Role", admins + "," + retained, func(s *fixture) {
		accomplice := s.account("accomplice")
		s.allow("the tenant creates a Role", s.tenant, post(framework.RBACPath(s.space, "roles"), `{"metadata":{"name":"accomplice"},"rules":[{"apiGroups":[""],"resources":["configmaps","secrets"],"verbs":["get","list","create","delete"]}]}`))
		body := `{"metadata":{"name":"accomplice","finalizers":["` + testFinalizer + `"]},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"accomplice"},"subjects":[{"kind":"ServiceAccount","name":"accomplice","namespace":"` + s.ns + `"}]}`
		s.allow("the tenant grants it to an accomplice, with a finalizer", s.tenant, post(framework.RBACPath(s.space, "rolebindings"), body))
		s.allow("the accomplice reads", accomplice, s.read())
		s.deallocate()
		s.awaitDenied("the accomplice reads", accomplice, s.read(), byRBAC)
		s.awaitDenied("the tenant reads", s.tenant, s.read())
	}},
	{"Hide the permissions of an accomplice by deleting the RoleBinding of the space", admins + "," + retained, func(s *fixture) {
		accomplice := s.addAccomplice("accomplice", "admin")
		s.allow("the accomplice deletes RoleBinding space", accomplice, remove(framework.RBACPath(s.space, "rolebindings/space")))
		s.deallocate()
		s.awaitDenied("the accomplice reads", accomplice, s.read(), byRBAC)
	}},
	{"Keep access by a chain of accomplices", admins + "," + retained, func(s *fixture) {
		first, second := s.addAccomplice("first", "admin"), s.account("second")
		s.allow("the first accomplice grants the role to a second", first, grant(s.space, "second", "admin", s.ns, "second"))
		s.allow("the second accomplice works in the space", second, configMap(s.space, "of-second"))
		s.deallocate()
		s.awaitDenied("the second accomplice reads", second, s.read(), byRBAC)
	}},
	{"Grant permissions faster than the controller revokes them", admins + "," + retained, func(s *fixture) {
		accomplice := s.addAccomplice("accomplice", "admin")
		ctx, stop := context.WithCancel(s.Context())
		var granting sync.WaitGroup
		defer granting.Wait()
		defer stop()
		for client := range 8 {
			granting.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					_ = grant(s.space, fmt.Sprintf("accomplice-%d-%d", client, n), "admin", s.ns, "accomplice").Stored().By(accomplice)(ctx)
				}
			})
		}
		s.allow("the accomplice grants itself the role again and again", accomplice, get(framework.RBACPath(s.space, "rolebindings/accomplice-0-1")))
		s.deallocate()
		framework.AwaitDenied(s, "the accomplice reads", s.read().By(accomplice))
		stop()
		granting.Wait()
		// A grant that was in progress may have taken effect after the first denial.
		s.awaitDenied("the accomplice reads", accomplice, s.read(), byRBAC)
		// The race above has this end only because of the policy, but the accomplice does not always win it.
		framework.AwaitDenied(s, "the accomplice, to whom an administrator granted the role, grants it", func(ctx context.Context) error {
			// The controller may still revoke it.
			_ = grant(s.space, "again", "admin", s.ns, "accomplice").Stored().By(env.Client)(ctx)
			return grant(s.space, "another", "admin", s.ns, "accomplice").By(accomplice)(ctx)
		}, byPolicy("tenant-rolebindings"))
	}},
	{"Keep access for all ServiceAccounts of the cluster", admins + "," + retained, func(s *fixture) {
		other := s.account("other")
		s.allow("the tenant grants a role to a group", s.tenant, post(framework.RBACPath(s.space, "rolebindings"), `{"metadata":{"name":"all"},
			"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":"system:serviceaccounts"}]}`))
		s.allow("another ServiceAccount reads", other, s.read())
		s.deallocate()
		s.awaitDenied("another ServiceAccount reads", other, s.read(), byRBAC)
	}},
	{"Work in two spaces with one token", admins, func(s *fixture) {
		other := s.provision("other", "")
		others := env.As(s.T, other, spaceapi.ServiceAccountName)
		s.allow("the tenant grants its role to another space", s.tenant, grant(s.space, "other", "edit", other, spaceapi.ServiceAccountName))
		s.allow("the other space's token works in the tenant's space", others, configMap(s.space, "of-other"))
		s.deny("the tenant reads in the other space", s.tenant, get(core(other, "configmaps")), byRBAC)
		s.deallocate()
		s.awaitDenied("the other space's token reads in the tenant's space", others, s.read(), byRBAC)
		s.allow("the other space's token works in its own space", others, configMap(other, "own"))
	}},
	{"Change the access of a class", admins + `,"access":[` + accessOf("support", "view", spaceapi.AccessAlways) + `]`, func(s *fixture) {
		accomplice := s.addAccomplice("accomplice", "admin")
		s.allow("the group reads", asUser(s.T, "any", "support"), s.read())
		s.deny("the accomplice adds itself", accomplice, patch(s.bindingOfAccess(), `{"subjects":[{"kind":"ServiceAccount","name":"accomplice","namespace":"`+s.ns+`"}]}`), byPolicy("tenant-rolebindings"))
		s.deny("the tenant deletes the RoleBinding", s.tenant, remove(s.bindingOfAccess()), byPolicy("tenant-rolebindings"))
		s.deny("the tenant creates another one", s.tenant, grant(s.space, "space-access-2", "view", s.ns, "accomplice"), byPolicy("tenant-rolebindings"))
	}},
	{"Impersonate a ServiceAccount of its space, then the controller", "", func(s *fixture) {
		as := func(namespace, account string) framework.Call {
			call := get(core(s.space, "configmaps"))
			call.As = "system:serviceaccount:" + namespace + ":" + account
			return call
		}
		s.allow("the tenant impersonates its own ServiceAccount", s.tenant, as(s.space, spaceapi.ServiceAccountName))
		s.deny("the tenant impersonates the controller", s.tenant, as(s.installed, scenariosRelease+"-controller"), "cannot impersonate")
	}},
}

// bindingOfAccess is the RoleBinding of the first entry of a class's access.
func (s *fixture) bindingOfAccess() string {
	return framework.RBACPath(s.space, "rolebindings/space-access-1")
}

var withTime = []scenario{
	{"Use a token after the space is deprovisioned", "", func(s *fixture) {
		const years = `"expirationSeconds":315360000`
		s.deny("the tenant requests a token of ten years", s.tenant, post(core(s.space, "serviceaccounts/space/token"), `{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","spec":{`+years+`}}`), byPolicy("tenant-tokens"))
		s.deny("the tenant runs a pod with one", s.tenant, newPod(s.space, "years", tokenVolume(years)), byPolicy("tenant-pods"))
		kept := s.token("the tenant gets a token of a day", s.tenant, s.space, spaceapi.ServiceAccountName, authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](24 * 3600)})
		s.allow("the token works", kept, configMap(s.space, "kept"))
		s.deallocate()
		s.awaitDenied("the token reads", kept, s.read())
	}},
	{"Use a token for a service outside the cluster", "", func(s *fixture) {
		const vault = `{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","spec":{"audiences":["vault"]}}`
		for _, account := range []string{spaceapi.ServiceAccountName, "default"} {
			s.deny("the tenant requests one of ServiceAccount "+account, s.tenant, post(core(s.space, "serviceaccounts/"+account+"/token"), vault), byPolicy("tenant-tokens"))
		}
		s.deny("the tenant runs a pod with one of a year", s.tenant, newPod(s.space, "year", tokenVolume(`"audience":"vault","expirationSeconds":31536000`)), byPolicy("tenant-pods"))
		s.allow("the tenant runs a pod with one of a day", s.tenant, newPod(s.space, "day", tokenVolume(`"audience":"vault","expirationSeconds":86400`)))
	}},
	{"Use a token in the next space of the claim", "", func(s *fixture) {
		s.allow("the token works", s.tenant, configMap(s.space, "first"))
		s.deallocate()
		allocateTo(s.T, scenariosDriver, s.ns, "claim")
		next := readySpace(s.T, s.ns, "claim")
		if next == s.space {
			s.Error("the next space has the same namespace")
		}
		s.awaitDenied("the token reads in its own space", s.tenant, s.read())
		s.awaitDenied("the token reads in the next space", s.tenant, get(core(next, "configmaps")))
	}},
	{"Keep the ServiceAccount with a finalizer", "", func(s *fixture) {
		account := core(s.space, "serviceaccounts/space")
		s.allow("the tenant adds a finalizer", s.tenant, patch(account, `{"metadata":{"finalizers":["`+testFinalizer+`"]}}`))
		s.deallocate()
		s.awaitDenied("the token reads", s.tenant, s.read())
		s.asAdmin(patch(account, `{"metadata":{"finalizers":null}}`))
	}},
	{"Keep the namespace with a finalizer", "", func(s *fixture) {
		s.allow("the tenant creates an object with a finalizer", s.tenant, post(core(s.space, "configmaps"), `{"metadata":{"name":"blocker","finalizers":["`+testFinalizer+`"]}}`))
		s.deallocate()
		awaitLimit(s, framework.Namespace(env.Client, s.space), terminating())
		s.awaitDenied("the token reads", s.tenant, s.read())
		removeBlocker(s.T, env, s.space)
		env.AwaitNamespaceDeleted(s, s.space)
	}},
	{"Continue after the maximum lifetime", "", func(s *fixture) {
		framework.WithLongerLifetimes(s, 10*time.Second, func(lifetime time.Duration) bool {
			name := "short-" + lifetime.String()
			env.CreateClaim(s, s.ns, framework.OfClass(scenariosDriver, framework.NewClaim(name)))
			allocateTo(s.T, scenariosDriver, s.ns, name, framework.WithClassConfig(fmt.Sprintf(`"maxLifetime":%q`, lifetime)))
			expired := framework.NotReadyBecause(spaceapi.ReasonExpired, lifetime.String())
			claim := framework.Await(s, framework.Claim(env.Client, s.ns, name), framework.SpacesReady(1).Or(expired))
			if expired.Holds(claim) {
				return false
			}
			space := framework.SpaceStatus(s, claim, 0).Namespace
			token, err := env.TryToken(s.Context(), space, spaceapi.ServiceAccountName)
			kept := env.WithToken(s.T, token)
			inTime := err == nil && configMap(space, "kept").Stored().By(kept)(s.Context()) == nil
			awaitLimit(s, framework.Claim(env.Client, s.ns, name), expired)
			if inTime {
				s.allowed++
				s.awaitDenied("the token reads, although the claim is allocated", kept, get(core(space, "configmaps")))
			}
			return inTime
		})
	}},
	{"Extend the lifetime in the metadata of the space", clusterAdmins + `,"maxLifetime":"1h"`, func(s *fixture) {
		keys := spaceapi.KeysFor(scenariosDriver)
		s.allow("the tenant reads the Namespace", s.tenant, get(namespacePath(s.space)))
		for _, key := range []string{keys.Config, keys.RetainedUntil} {
			s.deny("the tenant changes "+key, s.tenant, patch(namespacePath(s.space), set("annotations", key, "{}")), "denied request")
		}
	}},
	{"Extend the grace period of a running pod", "", func(s *fixture) {
		newNode(s.T, env, "scenarios-grace-period", nil)
		s.allow("the tenant runs a pod with the longest period", s.tenant, newPod(s.space, "grace-period", `"terminationGracePeriodSeconds":300,`))
		pod, err := s.tenant.CoreV1().Pods(s.space).Get(s.Context(), "grace-period", metav1.GetOptions{})
		if err != nil {
			s.Fatal(err)
		}
		bind(s.T, pod, "scenarios-grace-period")
		path := core(s.space, "pods/grace-period")
		s.deny("the tenant deletes it with a longer period", s.tenant, remove(path+"?gracePeriodSeconds=31536000"), byPolicy("tenant-pods"))
		s.deny("the tenant evicts it with a longer period", s.tenant, post(path+"/eviction", `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"grace-period"},"deleteOptions":{"gracePeriodSeconds":31536000}}`), byPolicy("tenant-pods"))
		s.deallocate()
		awaitLimit(s, framework.Pod(env.Client, s.space, "grace-period"), framework.That("terminating for at most 300 seconds", func(p *corev1.Pod) bool {
			return p.DeletionTimestamp != nil && *p.DeletionGracePeriodSeconds <= 300
		}))
		s.asAdmin(remove(path + "?gracePeriodSeconds=0"))
	}},
	{"Use the tokens of pods in a retained namespace", retained, func(s *fixture) {
		s.allow("the tenant runs a pod", s.tenant, newPod(s.space, "pod", ""))
		pod := s.token("the tenant gets the token of a pod", s.tenant, s.space, "default", authenticationv1.TokenRequestSpec{})
		itself := post("/apis/authentication.k8s.io/v1/selfsubjectreviews", `{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}`)
		s.deallocate()
		s.awaitDenied("the tenant reads", s.tenant, s.read())
		s.allow("the pod's token is still valid", pod, itself)
		s.deny("the pod's token reads", pod, s.read(), byRBAC)
	}},
}

var manyRequests = []scenario{
	{"Delete its ServiceAccount repeatedly", "", func(s *fixture) {
		space := s.provision("other", "")
		other := env.As(s.T, space, spaceapi.ServiceAccountName)
		for range 3 {
			s.allow("the tenant deletes ServiceAccount space", s.tenant, remove(core(s.space, "serviceaccounts/space")))
			s.awaitDenied("the old token reads", s.tenant, s.read(), byExpiry)
			framework.Await(s, framework.ServiceAccount(env.Client, s.space, spaceapi.ServiceAccountName), framework.That("restored", func(*corev1.ServiceAccount) bool { return true }))
			s.tenant = env.As(s.T, s.space, spaceapi.ServiceAccountName)
		}
		s.allow("the token of another space works", other, configMap(space, "own"))
		s.deallocate()
		s.awaitDenied("the last token reads", s.tenant, s.read())
	}},
	{"Exceed its quota by deleting and creating pods", `"resourceQuota":{"hard":{"pods":"2","services.nodeports":"0"}}`, func(s *fixture) {
		s.awaitQuota()
		s.allow("the tenant creates a pod", s.tenant, newPod(s.space, "a", ""))
		s.allow("the tenant creates a second pod", s.tenant, newPod(s.space, "b", ""))
		s.deny("the tenant creates a third pod", s.tenant, newPod(s.space, "c", ""), "exceeded quota: space")
		s.allow("the tenant deletes a pod", s.tenant, remove(core(s.space, "pods/a?gracePeriodSeconds=0")))
		s.allow("the tenant creates another one", s.tenant, newPod(s.space, "c", ""))
		s.deny("the tenant creates one more", s.tenant, newPod(s.space, "d", ""), "exceeded quota: space")
	}},
	{"Exceed its quota by changing it", clusterAdmins + `,"resourceQuota":{"hard":{"pods":"1","services.nodeports":"0"}},"limitRange":{"limits":[{"type":"Container","max":{"cpu":"1"}}]}`, func(s *fixture) {
		s.awaitQuota()
		quotas, limits := core(s.space, "resourcequotas"), core(s.space, "limitranges")
		s.allow("the tenant creates a pod", s.tenant, newPod(s.space, "a", ""))
		s.deny("the tenant creates a second pod", s.tenant, newPod(s.space, "b", ""), "exceeded quota: space")
		s.deny("the tenant deletes the quota", s.tenant, remove(quotas+"/space"), byPolicy("tenant-quotas"))
		s.deny("the tenant raises the quota", s.tenant, patch(quotas+"/space", `{"spec":{"hard":{"pods":"100"}}}`), byPolicy("tenant-quotas"))
		s.deny("the tenant resets what it counts", s.tenant, patch(quotas+"/space/status", `{"status":{"used":{"pods":"0"}}}`), byPolicy("tenant-quotas"))
		s.deny("the tenant marks its pod as finished", s.tenant, patch(core(s.space, "pods/a/status"), `{"status":{"phase":"Succeeded"}}`), byPolicy("tenant-podstatus"))
		s.deny("the tenant deletes all limits", s.tenant, remove(limits), byPolicy("tenant-quotas"))
		s.allow("the tenant creates a quota of its own", s.tenant, post(quotas, `{"metadata":{"name":"own"},"spec":{"hard":{"pods":"9"}}}`))
		s.deny("the tenant creates a second pod", s.tenant, newPod(s.space, "b", ""), "exceeded quota: space")
		s.allow("the tenant deletes its own", s.tenant, remove(quotas+"/own"))
	}},
	{"Open ports of nodes with a Service", `"resourceQuota":{"hard":{"services.nodeports":"0"}}`, func(s *fixture) {
		services := core(s.space, "services")
		s.allow("the tenant creates a Service", s.tenant, post(services, `{"metadata":{"name":"a"},"spec":{"ports":[{"port":443}]}}`))
		s.awaitDenied("the tenant changes its type to NodePort", s.tenant, patch(services+"/a", `{"spec":{"type":"NodePort"}}`), "exceeded quota: space")
	}},
	{"Take over an IP address with an existing Service", "", func(s *fixture) {
		services := core(s.space, "services")
		s.allow("the tenant creates a Service", s.tenant, post(services, `{"metadata":{"name":"a"},"spec":{"type":"LoadBalancer","ports":[{"port":443}]}}`))
		s.deny("the tenant adds an external address", s.tenant, patch(services+"/a", `{"spec":{"externalIPs":["192.0.2.1"]}}`), byPolicy("tenant-services"))
		s.deny("the tenant sets the address of the load balancer", s.tenant, patch(services+"/a/status", `{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}`), byRBAC)
	}},
	{"Reach an address through the proxy of the API server", clusterAdmins, func(s *fixture) {
		status := core(s.space, "pods/a/status")
		s.allow("the tenant creates a pod", s.tenant, newPod(s.space, "a", ""))
		s.allow("the tenant sets a condition of the pod", s.tenant, patch(status, `{"status":{"conditions":[{"type":"example.com/registered","status":"True"}]}}`))
		s.deny("the tenant sets the address of the pod", s.tenant, patch(status, `{"status":{"podIP":"192.0.2.1","podIPs":[{"ip":"192.0.2.1"}]}}`), byPolicy("tenant-podstatus"))
		s.allow("the tenant creates a Service", s.tenant, post(core(s.space, "services"), `{"metadata":{"name":"a"},"spec":{"ports":[{"port":443}]}}`))
		s.deny("the tenant creates its Endpoints", s.tenant, post(core(s.space, "endpoints"), `{"metadata":{"name":"a"},"subsets":[{"addresses":[{"ip":"192.0.2.1"}],"ports":[{"port":443}]}]}`), byPolicy("tenant-endpoints"))
		s.deny("the tenant creates an EndpointSlice", s.tenant, post("/apis/discovery.k8s.io/v1/namespaces/"+s.space+"/endpointslices", `{"metadata":{"name":"a","labels":{"kubernetes.io/service-name":"a"}},
			"addressType":"IPv4","endpoints":[{"addresses":["192.0.2.1"]}],"ports":[{"port":443}]}`), byPolicy("tenant-endpoints"))
	}},
	{"Request nested spaces in several ways", "", func(s *fixture) {
		claims, templates := framework.DRAPath(s.space, "resourceclaims"), framework.DRAPath(s.space, "resourceclaimtemplates")
		claim := func(class string) string {
			return framework.JSON(framework.OfClass(class, framework.NewClaim("nested")))
		}
		template := func(class string) string {
			return `{"metadata":{"name":"nested"},"spec":{"spec":` + specOf(class) + `}}`
		}
		s.deny("the tenant creates a claim for the driver's class", s.tenant, post(claims, claim(scenariosDriver)), byPolicy("nested-resourceclaims"))
		s.deny("the tenant creates a template for the driver's class", s.tenant, post(templates, template(scenariosDriver)), byPolicy("nested-resourceclaimtemplates"))
		s.allow("the tenant creates a template for another class", s.tenant, post(templates, template("unknown.example.com")))
		s.deny("the tenant changes the class in the template", s.tenant, patch(templates+"/nested", `{"spec":{"spec":`+specOf(scenariosDriver)+`}}`), "field is immutable")
		s.allow("the tenant creates a claim for a class that no policy knows", s.tenant, post(claims, claim("unknown.example.com")))
		allocateTo(s.T, scenariosDriver, s.space, "nested")
		nested := awaitLimit(s, framework.Claim(env.Client, s.space, "nested"), framework.NotReadyBecause(spaceapi.ReasonInvalidParameters, nestedDenied))
		s.noSpaceOf(nested.UID)
	}},
}

// tokenVolume is a projected volume with a token, for the spec of a pod.
func tokenVolume(token string) string {
	return `"volumes":[{"name":"token","projected":{"sources":[{"serviceAccountToken":{"path":"token",` + token + `}}]}}],`
}

// noSpaceOf fails the test if there is a namespace for a claim.
func (s *fixture) noSpaceOf(claim types.UID) {
	s.Helper()
	list, err := env.Client.CoreV1().Namespaces().List(s.Context(), metav1.ListOptions{LabelSelector: spaceapi.KeysFor(scenariosDriver).ClaimUID + "=" + string(claim)})
	if err != nil || len(list.Items) > 0 {
		s.Errorf("the claim has the namespaces %v, want none (error: %v)", list, err)
	}
}

// specOf is the spec of a claim for one device of a class.
func specOf(class string) string {
	return framework.JSON(framework.OfClass(class, framework.NewClaim("any")).Spec)
}
