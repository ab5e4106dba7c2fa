// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"time"

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

// Fields of classes.
const (
	admins        = `"clusterRoles":["admin"]`
	clusterAdmins = `"clusterRoles":["cluster-admin"]`
	retained      = `"retention":{"period":"1h"}`
)

// befriend makes the tenant grant a role in the space to an identity outside.
func (s *scene) befriend(name, role string) kubernetes.Interface {
	s.Helper()
	friend := s.account(name)
	s.can("the tenant grants a role to "+name, s.tenant, grant(s.space, name, role, s.ns, name))
	s.can(name+" works in the space", friend, configMap(s.space, "of-"+name))
	return friend
}

// read is a request that every role of a space allows.
func (s *scene) read() framework.Call { return get(core(s.space, "configmaps")) }

// event waits for an event about an object in the space.
func (s *scene) event(kind, name, words string) {
	s.Helper()
	awaitEvent(s.T, s.space, kind, name, "FailedCreate", words)
	s.stopped++
}

// runs makes the tenant create a workload, for which kube-controller-manager creates pods.
func (s *scene) runs(kind, path, spec string) {
	s.Helper()
	s.can("the tenant creates a "+kind, s.tenant, post(path, `{"metadata":{"name":"workload"},"spec":{`+spec+`}}`))
}

func apps(namespace, resource string) string {
	return "/apis/apps/v1/namespaces/" + namespace + "/" + resource
}

func workload(fields string) string {
	return `"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":` + podSpec(fields) + `}`
}

