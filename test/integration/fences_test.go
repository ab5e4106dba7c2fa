// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// fenced is what the chart makes besides workloads, for a driver of its own, with a
// controller that works with the chart's rights, and one space.
type fenced struct {
	driver    string
	keys      spaceapi.Keys
	namespace string
	// controller has a token of the controller's ServiceAccount.
	controller kubernetes.Interface
	// claim is in the release's namespace, and space is the namespace made for it.
	claim, space string
}

const fencedName = "fenced-space-dra-driver"

// newFenced is for one test that does not run beside others of its release name.
func newFenced(t *testing.T) *fenced {
	t.Helper()
	f := &fenced{driver: "fenced.example.com", keys: spaceapi.KeysFor("fenced.example.com"), namespace: env.Namespace(t), claim: "claim"}
	applyChart(t, "fenced", f.namespace, map[string]string{
		"driverName": f.driver, "space.allowedClusterRoles": "{admin}", "space.deniedDeviceClasses": "{fenced-denied}",
		"deviceClasses[0].name": "fenced-gold", "deviceClasses[0].extendedResourceName": "fenced.example.com/gold",
	},
		"rbac-controller.yaml", "rbac-kubeletplugin.yaml", "admission-spaces.yaml", "admission-nested.yaml",
		"admission-controller.yaml", "admission-kubeletplugin.yaml", "admission-record.yaml")
	removeSlices(t, f.driver)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	env.WriteKubeconfigOf(t, f.namespace, fencedName+"-controller", kubeconfig)
	framework.StartController(t, env, "--kubeconfig="+kubeconfig, "--driver-name="+f.driver, "--allowed-cluster-roles=admin",
		"--leader-elect-resource-namespace="+f.namespace, "--leader-elect-resource-name="+fencedName+"-controller", "--resourceslice-owner="+fencedName+"-controller")
	f.controller = env.As(t, f.namespace, fencedName+"-controller")
	env.CreateClaim(t, f.namespace, framework.NewClaim(f.claim))
	allocateTo(t, f.driver, f.namespace, f.claim)
	framework.Await(t, framework.Claim(env.Client, f.namespace, f.claim), framework.SpacesReady(1))
	f.space = spaceOf(t, f.driver, f.namespace, f.claim)
	return f
}

// try is something that a policy refuses. None of them leaves anything behind if it
// is not refused.
type try struct {
	what  string
	do    func(ctx context.Context) error
	words string
}

func allDenied(t *testing.T, tries ...try) {
	t.Helper()
	for _, try := range tries {
		awaitDenied(t, try.what, try.do, try.words)
	}
}

var (
	dryUpdate = metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}}
	dryPatch  = metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}
	dryDelete = metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}
)

func TestFences(t *testing.T) {
	f := newFenced(t)
	t.Run("keep the controller to namespaces with its record", f.keepsTheControllerToItsNamespaces)
	t.Run("keep the controller to what is in spaces", f.keepsTheControllerToSpaces)
	t.Run("keep the controller to its part of claims and slices", f.keepsTheControllerToItsDevices)
	t.Run("keep the controller to its events", f.keepsTheControllerToItsEvents)
	t.Run("keep plugins to nodes that use a space", f.keepsPluginsToNodesInUse)
	t.Run("keep plugins to events about claims", f.keepsPluginsToTheirEvents)
	t.Run("keep plugins to ResourceSlices of their nodes", f.keepsPluginsToTheirSlices)
	t.Run("keep others from the record", f.keepsOthersFromTheRecord)
	t.Run("keep spaces from having spaces", f.keepsSpacesFromHavingSpaces)
	t.Run("keep tenants from their namespace", f.keepsTenantsFromTheirNamespace)
	t.Run("are right about all types", f.typesAreRight)
	f.ends(t)
}

// ends sees the space off, as usual.
func (f *fenced) ends(t *testing.T) {
	deallocate(t, env, f.namespace, f.claim)
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, f.space))
}

