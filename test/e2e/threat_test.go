// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// call is a request to the API server. Of what would write, nothing is stored.
type call struct {
	verb, path, body string
	// as is whom to impersonate.
	as string
}

func (c call) String() string { return c.verb + " " + c.path }

func (c call) do(ctx context.Context, client kubernetes.Interface) error {
	request := client.CoreV1().RESTClient().Verb(c.verb).RequestURI(c.path)
	exec := strings.Contains(c.path, "/exec?")
	if c.verb != "GET" && !exec {
		request = request.Param("dryRun", "All")
	}
	if c.body != "" {
		kind := "application/json"
		if c.verb == "PATCH" {
			kind = string(types.MergePatchType)
		}
		request = request.SetHeader("Content-Type", kind).Body([]byte(c.body))
	}
	if c.as != "" {
		request = request.SetHeader("Impersonate-User", c.as)
	}
	err := request.Do(ctx).Error()
	// Whoever may is asked for another protocol.
	if exec && apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "pgrade request required") {
		return nil
	}
	return err
}

// attempt is something that an actor must not be able to do. docs/threat-model.md
// has a line for each.
type attempt struct {
	what string
	call call
	// words are in the refusal, and say where it comes from.
	words []string
	// instead is what the same credential can do: it is not refused by chance.
	instead call
	// toAll says that an administrator is refused too. Otherwise he is not: there is
	// nothing else wrong with the request.
	toAll bool
	// asAdmin is the nearest that an administrator can do, where he can't do the same.
	asAdmin call
}

// refusedTo makes all attempts with a stolen or own credential.
func refusedTo(t *testing.T, actor kubernetes.Interface, attempts ...attempt) {
	t.Helper()
	for _, a := range attempts {
		t.Run(a.what, func(t *testing.T) {
			if a.instead.path != "" {
				if err := a.instead.do(t.Context(), actor); err != nil {
					t.Errorf("%s should be possible: %v", a.instead, err)
				}
			}
			checkRefusal(t, a.call, a.call.do(t.Context(), actor), a.words)
			asAdmin := a.call
			if a.asAdmin.path != "" {
				asAdmin = a.asAdmin
			}
			switch err := asAdmin.do(t.Context(), env.Client); {
			case a.toAll:
				checkRefusal(t, asAdmin, err, a.words)
			case err != nil:
				t.Errorf("an administrator can't do it either, so that it proves nothing: %s: %v", asAdmin, err)
			}
		})
	}
}

func checkRefusal(t *testing.T, c call, err error, words []string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s was not refused", c)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: got error %v, want one with the words %q", c, err, w)
		}
	}
}

// cannot are the words of RBAC.
func cannot(verb, resource string) []string {
	return []string{"is forbidden", fmt.Sprintf("cannot %s resource %q", verb, resource)}
}

// byPolicy are the words of an admission policy of the chart.
func byPolicy(name, words string) []string {
	return []string{fmt.Sprintf("ValidatingAdmissionPolicy 'space-dra-driver-%s'", name), words}
}

// notAs are the words to who would be somebody else.
var notAs = []string{"is forbidden", "cannot impersonate"}

// escalation are the words of RBAC to who would give what he does not have.
var escalation = []string{"is attempting to grant RBAC permissions not currently held"}

// Paths of objects in a namespace.
func core(namespace, rest string) string { return "/api/v1/namespaces/" + namespace + "/" + rest }

func rbac(namespace, rest string) string {
	return "/apis/rbac.authorization.k8s.io/v1/namespaces/" + namespace + "/" + rest
}

func claims(namespace, rest string) string {
	return strings.TrimSuffix("/apis/resource.k8s.io/v1/namespaces/"+namespace+"/resourceclaims/"+rest, "/")
}

func networkPolicies(namespace, rest string) string {
	return strings.TrimSuffix("/apis/networking.k8s.io/v1/namespaces/"+namespace+"/networkpolicies/"+rest, "/")
}

const clusterRoleBindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"

// binding is the body of a RoleBinding or, without a namespace, of a ClusterRoleBinding.
func binding(kind, name, role, namespace, account string) string {
	return fmt.Sprintf(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":%q,"metadata":{"name":%q},
		"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":%q},
		"subjects":[{"kind":"ServiceAccount","namespace":%q,"name":%q}]}`, kind, name, role, namespace, account)
}

// podWith is the body of a pod with more fields in its spec and its container.
func podWith(spec, container string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"attempt"},"spec":{%s"containers":[{%s"name":"ctr","image":%q}]}}`,
		spec, container, framework.Toolbox)
}