var secondIdentity = []story{
	{"Lower the Pod Security Standard through a friend", clusterAdmins, func(s *scene) {
		friend := s.befriend("friend", "cluster-admin")
		s.cannot("the friend lowers the standard", friend, patch(namespacePath(s.space), set("labels", "pod-security.kubernetes.io/enforce", "privileged")), byPolicy("tenant-namespaces"))
	}},
	{"Delete the namespace through a friend", clusterAdmins, func(s *scene) {
		friend := s.befriend("friend", "cluster-admin")
		s.cannot("the friend deletes the namespace", friend, remove(namespacePath(s.space)), byPolicy("tenant-namespaces"))
	}},
	{"Open the network through a friend", clusterAdmins, func(s *scene) {
		friend, all := s.befriend("friend", "cluster-admin"), framework.NetworkPolicyPath(s.space, "")
		s.can("the friend allows traffic within the space", friend, post(all, `{"metadata":{"name":"within"},"spec":{"podSelector":{},"egress":[{"to":[{"podSelector":{}}]}]}}`))
		s.cannot("the friend allows all traffic", friend, patch(all+"/within", `{"spec":{"egress":[{}]}}`), byPolicy("tenant-networkpolicies"))
		s.cannot("the friend deletes all NetworkPolicies", friend, remove(all), byPolicy("tenant-networkpolicies"))
	}},
	{"Preempt pods of others through a ReplicaSet", "", func(s *scene) {
		s.runs("ReplicaSet", apps(s.space, "replicasets"), workload(`"priorityClassName":"system-node-critical",`))
		s.event("ReplicaSet", "workload", byPolicy("tenant-pods"))
	}},
	{"Run a pod for a year after the end through a Job", "", func(s *scene) {
		s.runs("Job", "/apis/batch/v1/namespaces/"+s.space+"/jobs", `"template":{"spec":`+podSpec(`"restartPolicy":"Never","terminationGracePeriodSeconds":31536000,`)+`}`)
		s.event("Job", "workload", byPolicy("tenant-pods"))
	}},
	{"Run a pod in the node's network through a StatefulSet", "", func(s *scene) {
		s.runs("StatefulSet", apps(s.space, "statefulsets"), workload(`"hostNetwork":true,`))
		s.event("StatefulSet", "workload", `violates PodSecurity "baseline`)
	}},
	{"Keep access as another ServiceAccount of a retained space", admins + "," + retained, func(s *scene) {
		s.can("the tenant creates a ServiceAccount", s.tenant, newAccount(s.space, "builder"))
		s.can("the tenant grants it the role edit", s.tenant, grant(s.space, "builder", "edit", s.space, "builder"))
		builder := s.token("the tenant gets its token", s.tenant, s.space, "builder", authenticationv1.TokenRequestSpec{})
		s.can("the ServiceAccount works", builder, configMap(s.space, "of-builder"))
		s.end()
		s.loses("the ServiceAccount reads", builder, s.read(), byRBAC)
	}},
	{"Keep access with a token in a Secret", retained, func(s *scene) {
		s.can("the tenant creates a Secret for a token", s.tenant, post(core(s.space, "secrets"), `{"metadata":{"name":"token","annotations":{"kubernetes.io/service-account.name":"space"}},"type":"kubernetes.io/service-account-token"}`))
		secret := framework.AwaitAny(s, s.tenant.CoreV1().RESTClient(), "secrets", s.space, framework.That("with a token", func(s *corev1.Secret) bool { return len(s.Data["token"]) > 0 }))
		kept := env.WithToken(s.T, string(secret.Data["token"]))
		s.can("the token, which does not expire, works", kept, s.read())
		s.end()
		s.loses("the token reads", kept, s.read())
		framework.AwaitDenied(s, "the token itself", s.read().By(kept), byExpiry)
	}},
	{"Keep the permissions of a friend with a finalizer", admins, func(s *scene) {
		friend, binding := s.befriend("friend", "admin"), framework.RBACPath(s.space, "rolebindings/friend")
		s.can("the friend adds a finalizer to the RoleBinding", friend, patch(binding, `{"metadata":{"finalizers":["`+holder+`"]}}`))
		s.end()
		s.loses("the friend reads", friend, s.read(), byRBAC)
		s.given(patch(binding, `{"metadata":{"finalizers":null}}`))
	}},
	{"Keep the permissions of a friend with a finalizer and a Role", admins + "," + retained, func(s *scene) {
		friend := s.account("friend")
		s.can("the tenant creates a Role", s.tenant, post(framework.RBACPath(s.space, "roles"), `{"metadata":{"name":"friend"},"rules":[{"apiGroups":[""],"resources":["configmaps","secrets"],"verbs":["get","list","create","delete"]}]}`))
		body := `{"metadata":{"name":"friend","finalizers":["` + holder + `"]},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"friend"},"subjects":[{"kind":"ServiceAccount","name":"friend","namespace":"` + s.ns + `"}]}`
		s.can("the tenant grants it to a friend, with a finalizer", s.tenant, post(framework.RBACPath(s.space, "rolebindings"), body))
		s.can("the friend reads", friend, s.read())
		s.end()
		s.loses("the friend reads", friend, s.read(), byRBAC)
		s.loses("the tenant reads", s.tenant, s.read())
	}},
	{"Hide the permissions of a friend by deleting the RoleBinding of the space", admins + "," + retained, func(s *scene) {
		friend := s.befriend("friend", "admin")
		s.can("the friend deletes RoleBinding space", friend, remove(framework.RBACPath(s.space, "rolebindings/space")))
		s.end()
		s.loses("the friend reads", friend, s.read(), byRBAC)
	}},
	{"Keep access by a chain of friends", admins + "," + retained, func(s *scene) {
		first, second := s.befriend("first", "admin"), s.account("second")
		s.can("the first friend grants the role to a second", first, grant(s.space, "second", "admin", s.ns, "second"))
		s.can("the second friend works in the space", second, configMap(s.space, "of-second"))
		s.end()
		s.loses("the second friend reads", second, s.read(), byRBAC)
	}},
	{"Keep access for all ServiceAccounts of the cluster", admins + "," + retained, func(s *scene) {
		anybody := s.account("anybody")
		s.can("the tenant grants a role to a group", s.tenant, post(framework.RBACPath(s.space, "rolebindings"), `{"metadata":{"name":"all"},
			"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":"system:serviceaccounts"}]}`))
		s.can("anybody reads", anybody, s.read())
		s.end()
		s.loses("anybody reads", anybody, s.read(), byRBAC)
	}},
	{"Work in two spaces with one token", admins, func(s *scene) {
		other := s.provision("other", "")
		others := env.As(s.T, other, spaceapi.ServiceAccountName)
		s.can("the tenant grants its role to another space", s.tenant, grant(s.space, "other", "edit", other, spaceapi.ServiceAccountName))
		s.can("the other space's token works here", others, configMap(s.space, "of-other"))
		s.cannot("the tenant reads there", s.tenant, get(core(other, "configmaps")), byRBAC)
		s.end()
		s.loses("the other space's token reads here", others, s.read(), byRBAC)
		s.can("it still works in its own space", others, configMap(other, "own"))
	}},
	{"Impersonate first a ServiceAccount of its space, then one elsewhere", "", func(s *scene) {
		as := func(namespace, account string) framework.Call {
			call := get(core(s.space, "configmaps"))
			call.As = "system:serviceaccount:" + namespace + ":" + account
			return call
		}
		s.can("the tenant impersonates its own ServiceAccount", s.tenant, as(s.space, spaceapi.ServiceAccountName))
		s.cannot("the tenant impersonates the controller", s.tenant, as(s.installed, storiesRelease+"-controller"), "cannot impersonate")
	}},
}