func (f *fenced) keepsTheControllerToItsNamespaces(t *testing.T) {
	namespaces := f.controller.CoreV1().Namespaces()
	create := func(ns *corev1.Namespace) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			_, err := namespaces.Create(ctx, ns, dryRun)
			return err
		}
	}
	patch := func(name, patch string) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			_, err := namespaces.Patch(ctx, name, types.MergePatchType, []byte(patch), dryPatch)
			return err
		}
	}
	const make, change = "namespaces with the record of a space", "update and delete namespaces of spaces"
	allDenied(t,
		try{"making one without a record", create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fenced-any"}}), make},
		try{"making one without annotations", create(recorded(f.driver, "fenced-any", "uid", "", "")), make},
		try{"making one for another driver", create(recorded("another.example.com", "fenced-any", "uid", "ns", "claim")), make},
		try{"taking one over", patch("kube-system", `{"metadata":{"labels":{"`+f.keys.ClaimUID+`":"uid"}}}`), change},
		try{"deleting one", func(ctx context.Context) error { return namespaces.Delete(ctx, f.namespace, dryDelete) }, change},
		try{"lowering the Pod Security Standard of a space",
			patch(f.space, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`), "not change labels"},
		try{"changing the record", patch(f.space, `{"metadata":{"annotations":{"`+f.keys.ClaimName+`":"another"}}}`), "annotations nodes and retained-until"},
		try{"changing what a space was given", patch(f.space, `{"metadata":{"annotations":{"`+f.keys.Config+`":"{}"}}}`), "annotations nodes and retained-until"},
		try{"removing a part of the record", patch(f.space, `{"metadata":{"annotations":{"`+f.keys.ClaimName+`":null}}}`), "annotations nodes and retained-until"},
	)
	if _, err := namespaces.Create(t.Context(), recorded(f.driver, "fenced-any", "uid", "ns", "claim"), dryRun); err != nil {
		t.Errorf("making a space: %v", err)
	}
	for what, annotation := range map[string]string{
		"retaining a space":                    `"` + f.keys.RetainedUntil + `":"2030-01-01T00:00:00Z"`,
		"recording where a space is used":      `"` + f.keys.Nodes + `":"node=uid"`,
		"recording that a space is not in use": `"` + f.keys.Nodes + `":null`,
	} {
		if err := patch(f.space, `{"metadata":{"annotations":{`+annotation+`}}}`)(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func (f *fenced) keepsTheControllerToSpaces(t *testing.T) {
	const spaces = "write in namespaces of spaces"
	core := f.controller.CoreV1()
	account := func(namespace, name string) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			_, err := core.ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, dryRun)
			return err
		}
	}
	binding := func(namespace, name string, subject rbacv1.Subject) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			_, err := f.controller.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
				Subjects:   []rbacv1.Subject{subject},
			}, dryRun)
			return err
		}
	}
	own := func(namespace string) rbacv1.Subject {
		return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: spaceapi.ServiceAccountName}
	}
	const itself = "the space's own ServiceAccount"
	allDenied(t,
		try{"a ServiceAccount elsewhere", account("kube-system", "space"), spaces},
		try{"another ServiceAccount", account(f.space, "builder"), "objects named space"},
		try{"a ConfigMap elsewhere", func(ctx context.Context) error {
			_, err := core.ConfigMaps("kube-system").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "any"}}, dryRun)
			return err
		}, spaces},
		try{"a quota elsewhere", func(ctx context.Context) error {
			_, err := core.ResourceQuotas("default").Create(ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "space"}}, dryRun)
			return err
		}, spaces},
		try{"a NetworkPolicy elsewhere", func(ctx context.Context) error {
			_, err := f.controller.NetworkingV1().NetworkPolicies("default").Create(ctx, openPolicy("space"), dryRun)
			return err
		}, spaces},
		try{"rights elsewhere", binding("kube-system", "space", own("kube-system")), spaces},
		try{"rights in a space for somebody else", binding(f.space, "space", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: "eve"}), itself},
		try{"rights in a space for another space", binding(f.space, "space", own("default")), itself},
		try{"rights by another name", binding(f.space, "another", own(f.space)), itself},
		try{"changed rights", func(ctx context.Context) error {
			_, err := f.controller.RbacV1().RoleBindings(f.space).Patch(ctx, "space", types.MergePatchType,
				[]byte(`{"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"eve"}]}`), dryPatch)
			return err
		}, "remove their subjects"},
	)
	if _, err := f.controller.RbacV1().RoleBindings(f.space).Patch(t.Context(), "space", types.MergePatchType, []byte(`{"subjects":null}`), dryPatch); err != nil {
		t.Errorf("emptying a RoleBinding: %v", err)
	}
}

func (f *fenced) keepsTheControllerToItsDevices(t *testing.T) {
	reserveIt := func(ctx context.Context) error {
		claims := f.controller.ResourceV1().ResourceClaims(f.namespace)
		claim, err := claims.Get(ctx, f.claim, metav1.GetOptions{})
		if err != nil {
			return err
		}
		claim.Status.ReservedFor = []resourceapi.ResourceClaimConsumerReference{{Resource: "pods", Name: "any", UID: "any"}}
		_, err = claims.UpdateStatus(ctx, claim, dryUpdate)
		return err
	}
	slice := func(driver string) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			all := true
			_, err := f.controller.ResourceV1().ResourceSlices().Create(ctx, &resourceapi.ResourceSlice{
				ObjectMeta: metav1.ObjectMeta{Name: "any"},
				Spec: resourceapi.ResourceSliceSpec{
					Driver: driver, AllNodes: &all, Pool: resourceapi.ResourcePool{Name: "any", ResourceSliceCount: 1},
				},
			}, dryRun)
			return err
		}
	}
	allDenied(t, try{"a slice of another driver", slice("gpu.example.com"), "of driver " + f.driver})
	if err := slice(f.driver)(t.Context()); err != nil {
		t.Errorf("a slice of its own: %v", err)
	}
	// From 1.36 on, a missing right keeps it from that, too.
	const binding = "fenced-binding"
	env.Kubectl(t, "create", "clusterrole", binding, "--verb=update", "--resource=resourceclaims.resource.k8s.io/binding")
	t.Cleanup(func() {
		_, _ = env.TryKubectl(context.Background(), "delete", "clusterrole,clusterrolebinding", binding)
	})
	env.Kubectl(t, "create", "clusterrolebinding", binding, "--clusterrole="+binding, "--serviceaccount="+f.namespace+":"+fencedName+"-controller")
	f.awaitMay(t, "system:serviceaccount:"+f.namespace+":"+fencedName+"-controller",
		authorizationv1.ResourceAttributes{Verb: "update", Group: resourceapi.GroupName, Resource: "resourceclaims", Subresource: "binding"})
	allDenied(t, try{"reserving a claim", reserveIt, "status.devices"})
}

