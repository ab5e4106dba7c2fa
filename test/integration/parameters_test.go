// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func opaque(raw string) resourceapi.DeviceConfiguration {
	return resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
		Driver: spaceapi.DefaultDriverName, Parameters: runtime.RawExtension{Raw: []byte(raw)},
	}}
}

// classJSON returns a SpaceClassConfig with these fields, written as in a JSON object.
func classJSON(fields string) string { return objectJSON(spaceapi.SpaceClassConfigKind, fields) }

// claimJSON returns a SpaceClaimConfig with these fields, written as in a JSON object.
func claimJSON(fields string) string { return objectJSON(spaceapi.SpaceClaimConfigKind, fields) }

func objectJSON(kind, fields string) string {
	if fields != "" {
		fields = "," + fields
	}
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q%s}`, spaceapi.APIVersion, kind, fields)
}

func classWith(name string, raws ...string) *resourceapi.DeviceClass {
	class := &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, raw := range raws {
		class.Spec.Config = append(class.Spec.Config, resourceapi.DeviceClassConfiguration{DeviceConfiguration: opaque(raw)})
	}
	return class
}

func claimWith(name string, raws ...string) *resourceapi.ResourceClaim {
	claim := framework.NewClaim(name)
	for _, raw := range raws {
		framework.WithParameters(claim, raw)
	}
	return claim
}

func templateWith(name string, raws ...string) *resourceapi.ResourceClaimTemplate {
	template := framework.NewTemplate(name)
	template.Spec.Spec = claimWith(name, raws...).Spec
	return template
}

// writer creates objects with parameters, as dry runs.
type writer struct{ namespace string }

func (w writer) class(raws ...string) framework.Request {
	return post("/apis/resource.k8s.io/v1/deviceclasses", framework.JSON(classWith("admission", raws...))).By(env.Client)
}

func (w writer) claim(raws ...string) framework.Request {
	return post(framework.DRAPath(w.namespace, "resourceclaims"), framework.JSON(claimWith("admission", raws...))).By(env.Client)
}

func (w writer) template(raws ...string) framework.Request {
	return post(framework.DRAPath(w.namespace, "resourceclaimtemplates"), framework.JSON(templateWith("admission", raws...))).By(env.Client)
}

func TestParameterPolicy(t *testing.T) {
	w := writer{env.Namespace(t)}
	old := before(t)
	manifest := applyChart(t, "admission", framework.DriverNamespace, nil, "admission-parameters.yaml")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), framework.Patience)
		defer cancel()
		if out, err := env.TryKubectl(ctx, "delete", "-f", manifest, "--wait=false"); err != nil {
			t.Errorf("delete the policies: %v: %s", err, out)
		}
	})
	framework.AwaitDenied(t, "parameters of a claim on a class", w.class(claimJSON("")), "must be a SpaceClassConfig of space.resource.example.com/v1alpha1")

	t.Run("denied parameters", w.deniedParameters)
	t.Run("allowed parameters", w.allowedParameters)
	t.Run("existing objects", old.staysAsItIs)
	t.Run("updates of a class", changedClass)
}

func (w writer) deniedParameters(t *testing.T) {
	const words = "parameters of driver space.resource.example.com"
	const podSecurity = words + ": podSecurity.enforce, audit and warn must be privileged, baseline or restricted"
	foreign := `{"apiVersion":"example.com/v1","kind":"Mystery","colour":"red"}`
	for raw, want := range map[string]string{
		classJSON(""): words + " must be a SpaceClaimConfig of space.resource.example.com/v1alpha1",
		foreign:       words + " must be a SpaceClaimConfig",
		`{}`:          words + " must be a SpaceClaimConfig",
		strings.Replace(claimJSON(""), "v1alpha1", "v9", 1):   words + " must be a SpaceClaimConfig",
		strings.Replace(claimJSON(""), `"kind"`, `"Kind"`, 1): words + " must be a SpaceClaimConfig",
		claimJSON(`"maxLivetime":"8h"`):                       words + ": SpaceClaimConfig has no field maxLivetime",
		claimJSON(`"MaxLifetime":"8h"`):                       words + ": SpaceClaimConfig has no field MaxLifetime",
		claimJSON(`"retention":{"period":"1h"}`):              words + ": SpaceClaimConfig has no field retention",
		claimJSON(`"mountPath":7`):                            words + ": mountPath must be a string",
		claimJSON(`"exclusive":"yes"`):                        words + ": exclusive must be a boolean",
		claimJSON(`"labels":["a"]`):                           words + ": labels must be a map",
		claimJSON(`"network":{"mode":"Open"}`):                words + ": network.mode must be Isolated",
		claimJSON(`"podSecurity":{"enforce":"strict"}`):       podSecurity,
	} {
		framework.CheckDenied(t, raw, w.claim(raw)(t.Context()), want)
		framework.CheckDenied(t, raw, w.template(raw)(t.Context()), want)
		framework.CheckDenied(t, "another and "+raw, w.claim(claimJSON(""), raw)(t.Context()), want)
	}
	for raw, want := range map[string]string{
		foreign:                                  words + " must be a SpaceClassConfig",
		classJSON(`"maxLivetime":"8h"`):          words + ": SpaceClassConfig has no field maxLivetime",
		classJSON(`"inCluster":true`):            words + ": SpaceClassConfig has no field inCluster",
		classJSON(`"allowNestedSpaces":"yes"`):   words + ": allowNestedSpaces must be a boolean",
		classJSON(`"clusterWideRoles":"x"`):      words + ": clusterWideRoles must be a list",
		classJSON(`"maxLifetime":60`):            words + ": maxLifetime must be a string",
		classJSON(`"copyFrom":["a"]`):            words + ": copyFrom must be a map",
		classJSON(`"network":{"mode":"Closed"}`): words + ": network.mode must be Isolated or Open",
		classJSON(`"podSecurity":{"warn":7}`):    podSecurity,
	} {
		framework.CheckDenied(t, raw, w.class(raw)(t.Context()), want)
	}
}

// largest are parameters with as many entries as there may be.
func largest(t *testing.T, full func(fields string) string) string {
	t.Helper()
	labels, quotas, variables := map[string]string{}, map[string]string{}, map[string]string{}
	for i := range 64 {
		labels[fmt.Sprintf("example%d.com/%s", i, strings.Repeat("l", 20))] = "some-value"
		quotas[fmt.Sprintf("requests.example%d.com/%s", i, strings.Repeat("q", 20))] = "500"
		variables[fmt.Sprintf("variable_%d", i)] = "some-value"
	}
	raw, err := json.Marshal(map[string]any{"labels": labels, "resourceQuota": map[string]any{"hard": quotas}, "env": variables})
	if err != nil {
		t.Fatal(err)
	}
	return full(string(raw[1 : len(raw)-1]))
}

func (w writer) allowedParameters(t *testing.T) {
	for _, raw := range []string{
		classJSON(``),
		classJSON(`"labels":null,"podSecurity":{},"maxLifetime":null,"clusterRoles":[],"limitRange":{"limits":[]},"allowNestedSpaces":null,"network":null,"copyFrom":null`),
		classJSON(`"namespacePrefix":"ci-","labels":{"a":"b"},"annotations":{"c":"d"},"clusterRoles":["edit"],"inheritLabels":["i"],"allowedLabels":["*","a"],"allowedClusterRoles":["view"],
			"clusterWideRoles":["crds"],"podSecurity":{"enforce":"privileged","audit":"baseline","warn":"restricted"},"resourceQuota":{"hard":{"requests.cpu":"4","pods":10}},"allowNestedSpaces":true,
			"limitRange":{"limits":[{"type":"Container","default":{"cpu":"1"}}]},"network":{"mode":"Open"},"tokenLifetime":"10m","maxLifetime":"8h","retention":{"period":"30m"},
			"copyFrom":{"namespace":"a","secrets":[{"name":"b"}],"configMaps":[{"name":"c"}],"imagePullSecrets":[{"name":"b"}]},"allowAdminAccess":true,"exclusive":true,"env":{"e":"f"}`),
		// The controller reports these.
		classJSON(`"clusterRoles":["a/b"],"maxLifetime":"soon","copyFrom":{"secret":"x"}`),
	} {
		if err := w.class(raw)(t.Context()); err != nil {
			t.Errorf("class %s: %v", raw, err)
		}
	}
	for _, raw := range []string{
		claimJSON(``),
		claimJSON(`"clusterRoles":["view"],"labels":{"a":"b"},"podSecurity":{"enforce":"restricted","audit":"privileged"},"resourceQuota":{"hard":{"pods":"0"}},"network":{"mode":"Isolated"},
			"maxLifetime":"1ns","envPrefix":"A_1","mountPath":"/creds","inCluster":true,"kubeconfigEnv":true,"exclusive":true,"env":{"_":""}`),
		claimJSON(`"labels":{"a":7},"mountPath":"/proc"`),
	} {
		if err := errors.Join(w.claim(raw)(t.Context()), w.template(raw)(t.Context())); err != nil {
			t.Errorf("claim %s: %v", raw, err)
		}
	}
	// The API server limits what a policy may cost.
	var many []string
	for range resourceapi.DeviceConfigMaxSize {
		many = append(many, largest(t, claimJSON))
	}
	if err := w.claim(many...)(t.Context()); err != nil {
		t.Errorf("as many and as large parameters as a claim can have: %v", err)
	}
	for i := range many {
		many[i] = largest(t, classJSON)
	}
	if err := w.class(many...)(t.Context()); err != nil {
		t.Errorf("as many and as large parameters as a class can have: %v", err)
	}
	foreign := claimWith("admission", `{"kind":"Mystery"}`)
	foreign.Spec.Devices.Config[0].Opaque.Driver = "gpu.example.com"
	allowed(t, env.Client, map[string]framework.Call{
		"the parameters of another driver": post(framework.DRAPath(w.namespace, "resourceclaims"), framework.JSON(foreign)),
	})
}

// The controller reports what the policy allows: all errors of an object, each with
// its path.
func TestInvalidParameters_areReportedWithTheirPaths(t *testing.T) {
	startController(t, env)
	ns := env.Namespace(t)
	events := env.Client.CoreV1().RESTClient()
	for name, test := range map[string]struct{ class, claim, want string }{
		"class": {classJSON(`"clusterRoles":["a/b"],"maxLifetime":"soon","copyFrom":{"secrets":[{"name":"x"}]}`), "",
			`copyFrom.namespace: Required value`},
		"claim": {"", claimJSON(`"labels":{"a b":"c"},"mountPath":"/proc/1"`), `labels: Invalid value: "a b"`},
		"both":  {classJSON(`"maxLifetime":"1h"`), claimJSON(`"maxLifetime":"2h"`), `maxLifetime: Invalid value: "2h0m0s"`},
		// The API server validates what is of its own types.
		"quota":  {classJSON(`"resourceQuota":{"hard":{"pods":"500m"}}`), "", `spec.hard[pods]: Invalid value: "500m"`},
		"limits": {classJSON(`"limitRange":{"limits":[{"type":"Container","min":{"cpu":"2"},"max":{"cpu":"1"}}]}`), "", `spec.limits[0].min[cpu]: Invalid value: "2"`},
	} {
		t.Run(name, func(t *testing.T) {
			claim := framework.NewClaim(name)
			if test.claim != "" {
				framework.WithParameters(claim, test.claim)
			}
			env.CreateClaim(t, ns, claim)
			allocateTo(t, spaceapi.DefaultDriverName, ns, name, test.class)
			framework.Await(t, framework.Claim(env.Client, ns, name), framework.NotReadyBecause(spaceapi.ReasonInvalidParameters, test.want))
			framework.AwaitAny[*corev1.Event](t, events, "events", ns, framework.About("ResourceClaim", name, spaceapi.ReasonInvalidParameters, test.want))
			framework.Deallocate(t, env, ns, name)
		})
	}
}

// oldObjects were written before the policies.
type oldObjects struct{ namespace string }

const badClaim, badClass = `"maxLivetime":"8h"`, `"maxLivetime":"9h"`

func before(t *testing.T) oldObjects {
	t.Helper()
	o := oldObjects{env.Namespace(t)}
	env.CreateClaim(t, o.namespace, claimWith("old", claimJSON(badClaim)))
	addFinalizer(t, o.namespace, "old")
	if _, err := env.Client.ResourceV1().ResourceClaimTemplates(o.namespace).Create(t.Context(), templateWith("old", claimJSON(badClaim)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	makeClass(t, classWith("old", classJSON(badClass)))
	return o
}

// makeClass creates a DeviceClass for one test.
func makeClass(t *testing.T, class *resourceapi.DeviceClass) {
	t.Helper()
	classes := env.Client.ResourceV1().DeviceClasses()
	if _, err := classes.Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := classes.Delete(context.Background(), class.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func (o oldObjects) staysAsItIs(t *testing.T) {
	api := env.Client.ResourceV1()
	label := []byte(`{"metadata":{"labels":{"a":"b"}}}`)
	if _, err := api.ResourceClaims(o.namespace).Patch(t.Context(), "old", mergePatch, label, metav1.PatchOptions{}); err != nil {
		t.Errorf("label the claim: %v", err)
	}
	if _, err := api.ResourceClaimTemplates(o.namespace).Patch(t.Context(), "old", mergePatch, label, metav1.PatchOptions{}); err != nil {
		t.Errorf("label the template: %v", err)
	}
	if _, err := api.DeviceClasses().Patch(t.Context(), "old", mergePatch, label, metav1.PatchOptions{}); err != nil {
		t.Errorf("label the class: %v", err)
	}
	if _, err := api.DeviceClasses().Patch(t.Context(), "old", mergePatch, []byte(`{"spec":{"selectors":[{"cel":{"expression":"true"}}]}}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("change something else in the class: %v", err)
	}

	modify(t, env, o.namespace, "old", allocationFor(spaceapi.DefaultDriverName))
	deallocate(t, env, o.namespace, "old")
	if err := api.ResourceClaims(o.namespace).Delete(t.Context(), "old", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// kube-controller-manager takes its finalizer.
	framework.AwaitGone[*resourceapi.ResourceClaim](t, framework.Claim(env.Client, o.namespace, "old"))
}

func changedClass(t *testing.T) {
	makeClass(t, classWith("changed", classJSON(`"exclusive":true`)))
	classes := env.Client.ResourceV1().DeviceClasses()
	update := func(name string, raws ...string) error {
		class, err := classes.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		class.Spec = classWith(name, raws...).Spec
		_, err = classes.Update(t.Context(), class, metav1.UpdateOptions{})
		return err
	}
	const words = "parameters of driver space.resource.example.com: "
	framework.CheckDenied(t, "a bad field", update("changed", classJSON(`"exclusive":"yes"`)), words+"exclusive must be a boolean")
	framework.CheckDenied(t, "another bad field for an old one", update("old", classJSON(badClaim)), words+"SpaceClassConfig has no field maxLivetime")
	for _, name := range []string{"changed", "old"} {
		if err := update(name, classJSON(`"exclusive":false`)); err != nil {
			t.Errorf("a good change of class %s: %v", name, err)
		}
	}
}
