// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// call is a request to the API server, of which nothing is stored.
type call = framework.Call

// The requests and their paths and bodies, by short names: the attempts are a long table.
var (
	get, post, patch, remove = framework.Get, framework.Post, framework.Patch, framework.Delete
	core, rbac, dra          = framework.CorePath, framework.RBACPath, framework.DRAPath
	networkPolicies          = framework.NetworkPolicyPath
	tokenFor, slice          = framework.TokenBody, framework.SliceBody
	unbound                  = tokenFor("", "", "")
)

const (
	driverNS = framework.DriverNamespace
	system   = metav1.NamespaceSystem
)

// as lets a call impersonate a user.
func as(user string, c call) call {
	c.As = user
	return c
}

// claims is the path of a claim, or of all claims in a namespace.
func claims(namespace, rest string) string {
	return strings.TrimSuffix(dra(namespace, "resourceclaims/"+rest), "/")
}

// mint requests a token of a ServiceAccount.
func mint(namespace, account, body string) call {
	return post(core(namespace, "serviceaccounts/"+account+"/token"), body)
}

// bind creates a RoleBinding in a namespace for a ServiceAccount, which may be of another one.
func bind(namespace, name, role, of, account string) call {
	return post(rbac(namespace, "rolebindings"), framework.BindingBody("RoleBinding", name, role, of, account))
}

// bindAll creates a ClusterRoleBinding for a space.
func bindAll(role, space string) call {
	return post(framework.ClusterRoleBindings, framework.BindingBody("ClusterRoleBinding", "attempt", role, space, "space"))
}

// denial says where a refusal comes from.
type denial struct {
	words []string
	// everyone: administrators are refused too. Otherwise their call succeeds, which shows that
	// the call is valid.
	everyone bool
}

// by are words of a refusal of the actor, and always of a refusal of everyone.
func by(words ...string) denial     { return denial{words: words} }
func always(words ...string) denial { return denial{words, true} }

// policy names an admission policy of the chart.
func policy(name string) string {
	return fmt.Sprintf("ValidatingAdmissionPolicy 'space-dra-driver-%s'", name)
}

var (
	byRBAC = by("is forbidden: User ", " cannot ")
	// notAs is about impersonation.
	notAs = by("is forbidden", "cannot impersonate")
	// escalation is about roles with more rights than the subject's own.
	escalation = by("is attempting to grant RBAC permissions not currently held")
)

// attempt is something that an actor must not be able to do. docs/threat-model.md
// has a line for each.
type attempt struct {
	what string
	call call
	// by is what denies it: RBAC, if it is empty.
	by denial
	// instead is a call that the same credential allows, so that the credential works.
	instead call
	// asAdmin is the closest call for an administrator who cannot make the same one.
	asAdmin call
}

// refusedTo makes all attempts with a client.
func refusedTo(t *testing.T, actor kubernetes.Interface, attempts []attempt) {
	t.Helper()
	for _, a := range attempts {
		t.Run(a.what, func(t *testing.T) {
			if !a.instead.IsZero() {
				if err := a.instead.By(actor)(t.Context()); err != nil {
					t.Errorf("%s should be possible: %v", a.instead, err)
				}
			}
			if a.by.words == nil {
				a.by = byRBAC
			}
			framework.CheckDenied(t, a.call.String(), a.call.By(actor)(t.Context()), a.by.words...)
			if a.asAdmin.IsZero() {
				a.asAdmin = a.call
			}
			switch err := a.asAdmin.By(env.Client)(t.Context()); {
			case a.by.everyone:
				framework.CheckDenied(t, a.asAdmin.String(), err, a.by.words...)
			case err != nil && !apierrors.IsAlreadyExists(err):
				t.Errorf("an administrator cannot do it either, so the refusal shows nothing: %s: %v", a.asAdmin, err)
			}
		})
	}
}

// podWith is the body of a pod with more fields in its spec and its container.
func podWith(spec, container string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"attempt"},"spec":{%s"containers":[{%s"name":"ctr","image":%q}]}}`,
		spec, container, framework.Toolbox)
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

// stage is what all actors work on: a tenant's pod on the first node, and one of another
// tenant on the second.
type stage struct {
	// ns has claim and pod mine, elsewhere claim and pod others.
	ns, elsewhere string
	mine, others  framework.Space
	plugins       [2]*corev1.Pod
	controller    *corev1.Pod
	// tenant has the token that pod mine finds.
	tenant kubernetes.Interface
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{ns: env.Namespace(t), elsewhere: env.Namespace(t)}
	createClass(t, classOf(limitedClass, spaceapi.DefaultDriverName, `,"resourceQuota":{"hard":{"pods":"10"}}`))
	mine := claimOf("mine", limitedClass)
	// Kubernetes itself writes this on claims that it makes of templates; the driver
	// takes a directory's name from it.
	mine.Annotations = map[string]string{resourceapi.PodResourceClaimAnnotation: "../../etc"}
	s.mine = env.Use(t, s.ns, mine, framework.On(env.Node(0), framework.NewPod("mine", "mine")))
	s.others = env.Use(t, s.elsewhere, framework.NewClaim("others"), framework.On(env.Node(1), framework.NewPod("others", "others")))
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

// awaitInvalid waits until the API server does not accept a credential any more.
func awaitInvalid(t *testing.T, client kubernetes.Interface, c call) {
	t.Helper()
	framework.AwaitDenied(t, c.String(), c.By(client), "Unauthorized")
}

// TestThreats_areDenied plays the actors of docs/threat-model.md.
func TestThreats_areDenied(t *testing.T) {
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