func (f *fenced) keepsTheControllerToItsEvents(t *testing.T) {
	create := func(apiVersion, kind, component string) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			_, err := f.controller.CoreV1().Events(f.namespace).Create(ctx, &corev1.Event{
				ObjectMeta:     metav1.ObjectMeta{Name: "any", Namespace: f.namespace},
				InvolvedObject: corev1.ObjectReference{APIVersion: apiVersion, Kind: kind, Namespace: f.namespace, Name: f.claim},
				Source:         corev1.EventSource{Component: component},
				Reason:         spaceapi.ReasonInvalidParameters, Type: corev1.EventTypeWarning,
			}, dryRun)
			return err
		}
	}
	const claims, component, words = "resource.k8s.io/v1", "space-controller", "events about ResourceClaims, pods and namespaces"
	allDenied(t,
		try{"an event about a Secret", create("v1", "Secret", component), words},
		try{"an event about a claim of another group", create("example.com/v1", "ResourceClaim", component), words},
		try{"an event as the scheduler", create("v1", "Pod", "default-scheduler"), words},
	)
	for kind, apiVersion := range map[string]string{"ResourceClaim": claims, "Pod": "v1"} {
		if err := create(apiVersion, kind, component)(t.Context()); err != nil {
			t.Errorf("an event about a %s: %v", kind, err)
		}
	}
}