// tokenFor is the body of a request for a token bound to something, or to nothing.
func tokenFor(kind, name string, uid types.UID) string {
	if kind == "" {
		return `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}`
	}
	return fmt.Sprintf(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"boundObjectRef":{"apiVersion":"v1","kind":%q,"name":%q,"uid":%q}}}`,
		kind, name, uid)
}

const (
	// lowered are the labels of a namespace that takes any pod.
	lowered = `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`
	// touched changes an object without any consequence.
	touched = `{"metadata":{"annotations":{"attempt":"x"}}}`
	// opening is a NetworkPolicy that lets everything out, and among one within a space.
	opening = `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"attempt"},"spec":{"podSelector":{},"egress":[{}]}}`
	among   = `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"attempt"},"spec":{"podSelector":{},"egress":[{"to":[{"podSelector":{}}]}]}}`
)

// limitedClass is the DeviceClass of the tenant's space. No values name it.
const limitedClass = "limited"

// stage is what all actors play on: a tenant's pod on the first node, and one of
// somebody else on the second.
type stage struct {
	// ns has claim and pod mine, elsewhere claim and pod others.
	ns, elsewhere string
	mine, others  framework.Space
	claim         *resourceapi.ResourceClaim
	plugins       [2]*corev1.Pod
	controller    *corev1.Pod
	// tenant has the token that pod mine finds.
	tenant kubernetes.Interface
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{ns: env.Namespace(t), elsewhere: env.Namespace(t)}
	createClass(t, classOf(limitedClass, spaceapi.DefaultDriverName, spaceapi.SpaceClassConfigKind, `,"resourceQuota":{"hard":{"pods":"10"}}`))
	mine := claimOfClass(limitedClass)
	mine.Name = "mine"
	// Kubernetes itself writes this on claims that it makes of templates; the driver
	// takes a directory's name from it.
	mine.Annotations = map[string]string{resourceapi.PodResourceClaimAnnotation: "../../etc"}
	env.CreateClaim(t, s.ns, mine)
	env.CreateClaim(t, s.elsewhere, framework.NewClaim("others"))
	env.StartPod(t, s.elsewhere, framework.On(env.Node(1), framework.NewPod("others", "others")))
	env.CreatePod(t, s.ns, framework.On(env.Node(0), framework.NewPod("mine", "mine")))
	framework.Await(t, framework.Pod(env.Client, s.elsewhere, "others"), framework.PodReady())
	s.mine, s.others = env.SpaceOf(t, s.ns, "mine", "MINE"), env.SpaceOf(t, s.elsewhere, "others", "OTHERS")
	s.claim = framework.Await(t, framework.Claim(env.Client, s.ns, "mine"), framework.SpacesReady(1))
	s.tenant = env.WithToken(t, env.Exec(t, s.ns, "mine", "cat", "/etc/mine/token"))

	plugins, err := env.DriverPods(t.Context(), framework.PluginPods)
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range plugins {
		for i := range s.plugins {
			if pod.Spec.NodeName == env.Node(i) {
				s.plugins[i] = &pod
			}
		}
	}
	if s.controller, err = env.Leader(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// stolenFrom returns a client with the token that lies on a pod's node for the pod,
// which runs as root.
func stolenFrom(t *testing.T, pod *corev1.Pod) kubernetes.Interface {
	t.Helper()
	token, err := framework.OnNode(t.Context(), env.NodeOf(t, pod), "sh", "-c",
		"cat /var/lib/kubelet/pods/"+string(pod.UID)+"/volumes/kubernetes.io~projected/*/token")
	if err != nil {
		t.Fatal(err)
	}
	return env.WithToken(t, token)
}

// awaitCan waits until somebody can do what he was just given the right to.
func awaitCan(t *testing.T, client kubernetes.Interface, c call) {
	t.Helper()
	var last error
	if err := wait.PollUntilContextTimeout(t.Context(), pause, framework.Patience, true, func(ctx context.Context) (bool, error) {
		last = c.do(ctx, client)
		return last == nil, nil
	}); err != nil {
		t.Fatalf("%s never became possible: %v", c, last)
	}
}

// awaitRefused waits until a request is refused with words: the API server takes new
// policies, and what becomes of rights, into account after a moment.
func awaitRefused(t *testing.T, client kubernetes.Interface, c call, words []string) {
	t.Helper()
	var last error
	if err := wait.PollUntilContextTimeout(t.Context(), pause, framework.Patience, true, func(ctx context.Context) (bool, error) {
		last = c.do(ctx, client)
		return last != nil && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(last.Error(), w) }), nil
	}); err != nil {
		t.Fatalf("%s was never refused with the words %q: the last answer was %v", c, words, last)
	}
}

// awaitWorthless waits until the API server knows nobody with the credential.
func awaitWorthless(t *testing.T, client kubernetes.Interface, c call) {
	t.Helper()
	var last error
	if err := wait.PollUntilContextTimeout(t.Context(), pause, framework.Patience, true, func(ctx context.Context) (bool, error) {
		last = c.do(ctx, client)
		return apierrors.IsUnauthorized(last), nil
	}); err != nil {
		t.Errorf("%s: got error %v, want Unauthorized", c, last)
	}
}

// TestThreats plays the actors of docs/threat-model.md.
func TestThreats(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	t.Run("actors", func(t *testing.T) {
		for name, play := range map[string]func(*testing.T){
			"a pod with a space":    s.tenantPod,
			"a tenant with admin":   tenantAdmin,
			"an author of claims":   s.author,
			"a stolen plugin token": s.pluginToken,
			"a stolen kubelet":      s.kubelet,
			"a stolen controller":   s.controllerToken,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				play(t)
			})
		}
	})
	t.Run("use a token of a space that has ended", s.ended)
}