var withTime = []story{
	{"Keep a token of ten years", "", func(s *scene) {
		kept := s.token("the tenant gets a token", s.tenant, s.space, spaceapi.ServiceAccountName, authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](10 * 365 * 24 * 3600)})
		s.can("the token works", kept, configMap(s.space, "kept"))
		s.end()
		s.loses("the token reads", kept, s.read())
	}},
	{"Use a token in the next space of the claim", "", func(s *scene) {
		s.can("the token works", s.tenant, configMap(s.space, "first"))
		s.end()
		allocateTo(s.T, storiesDriver, s.ns, "claim")
		next := readySpace(s.T, s.ns, "claim")
		if next == s.space {
			s.Error("the next space has the same namespace")
		}
		s.loses("the token reads in its own space", s.tenant, s.read())
		s.loses("the token reads in the next space", s.tenant, get(core(next, "configmaps")))
	}},
	{"Keep the ServiceAccount with a finalizer", "", func(s *scene) {
		account := core(s.space, "serviceaccounts/space")
		s.can("the tenant adds a finalizer", s.tenant, patch(account, `{"metadata":{"finalizers":["`+holder+`"]}}`))
		s.end()
		s.loses("the token reads", s.tenant, s.read())
		s.given(patch(account, `{"metadata":{"finalizers":null}}`))
	}},
	{"Keep the namespace with a finalizer", "", func(s *scene) {
		s.can("the tenant creates an object with a finalizer", s.tenant, post(core(s.space, "configmaps"), `{"metadata":{"name":"blocker","finalizers":["`+holder+`"]}}`))
		s.end()
		limits(s, framework.Namespace(env.Client, s.space), terminating())
		s.loses("the token reads", s.tenant, s.read())
		unblock(s.T, env, s.space)
		env.AwaitNamespaceGone(s, s.space)
	}},
	{"Continue after the maximum lifetime", "", func(s *scene) {
		framework.InTime(s, 10*time.Second, func(lifetime time.Duration) bool {
			name := "short-" + lifetime.String()
			env.CreateClaim(s, s.ns, framework.OfClass(storiesDriver, framework.NewClaim(name)))
			allocateTo(s.T, storiesDriver, s.ns, name, framework.WithClassConfig(fmt.Sprintf(`"maxLifetime":%q`, lifetime)))
			claim := framework.Await(s, framework.Claim(env.Client, s.ns, name), framework.That("with a space", func(c *resourceapi.ResourceClaim) bool {
				return len(c.Status.Devices) > 0 && c.Status.Devices[0].Data != nil
			}))
			space := framework.SpaceStatus(s, claim, 0).Namespace
			token, err := env.TryToken(s.Context(), space, spaceapi.ServiceAccountName)
			kept := env.WithToken(s.T, token)
			inTime := err == nil && configMap(space, "kept").Stored().By(kept)(s.Context()) == nil
			limits(s, framework.Claim(env.Client, s.ns, name), framework.NotReadyBecause(spaceapi.ReasonExpired, lifetime.String()))
			if inTime {
				s.allowed++
				s.loses("the token reads, although the claim is allocated", kept, get(core(space, "configmaps")))
			}
			return inTime
		})
	}},
	{"Prolong the lifetime in the metadata of the space", clusterAdmins + `,"maxLifetime":"1h"`, func(s *scene) {
		keys := spaceapi.KeysFor(storiesDriver)
		s.can("the tenant reads the Namespace", s.tenant, get(namespacePath(s.space)))
		for _, key := range []string{keys.Config, keys.RetainedUntil} {
			s.cannot("the tenant changes "+key, s.tenant, patch(namespacePath(s.space), set("annotations", key, "{}")), "denied request")
		}
	}},
	{"Lengthen the grace period of a pod that runs", "", func(s *scene) {
		newNode(s.T, env, "stories-patient", nil)
		s.can("the tenant runs a pod with the longest period", s.tenant, newPod(s.space, "patient", `"terminationGracePeriodSeconds":300,`))
		pod, err := s.tenant.CoreV1().Pods(s.space).Get(s.Context(), "patient", metav1.GetOptions{})
		if err != nil {
			s.Fatal(err)
		}
		bind(s.T, pod, "stories-patient")
		path := core(s.space, "pods/patient")
		s.cannot("the tenant deletes it with a longer one", s.tenant, remove(path+"?gracePeriodSeconds=31536000"), byPolicy("tenant-pods"))
		s.cannot("the tenant evicts it with a longer one", s.tenant, post(path+"/eviction", `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"patient"},"deleteOptions":{"gracePeriodSeconds":31536000}}`), byPolicy("tenant-pods"))
		s.end()
		limits(s, framework.Pod(env.Client, s.space, "patient"), framework.That("terminating for at most 300 seconds", func(p *corev1.Pod) bool {
			return p.DeletionTimestamp != nil && *p.DeletionGracePeriodSeconds <= 300
		}))
		s.given(remove(path + "?gracePeriodSeconds=0"))
	}},
	{"Use the tokens of pods in a retained namespace", retained, func(s *scene) {
		s.can("the tenant runs a pod", s.tenant, newPod(s.space, "left", ""))
		left := s.token("the tenant gets the token of a pod", s.tenant, s.space, "default", authenticationv1.TokenRequestSpec{})
		itself := post("/apis/authentication.k8s.io/v1/selfsubjectreviews", `{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}`)
		s.end()
		s.loses("the tenant reads", s.tenant, s.read())
		s.can("the pod's token is still valid", left, itself)
		s.cannot("the pod's token reads", left, s.read(), byRBAC)
	}},
}

