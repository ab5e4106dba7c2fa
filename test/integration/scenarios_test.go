// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"slices"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// scenario is an attack in several steps. Some of them succeed, the others are denied or limited.
type scenario struct {
	// name is the first cell of the scenario's row in docs/threat-model.md.
	name string
	// class has fields of a SpaceClassConfig, as JSON.
	class string
	run   func(*fixture)
}

// All scenarios share a driver, which is installed from the whole chart.
const (
	scenariosDriver  = "scenarios.example.com"
	scenariosRelease = "scenarios-space-dra-driver"
)

// TestAttackScenarios_areDeniedOrLimited makes the requests of docs/threat-model.md's attacks in
// several steps. Unlike those of TestThreats_areDenied, they are no dry runs.
func TestAttackScenarios_areDeniedOrLimited(t *testing.T) {
	t.Parallel()
	installed := env.Namespace(t)
	// There are no nodes for the workloads. The controller is a process with the token of its ServiceAccount.
	startController(t, env, releaseOf(t, "scenarios", installed, map[string]string{
		"driverName": scenariosDriver, "space.allowedClusterRoles": "{admin,cluster-admin}", "rbac.viewerRole.create": "true",
		"controller.replicas": "0", "kubeletPlugin.nodeSelector.nodes": "none",
	})...)
	env.CreateClaim(t, installed, framework.NewClaim("first"))
	allocateTo(t, scenariosDriver, installed, "first")
	// The chart's last policy. When it takes effect, so do the others.
	services := core(readySpace(t, installed, "first"), "services")
	denied(t, env.Client, denial{"a Service with an external address", post(services, `{"metadata":{"name":"a"},"spec":{"externalIPs":["192.0.2.1"],"ports":[{"port":443}]}}`), byPolicy("tenant-services")})
	actors := map[string][]scenario{
		"A tenant with a second identity":      secondIdentity,
		"A tenant with time":                   withTime,
		"A tenant with many requests":          manyRequests,
		"A user with the access of a class":    usersWithAccess,
		"An author with large objects":         largeObjects,
		"The kubelet plugin of another driver": otherDriver,
		"A node that runs the controller":      controllersNode,
		"Stolen tokens of kubelet plugins":     stolenTokens,
		"A viewer of the whole cluster":        viewer,
	}
	t.Run("actors", func(t *testing.T) {
		for actor, scenarios := range actors {
			var names []string
			for _, s := range scenarios {
				names = append(names, s.name)
				t.Run(s.name, func(t *testing.T) {
					t.Parallel()
					s.test(t, installed)
				})
			}
			rows := framework.FirstCells(t, "threat-model.md", "### "+actor)
			if !slices.Equal(rows, names) {
				t.Errorf("the scenarios of %q are %q, and docs/threat-model.md has %q", actor, names, rows)
			}
		}
	})
}

// fixture is what each scenario has for itself: a space, for the claim of an author.
type fixture struct {
	*testing.T
	// installed is the namespace of the chart's release.
	installed string
	// ns is the namespace of ResourceClaim "claim".
	ns, space string
	// tenant is a client with a token of the space.
	tenant kubernetes.Interface
	// Numbers of steps. A scenario has both kinds.
	allowed, deniedOrLimited int
}

func (sc scenario) test(t *testing.T, installed string) {
	s := &fixture{T: t, installed: installed, ns: env.Namespace(t)}
	s.space = s.provision("claim", sc.class)
	s.tenant = env.As(t, s.space, spaceapi.ServiceAccountName)
	if sc.run(s); s.allowed == 0 || s.deniedOrLimited == 0 {
		t.Errorf("%d steps are allowed and %d are denied or limited, want some of both", s.allowed, s.deniedOrLimited)
	}
}

// provision creates a claim whose class has these fields, and waits for its space.
func (s *fixture) provision(name, class string) (space string) {
	s.Helper()
	env.CreateClaim(s, s.ns, framework.OfClass(scenariosDriver, framework.NewClaim(name)))
	allocateTo(s.T, scenariosDriver, s.ns, name, framework.WithClassConfig(class))
	return readySpace(s.T, s.ns, name)
}

// allow waits until a request is allowed: RBAC and policies take effect with a delay.
func (s *fixture) allow(what string, actor kubernetes.Interface, call framework.Call) {
	s.Helper()
	framework.AwaitAllowed(s, what, call.Stored().By(actor))
	s.allowed++
}

// deny makes a request that the API server denies, in an error that contains all words.
func (s *fixture) deny(what string, actor kubernetes.Interface, call framework.Call, words ...string) {
	s.Helper()
	framework.CheckDenied(s, what, call.Stored().By(actor)(s.Context()), words...)
	s.deniedOrLimited++
}