func (f *fenced) keepsOthersFromTheRecord(t *testing.T) {
	namespaces := env.Client.CoreV1().Namespaces()
	patch := func(name, patch string, subresources ...string) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			_, err := namespaces.Patch(ctx, name, types.MergePatchType, []byte(patch), dryPatch, subresources...)
			return err
		}
	}
	const labels, annotations = "namespace labels with prefix fenced.example.com/", "namespace annotations with prefix fenced.example.com/"
	marked := `{"metadata":{"labels":{"` + f.keys.ClaimUID + `":"uid"}}}`
	allDenied(t,
		try{"making a record", func(ctx context.Context) error {
			_, err := namespaces.Create(ctx, recorded(f.driver, "fenced-any", "uid", "", ""), dryRun)
			return err
		}, labels},
		try{"marking a namespace", patch("kube-system", marked), labels},
		try{"marking a namespace by way of its status", patch("kube-system", marked, "status"), labels},
		try{"removing a mark", patch(f.space, `{"metadata":{"labels":{"`+f.keys.ClaimUID+`":null}}}`), labels},
		try{"changing a mark", patch(f.space, marked), labels},
		try{"marking with a key of no meaning", patch("kube-system", `{"metadata":{"labels":{"fenced.example.com/any":"x"}}}`), labels},
		try{"allowing spaces in a space", patch(f.space, `{"metadata":{"labels":{"`+f.keys.NestedSpaces+`":"Allowed"}}}`), labels},
		try{"adding a node", patch(f.space, `{"metadata":{"annotations":{"`+f.keys.Nodes+`":"node=uid"}}}`), annotations},
		try{"changing what a space was given", patch(f.space, `{"metadata":{"annotations":{"`+f.keys.Config+`":"{}"}}}`), annotations},
		try{"changing the claim", patch(f.space, `{"metadata":{"annotations":{"`+f.keys.ClaimName+`":"another"}}}`), annotations},
		try{"removing the claim", patch(f.space, `{"metadata":{"annotations":{"`+f.keys.ClaimName+`":null}}}`), annotations},
	)
	for what, do := range map[string]func(ctx context.Context) error{
		"another label of a space":      patch(f.space, `{"metadata":{"labels":{"team":"blue"},"annotations":{"note":"x"}}}`),
		"a label of another namespace":  patch("kube-system", `{"metadata":{"labels":{"team":"blue"}}}`),
		"another driver's label":        patch("kube-system", `{"metadata":{"labels":{"not-fenced.example.com/any":"x"}}}`),
		"a space's status":              patch(f.space, `{"status":{"conditions":[]}}`, "status"),
		"deleting a space":              func(ctx context.Context) error { return namespaces.Delete(ctx, f.space, dryDelete) },
		"a namespace with other labels": func(ctx context.Context) error { return createDry(ctx, "fenced-any") },
	} {
		if err := do(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func createDry(ctx context.Context, name string) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": "blue"}}}
	_, err := env.Client.CoreV1().Namespaces().Create(ctx, ns, dryRun)
	return err
}

// keepsSpacesFromHavingSpaces tries each way to ask for a space, as an administrator.
func (f *fenced) keepsSpacesFromHavingSpaces(t *testing.T) {
	// Without that, the API server lets nobody ask for access as an administrator.
	env.Kubectl(t, "label", "namespace", f.space, resourceapi.DRAAdminNamespaceLabelKey+"=true")
	claim := func(namespace string, requests ...resourceapi.DeviceRequest) func(ctx context.Context) error {
		claim := framework.NewClaim("any")
		claim.Spec.Devices.Requests = requests
		return func(ctx context.Context) error {
			_, err := env.Client.ResourceV1().ResourceClaims(namespace).Create(ctx, claim, dryRun)
			return err
		}
	}
	template := func(requests ...resourceapi.DeviceRequest) func(ctx context.Context) error {
		template := &resourceapi.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Name: "any"}}
		template.Spec.Spec.Devices.Requests = requests
		return func(ctx context.Context) error {
			_, err := env.Client.ResourceV1().ResourceClaimTemplates(f.space).Create(ctx, template, dryRun)
			return err
		}
	}
	pod := func(namespace, resourceName string, of func(*corev1.Pod) *corev1.Container) func(ctx context.Context) error {
		pod := framework.NewPod("any")
		amount := corev1.ResourceList{corev1.ResourceName(resourceName): resource.MustParse("1")}
		of(pod).Resources = corev1.ResourceRequirements{Limits: amount, Requests: amount}
		return func(ctx context.Context) error {
			_, err := env.Client.CoreV1().Pods(namespace).Create(ctx, pod, dryRun)
			return err
		}
	}
	container := func(pod *corev1.Pod) *corev1.Container { return &pod.Spec.Containers[0] }
	initContainer := func(pod *corev1.Pod) *corev1.Container {
		pod.Spec.InitContainers = []corev1.Container{pod.Spec.Containers[0]}
		pod.Spec.InitContainers[0].Name = "init"
		return &pod.Spec.InitContainers[0]
	}
	exactly := func(class string) resourceapi.DeviceRequest {
		return resourceapi.DeviceRequest{Name: class[:3], Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: class}}
	}
	oneOf := func(classes ...string) resourceapi.DeviceRequest {
		request := resourceapi.DeviceRequest{Name: "one-of"}
		for i, class := range classes {
			request.FirstAvailable = append(request.FirstAvailable, resourceapi.DeviceSubRequest{Name: fmt.Sprintf("sub-%d", i), DeviceClassName: class})
		}
		return request
	}
	asAdmin := exactly(f.driver)
	asAdmin.Exactly.AdminAccess = ptr.To(true)
	const other, implicit = "gpu.example.com", "deviceclass.resource.kubernetes.io/"
	allDenied(t,
		try{"the chart's class", claim(f.space, exactly(f.driver)), nestedRefused},
		try{"another class of the chart", claim(f.space, exactly("fenced-gold")), nestedRefused},
		try{"a class that the values name", claim(f.space, exactly("fenced-denied")), nestedRefused},
		// That is of another release of the chart, but the claim of this space names it.
		try{"the space's own class", claim(f.space, exactly(spaceapi.DefaultDriverName)), nestedRefused},
		try{"a second request", claim(f.space, exactly(other), exactly(f.driver)), nestedRefused},
		try{"a second choice", claim(f.space, oneOf(other, f.driver)), nestedRefused},
		try{"access as an administrator", claim(f.space, asAdmin), nestedRefused},
		try{"a template", template(exactly(f.driver)), nestedRefused},
		try{"a template with a second choice", template(oneOf(other, "fenced-gold")), nestedRefused},
		try{"a pod", pod(f.space, implicit+f.driver, container), nestedRefused},
		try{"a pod, by the space's own class", pod(f.space, implicit+spaceapi.DefaultDriverName, container), nestedRefused},
		try{"a pod, by the class's name for it", pod(f.space, "fenced.example.com/gold", container), nestedRefused},
		try{"a pod, in its init container", pod(f.space, implicit+"fenced-denied", initContainer), nestedRefused},
	)
	for what, do := range map[string]func(ctx context.Context) error{
		"something else":               claim(f.space, exactly(other), oneOf(other)),
		"a template of something else": template(exactly(other)),
		"a pod with something else":    pod(f.space, "example.com/gpu", initContainer),
		"a space elsewhere":            claim(f.namespace, exactly(f.driver), oneOf(other, f.driver)),
		"a pod with a space elsewhere": pod(f.namespace, implicit+f.driver, container),
	} {
		if err := do(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func (f *fenced) keepsTenantsFromTheirNamespace(t *testing.T) {
	user := "system:serviceaccount:" + f.space + ":" + spaceapi.ServiceAccountName
	for _, role := range []string{"edit", "admin"} {
		given := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role, Namespace: f.space},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: f.space, Name: spaceapi.ServiceAccountName}},
		}
		if _, err := env.Client.RbacV1().RoleBindings(f.space).Create(t.Context(), given, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		// The space has a binding of its own to the first of the roles.
		granted := map[string]authorizationv1.ResourceAttributes{
			"edit":  {Namespace: f.space, Verb: "create", Resource: "configmaps"},
			"admin": {Namespace: f.space, Verb: "create", Group: rbacv1.GroupName, Resource: "roles"},
		}
		f.awaitMay(t, user, granted[role])
		for _, verb := range []string{"create", "update", "patch", "delete", "deletecollection"} {
			for _, subresource := range []string{"", "status", "finalize"} {
				attributes := authorizationv1.ResourceAttributes{Namespace: f.space, Name: f.space, Verb: verb, Resource: "namespaces", Subresource: subresource}
				if allowed(t, user, attributes) {
					t.Errorf("with role %s, tenants may %s their namespaces/%s", role, verb, subresource)
				}
			}
		}
	}

	// A role that lets them is no help.
	env.Kubectl(t, "create", "rolebinding", "all", "--namespace="+f.space, "--clusterrole=cluster-admin", "--serviceaccount="+f.space+":space")
	f.awaitMay(t, user, authorizationv1.ResourceAttributes{Namespace: f.space, Name: f.space, Verb: "delete", Resource: "namespaces"})
	tenant := env.As(t, f.space, spaceapi.ServiceAccountName).CoreV1().Namespaces()
	const inside = "update or delete its Namespace"
	allDenied(t,
		try{"lowering the Pod Security Standard", func(ctx context.Context) error {
			_, err := tenant.Patch(ctx, f.space, types.MergePatchType, []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`), dryPatch)
			return err
		}, inside},
		try{"deleting the namespace", func(ctx context.Context) error { return tenant.Delete(ctx, f.space, dryDelete) }, inside},
	)
}

func allowed(t *testing.T, user string, attributes authorizationv1.ResourceAttributes) bool {
	t.Helper()
	answer, err := env.Client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: &attributes},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status.Allowed
}

// awaitMay waits until a new RoleBinding is in effect.
func (f *fenced) awaitMay(t *testing.T, user string, attributes authorizationv1.ResourceAttributes) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, framework.Patience, true, func(context.Context) (bool, error) {
		return allowed(t, user, attributes), nil
	}); err != nil {
		t.Fatalf("%s never got the right to %s %s", user, attributes.Verb, attributes.Resource)
	}
}

// typesAreRight looks at what the API server found out about the expressions: one
// that names a field which does not exist fails only when it comes to that.
func (f *fenced) typesAreRight(t *testing.T) {
	policies, err := env.Client.AdmissionregistrationV1().ValidatingAdmissionPolicies().List(t.Context(),
		metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=fenced"})
	if err != nil || len(policies.Items) == 0 {
		t.Fatalf("policies: %v (error: %v)", policies, err)
	}
	for _, policy := range policies.Items {
		checked := framework.AwaitAny(t, env.Client.AdmissionregistrationV1().RESTClient(), "validatingadmissionpolicies", "",
			framework.That("called "+policy.Name+" and checked", func(p *admissionv1.ValidatingAdmissionPolicy) bool {
				return p.Name == policy.Name && p.Status.TypeChecking != nil
			}))
		for _, warning := range checked.Status.TypeChecking.ExpressionWarnings {
			t.Errorf("policy %s, %s: %s", policy.Name, warning.FieldRef, warning.Warning)
		}
	}
}