var manyRequests = []story{
	{"Delete its ServiceAccount again and again", "", func(s *scene) {
		neighbour := s.provision("neighbour", "")
		theirs := env.As(s.T, neighbour, spaceapi.ServiceAccountName)
		for range 3 {
			s.can("the tenant deletes ServiceAccount space", s.tenant, remove(core(s.space, "serviceaccounts/space")))
			s.loses("the old token reads", s.tenant, s.read(), byExpiry)
			framework.Await(s, framework.ServiceAccount(env.Client, s.space, spaceapi.ServiceAccountName), framework.That("restored", func(*corev1.ServiceAccount) bool { return true }))
			s.tenant = env.As(s.T, s.space, spaceapi.ServiceAccountName)
		}
		s.can("the token of another space works", theirs, configMap(neighbour, "own"))
		s.end()
		s.loses("the last token reads", s.tenant, s.read())
	}},
	{"Fill its quota again after each deletion", `"resourceQuota":{"hard":{"pods":"2"}}`, func(s *scene) {
		s.can("the tenant creates a pod", s.tenant, newPod(s.space, "a", ""))
		s.can("the tenant creates a second pod", s.tenant, newPod(s.space, "b", ""))
		s.cannot("the tenant creates a third pod", s.tenant, newPod(s.space, "c", ""), "exceeded quota: space")
		s.can("the tenant deletes a pod", s.tenant, remove(core(s.space, "pods/a?gracePeriodSeconds=0")))
		s.can("the tenant creates another one", s.tenant, newPod(s.space, "c", ""))
		s.cannot("the tenant creates one more", s.tenant, newPod(s.space, "d", ""), "exceeded quota: space")
	}},
	{"Open ports of nodes with a Service", `"resourceQuota":{"hard":{"services.nodeports":"0"}}`, func(s *scene) {
		services := core(s.space, "services")
		s.can("the tenant creates a Service", s.tenant, post(services, `{"metadata":{"name":"a"},"spec":{"ports":[{"port":443}]}}`))
		s.cannot("the tenant gives it a port of the nodes", s.tenant, patch(services+"/a", `{"spec":{"type":"NodePort"}}`), "exceeded quota: space")
	}},
	{"Take over an address with a Service that it has", "", func(s *scene) {
		services := core(s.space, "services")
		s.can("the tenant creates a Service", s.tenant, post(services, `{"metadata":{"name":"a"},"spec":{"type":"LoadBalancer","ports":[{"port":443}]}}`))
		s.cannot("the tenant adds an external address", s.tenant, patch(services+"/a", `{"spec":{"externalIPs":["192.0.2.1"]}}`), byPolicy("tenant-services"))
		s.cannot("the tenant sets the address of the load balancer", s.tenant, patch(services+"/a/status", `{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}`), byRBAC)
	}},
	{"Request spaces in its space, one way after the other", "", func(s *scene) {
		claims, templates := framework.DRAPath(s.space, "resourceclaims"), framework.DRAPath(s.space, "resourceclaimtemplates")
		claim := func(class string) string {
			return framework.JSON(framework.OfClass(class, framework.NewClaim("nested")))
		}
		template := func(class string) string {
			return `{"metadata":{"name":"nested"},"spec":{"spec":` + specOf(class) + `}}`
		}
		s.cannot("a claim of the driver's class", s.tenant, post(claims, claim(storiesDriver)), byPolicy("nested-resourceclaims"))
		s.cannot("a template of the driver's class", s.tenant, post(templates, template(storiesDriver)), byPolicy("nested-resourceclaimtemplates"))
		s.can("a template of another class", s.tenant, post(templates, template("unknown.example.com")))
		s.cannot("another class in that template", s.tenant, patch(templates+"/nested", `{"spec":{"spec":`+specOf(storiesDriver)+`}}`), "field is immutable")
		s.can("a claim of a class that no policy knows", s.tenant, post(claims, claim("unknown.example.com")))
		allocateTo(s.T, storiesDriver, s.space, "nested")
		nested := limits(s, framework.Claim(env.Client, s.space, "nested"), framework.NotReadyBecause(spaceapi.ReasonInvalidParameters, nestedRefused))
		s.noSpaceOf(nested.UID)
	}},
}

// noSpaceOf fails the story if there is a namespace for a claim.
func (s *scene) noSpaceOf(claim types.UID) {
	s.Helper()
	list, err := env.Client.CoreV1().Namespaces().List(s.Context(), metav1.ListOptions{LabelSelector: spaceapi.KeysFor(storiesDriver).ClaimUID + "=" + string(claim)})
	if err != nil || len(list.Items) > 0 {
		s.Errorf("the claim has the namespaces %v, want none (error: %v)", list, err)
	}
}

// specOf is the spec of a claim for one device of a class.
func specOf(class string) string {
	return framework.JSON(framework.OfClass(class, framework.NewClaim("any")).Spec)
}