// awaitDenied repeats a request, which was allowed before, until it is denied.
func (s *fixture) awaitDenied(what string, actor kubernetes.Interface, call framework.Call, words ...string) {
	s.Helper()
	framework.AwaitDenied(s, what, call.By(actor), words...)
	s.deny(what, actor, call, words...)
}

// awaitLimit waits for a state of an object that limits an attack.
func awaitLimit[T runtime.Object](s *fixture, o framework.Object, p framework.Predicate[T]) T {
	s.Helper()
	s.deniedOrLimited++
	return framework.Await(s, o, p)
}

// asAdmin makes requests as an administrator of the cluster.
func (s *fixture) asAdmin(calls ...framework.Call) {
	s.Helper()
	for _, call := range calls {
		if err := call.Stored().By(env.Client)(s.Context()); err != nil {
			s.Fatalf("%s: %v", call, err)
		}
	}
}

// deallocate deallocates the claim, so that its space is deprovisioned.
func (s *fixture) deallocate() { deallocate(s.T, env, s.ns, "claim") }

// account creates a ServiceAccount in the author's namespace, and returns a client with its token.
func (s *fixture) account(name string) kubernetes.Interface {
	s.Helper()
	s.asAdmin(newAccount(s.ns, name))
	return env.As(s.T, s.ns, name)
}

// author has the ClusterRole admin in the author's namespace.
func (s *fixture) author() kubernetes.Interface {
	s.Helper()
	author := s.account("author")
	s.asAdmin(grant(s.ns, "author", "admin", s.ns, "author"))
	framework.AwaitAllowed(s, "read claims", get(claimPath(s.ns, "claim")).By(author))
	return author
}

// token requests a token as an actor until it is allowed, and returns a client with it: policies see
// what changed in a Namespace with a delay, which the kubelet plugin waits for, too.
func (s *fixture) token(what string, actor kubernetes.Interface, namespace, account string, spec authenticationv1.TokenRequestSpec) kubernetes.Interface {
	s.Helper()
	request := &authenticationv1.TokenRequest{Spec: spec}
	var token string
	framework.AwaitAllowed(s, what, func(ctx context.Context) error {
		created, err := actor.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
		if err == nil {
			token = created.Status.Token
		}
		return err
	})
	s.allowed++
	return env.WithToken(s.T, token)
}

// asUser returns a client that acts as a user who has a client certificate.
func asUser(t *testing.T, user string, groups ...string) kubernetes.Interface {
	t.Helper()
	config, err := env.Cluster.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Impersonate = -1, rest.ImpersonationConfig{UserName: user, Groups: groups}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Words in the errors of the API server.
const (
	byRBAC       = " cannot "
	byExpiry     = "Unauthorized"
	byEscalation = "is attempting to grant RBAC permissions not currently held"
)

func byPolicy(name string) string {
	return "ValidatingAdmissionPolicy '" + scenariosRelease + "-" + name + "'"
}

var get = framework.Get

func configMap(namespace, name string) framework.Call {
	return post(core(namespace, "configmaps"), `{"metadata":{"name":"`+name+`"}}`)
}

func newAccount(namespace, name string) framework.Call {
	return post(core(namespace, "serviceaccounts"), `{"metadata":{"name":"`+name+`"}}`)
}

// grant creates a RoleBinding in a namespace for a ServiceAccount, which may be of another one.
func grant(namespace, name, role, of, account string) framework.Call {
	return post(framework.RBACPath(namespace, "rolebindings"), framework.BindingBody("RoleBinding", name, role, of, account))
}

func claimPath(namespace, rest string) string {
	return framework.DRAPath(namespace, "resourceclaims/"+rest)
}

// newPod is a pod that no scheduler binds, with more fields in its spec.
func newPod(namespace, name, spec string) framework.Call {
	return post(core(namespace, "pods"), `{"metadata":{"name":"`+name+`"},"spec":`+podSpec(spec)+`}`)
}

func podSpec(fields string) string {
	return `{` + fields + `"schedulerName":"none","containers":[{"name":"ctr","image":"x"}]}`
}

// boundPod creates a pod as an administrator, and binds it to a new node.
func (s *fixture) boundPod(namespace, account, node string) *corev1.Pod {
	s.Helper()
	newNode(s.T, env, node, nil)
	pod := framework.NewPod("pod-" + node)
	pod.Spec.ServiceAccountName, pod.Spec.AutomountServiceAccountToken = account, ptr.To(true)
	return bind(s.T, createPod(s.T, namespace, pod), node)
}
