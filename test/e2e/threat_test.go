// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
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

// requestToken requests a token of a ServiceAccount.
func requestToken(namespace, account, body string) call {
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

// denial is how the API server denies a request.
type denial struct {
	// words of the error.
	words []string
	// everyone is set if the API server also denies it to administrators. Otherwise, the request of
	// an administrator must succeed, which shows that it is valid.
	everyone bool
}

// by is a denial to the attacker, and always one to everyone.
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
	// escalation is about roles with permissions that the attacker does not have.
	escalation = by("is attempting to grant RBAC permissions not currently held")
)

// attempt is a request that must be denied.
type attempt struct {
	// what is the first cell of its row in docs/threat-model.md.
	what string
	call call
	// by is how it is denied. Empty: by RBAC.
	by denial
	// instead is a request that is allowed, which shows that the credential is valid.
	instead call
	// asAdmin is a similar request, if an administrator cannot make the same one.
	asAdmin call
}

// actor is a test of an attacker. It has a subtest for each row of its table in
// docs/threat-model.md.
type actor struct {
	*testing.T
	rows []string
}

func (t *actor) testRow(what string, test func(*testing.T)) {
	t.rows = append(t.rows, what)
	t.Run(what, test)
}

// testDenied makes all attempts with a client.
func (t *actor) testDenied(client kubernetes.Interface, attempts []attempt) {
	t.Helper()
	for _, a := range attempts {
		t.testRow(a.what, func(t *testing.T) {
			if !a.instead.IsZero() {
				// Kubernetes creates the ServiceAccount and counts the quota after it creates the namespace.
				framework.AwaitAllowed(t, a.instead.String(), a.instead.By(client))
			}
			if a.by.words == nil {
				a.by = byRBAC
			}
			framework.CheckDenied(t, a.call.String(), a.call.By(client)(t.Context()), a.by.words...)
			if a.asAdmin.IsZero() {
				a.asAdmin = a.call
			}
			if a.by.everyone {
				framework.CheckDenied(t, a.asAdmin.String(), a.asAdmin.By(env.Client)(t.Context()), a.by.words...)
				return
			}
			framework.AwaitAllowed(t, a.asAdmin.String()+" of an administrator", func(ctx context.Context) error {
				if err := a.asAdmin.By(env.Client)(ctx); !apierrors.IsAlreadyExists(err) {
					return err
				}
				return nil
			})
		})
	}
}

// podWith is the body of a pod with more fields in its spec and its container.
func podWith(spec, container string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"attempt"},"spec":{%s"containers":[{%s"name":"ctr","image":%q}]}}`,
		spec, container, framework.Toolbox)
}

const (
	// lowered removes the restrictions on pods in a namespace.
	lowered = `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`
	// touched changes an object without any effect.
	touched = `{"metadata":{"annotations":{"attempt":"x"}}}`
	// opening is a NetworkPolicy for all outgoing traffic, and among one for traffic within a space.
	opening = `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"attempt"},"spec":{"podSelector":{},"egress":[{}]}}`
	among   = `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"attempt"},"spec":{"podSelector":{},"egress":[{"to":[{"podSelector":{}}]}]}}`
)

// limitedClass is the DeviceClass of the tenant's space, which is not part of the chart.
const limitedClass = "limited"

// fixture is what all attackers share: the pod of a tenant on the first node, and the pod of another
// tenant on the second.
type fixture struct {
	// ns contains claim and pod mine, elsewhere claim and pod others.
	ns, elsewhere string
	mine, others  framework.Space
	plugins       [2]*corev1.Pod
	controller    *corev1.Pod
	// tenant is a client with the token in pod mine.
	tenant kubernetes.Interface
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	s := &fixture{ns: env.Namespace(t), elsewhere: env.Namespace(t)}
	createClass(t, classOf(limitedClass, spaceapi.DefaultDriverName, `,"resourceQuota":{"hard":{"pods":"10"}}`))
	mine := claimOf("mine", limitedClass)
	// Kubernetes sets this annotation on claims that it creates from templates. The kubelet plugin
	// takes the name of a directory from it.
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
	s.controller = env.AwaitLeader(t)
	return s
}

// stolenFrom returns a client with the token of a pod's ServiceAccount, from the disk of its node.
func stolenFrom(t *testing.T, pod *corev1.Pod) kubernetes.Interface {
	t.Helper()
	token, err := framework.OnNode(t.Context(), env.NodeOf(t, pod), "sh", "-c",
		"cat /var/lib/kubelet/pods/"+string(pod.UID)+"/volumes/kubernetes.io~projected/*/token")
	if err != nil {
		t.Fatal(err)
	}
	return env.WithToken(t, token)
}

// awaitInvalid waits until the API server rejects a credential.
func awaitInvalid(t *testing.T, client kubernetes.Interface, c call) {
	t.Helper()
	framework.AwaitDenied(t, c.String(), c.By(client), "Unauthorized")
}

// TestThreats_areDenied makes the requests of each attacker in docs/threat-model.md.
func TestThreats_areDenied(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	t.Run("actors", func(t *testing.T) {
		for heading, test := range map[string]func(*actor){
			"A pod with a space":                      s.tenantPod,
			"A tenant whose space has the role admin": tenantAdmin,
			"An author of claims":                     s.author,
			"A stolen token of the kubelet plugin":    s.pluginToken,
			"A compromised node":                      s.kubelet,
			"A stolen token of the controller":        s.controllerToken,
		} {
			t.Run(heading, func(t *testing.T) {
				t.Parallel()
				a := &actor{T: t}
				test(a)
				rows := framework.FirstCells(t, "threat-model.md", "## "+heading)
				if !sets.New(rows...).Equal(sets.New(a.rows...)) {
					t.Errorf("the attempts are %q, and docs/threat-model.md has %q", a.rows, rows)
				}
			})
		}
	})
	t.Run(deprovisionedSpace, s.deprovisioned)
}
