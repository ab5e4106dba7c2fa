// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
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

// story is an attack in several steps: some succeed, and what follows is denied or limited.
type story struct {
	// name is the first column of the story's row in docs/threat-model.md.
	name string
	// class has fields of the class of the space, written as in a JSON object.
	class string
	tell  func(*scene)
}

// storiesDriver is the driver that all stories share, installed from the whole chart.
const (
	storiesDriver  = "stories.example.com"
	storiesRelease = "stories-space-dra-driver"
)

// TestThreatStories_areStopped plays the actors of docs/threat-model.md who have time, more than one
// identity, or more than one request. Its requests are stored.
func TestThreatStories_areStopped(t *testing.T) {
	t.Parallel()
	installed := env.Namespace(t)
	// There are no nodes for the workloads. The controller is a process with the token of its ServiceAccount.
	startController(t, env, releaseOf(t, "stories", installed, map[string]string{
		"driverName": storiesDriver, "space.allowedClusterRoles": "{admin,cluster-admin}", "rbac.viewerRole.create": "true",
		"controller.replicas": "0", "kubeletPlugin.nodeSelector.nodes": "none",
	})...)
	env.CreateClaim(t, installed, framework.NewClaim("first"))
	allocateTo(t, storiesDriver, installed, "first")
	// The chart's last policy. When it takes effect, so do the others.
	services := core(readySpace(t, installed, "first"), "services")
	denied(t, env.Client, denial{"a Service with an external address", post(services, `{"metadata":{"name":"a"},"spec":{"externalIPs":["192.0.2.1"],"ports":[{"port":443}]}}`), byPolicy("tenant-services")})
	actors := map[string][]story{
		"A tenant with a second identity":      secondIdentity,
		"A tenant with time":                   withTime,
		"A tenant with many requests":          manyRequests,
		"An author with large objects":         largeObjects,
		"The kubelet plugin of another driver": otherDriver,
		"A node that runs the controller":      controllersNode,
		"Stolen tokens of kubelet plugins":     stolenTokens,
		"A viewer of the whole cluster":        viewer,
	}
	t.Run("actors", func(t *testing.T) {
		for actor, stories := range actors {
			var names []string
			for _, s := range stories {
				names = append(names, s.name)
				t.Run(s.name, func(t *testing.T) {
					t.Parallel()
					s.play(t, installed)
				})
			}
			rows := framework.FirstCells(t, "threat-model.md", "### "+actor)
			if !slices.Equal(rows, names) {
				t.Errorf("the stories of %q are %q, and docs/threat-model.md has %q", actor, names, rows)
			}
		}
	})
}

// scene is where a story takes place: a space of its own, of an author's claim.
type scene struct {
	*testing.T
	// installed is the namespace of the chart's release.
	installed string
	// ns is the author's namespace. Its claim is called claim.
	ns, space string
	// tenant has a token of the space.
	tenant kubernetes.Interface
	// allowed and stopped count the steps that succeed, and those that are denied or limited.
	allowed, stopped int
}

func (st story) play(t *testing.T, installed string) {
	s := &scene{T: t, installed: installed, ns: env.Namespace(t)}
	s.space = s.provision("claim", st.class)
	s.tenant = env.As(t, s.space, spaceapi.ServiceAccountName)
	if st.tell(s); s.allowed == 0 || s.stopped == 0 {
		t.Errorf("%d steps are allowed and %d are stopped, so the story shows nothing", s.allowed, s.stopped)
	}
}

// provision creates a claim with a space of a class with these fields.
func (s *scene) provision(name, class string) (space string) {
	s.Helper()
	env.CreateClaim(s, s.ns, framework.OfClass(storiesDriver, framework.NewClaim(name)))
	allocateTo(s.T, storiesDriver, s.ns, name, framework.WithClassConfig(class))
	return readySpace(s.T, s.ns, name)
}

// can makes a request that is allowed, now or when the API server has noticed what allows it.
func (s *scene) can(what string, actor kubernetes.Interface, call framework.Call) {
	s.Helper()
	framework.AwaitAllowed(s, what, call.Stored().By(actor))
	s.allowed++
}

// cannot makes a request that is denied with all of the words.
func (s *scene) cannot(what string, actor kubernetes.Interface, call framework.Call, words ...string) {
	s.Helper()
	framework.CheckDenied(s, what, call.Stored().By(actor)(s.Context()), words...)
	s.stopped++
}

// loses repeats a request, which was allowed before, until it is denied.
func (s *scene) loses(what string, actor kubernetes.Interface, call framework.Call, words ...string) {
	s.Helper()
	framework.AwaitRefused(s, what, call.By(actor))
	s.cannot(what, actor, call, words...)
}

// limits waits for a state that limits an attack.
func limits[T runtime.Object](s *scene, o framework.Object, p framework.Predicate[T]) T {
	s.Helper()
	s.stopped++
	return framework.Await(s, o, p)
}

// given does what an administrator of the cluster prepared.
func (s *scene) given(calls ...framework.Call) {
	s.Helper()
	for _, call := range calls {
		if err := call.Stored().By(env.Client)(s.Context()); err != nil {
			s.Fatalf("%s: %v", call, err)
		}
	}
}

// end deallocates the claim, which deprovisions the space.
func (s *scene) end() { deallocate(s.T, env, s.ns, "claim") }

// account creates a ServiceAccount in the author's namespace, and returns a client with its token.
func (s *scene) account(name string) kubernetes.Interface {
	s.Helper()
	s.given(newAccount(s.ns, name))
	return env.As(s.T, s.ns, name)
}

// author has the ClusterRole admin in the author's namespace.
func (s *scene) author() kubernetes.Interface {
	s.Helper()
	author := s.account("author")
	s.given(grant(s.ns, "author", "admin", s.ns, "author"))
	framework.AwaitAllowed(s, "read claims", get(claimPath(s.ns, "claim")).By(author))
	return author
}

// token makes an actor request a token, and returns a client with it.
func (s *scene) token(what string, actor kubernetes.Interface, namespace, account string, spec authenticationv1.TokenRequestSpec) kubernetes.Interface {
	s.Helper()
	request := &authenticationv1.TokenRequest{Spec: spec}
	made, err := actor.CoreV1().ServiceAccounts(namespace).CreateToken(s.Context(), account, request, metav1.CreateOptions{})
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
	s.allowed++
	return env.WithToken(s.T, made.Status.Token)
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

// Words of denials.
const (
	byRBAC       = " cannot "
	byExpiry     = "Unauthorized"
	byEscalation = "is attempting to grant RBAC permissions not currently held"
)

func byPolicy(name string) string {
	return "ValidatingAdmissionPolicy '" + storiesRelease + "-" + name + "'"
}

// The requests, by short names.
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
func (s *scene) boundPod(namespace, account, node string) *corev1.Pod {
	s.Helper()
	newNode(s.T, env, node, nil)
	pod := framework.NewPod("pod-" + node)
	pod.Spec.ServiceAccountName, pod.Spec.AutomountServiceAccountToken = account, ptr.To(true)
	return bind(s.T, createPod(s.T, namespace, pod), node)
}
