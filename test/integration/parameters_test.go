// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// classJSON returns a SpaceClassConfig with these JSON fields.
func classJSON(fields string) string {
	return framework.ConfigJSON(spaceapi.SpaceClassConfigKind, fields)
}

// claimJSON returns a SpaceClaimConfig with these JSON fields.
func claimJSON(fields string) string {
	return framework.ConfigJSON(spaceapi.SpaceClaimConfigKind, fields)
}

func classWith(name string, raws ...string) *resourceapi.DeviceClass {
	class := &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, config := range claimWith(name, raws...).Spec.Devices.Config {
		class.Spec.Config = append(class.Spec.Config, resourceapi.DeviceClassConfiguration{DeviceConfiguration: config.DeviceConfiguration})
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

// dryRuns creates objects with parameters in a namespace, as dry runs.
type dryRuns struct{ namespace string }

func (w dryRuns) class(raws ...string) framework.Call {
	return post("/apis/resource.k8s.io/v1/deviceclasses", framework.JSON(classWith("admission", raws...)))
}

func (w dryRuns) claim(raws ...string) framework.Call {
	return post(framework.DRAPath(w.namespace, "resourceclaims"), framework.JSON(claimWith("admission", raws...)))
}

func (w dryRuns) template(raws ...string) framework.Call {
	return post(framework.DRAPath(w.namespace, "resourceclaimtemplates"), framework.JSON(templateWith("admission", raws...)))
}

func TestParameterPolicy_rejectsInvalidParameters(t *testing.T) {
	w := dryRuns{env.Namespace(t)}
	w.createExisting(t)
	manifest := applyChart(t, "admission", framework.DriverNamespace, nil, "admission-parameters.yaml")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), framework.Timeout)
		defer cancel()
		if out, err := env.TryKubectl(ctx, "delete", "-f", manifest, "--wait=false"); err != nil {
			t.Errorf("delete the policies: %v: %s", err, out)
		}
	})
	denied(t, env.Client, denial{"parameters of a claim on a class", w.class(claimJSON("")), "must be a SpaceClassConfig of space.resource.example.com/v1alpha1"})

	t.Run("denied parameters", w.testDenied)
	t.Run("allowed parameters", w.testAllowed)
	t.Run("existing objects", w.testExisting)
	t.Run("updates of a class", testClassUpdates)
}

func (w dryRuns) testDenied(t *testing.T) {
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
		claimJSON(`"access":[]`):                              words + ": SpaceClaimConfig has no field access",
		claimJSON(`"maxExtension":"1h"`):                      words + ": SpaceClaimConfig has no field maxExtension",
		claimJSON(`"mountPath":7`):                            words + ": mountPath must be a string",
		claimJSON(`"exclusive":"yes"`):                        words + ": exclusive must be a boolean",
		claimJSON(`"labels":["a"]`):                           words + ": labels must be a map",
		claimJSON(`"network":{"mode":"Open"}`):                words + ": network.mode must be Isolated",
		claimJSON(`"podSecurity":{"enforce":"strict"}`):       podSecurity,
	} {
		denied(t, env.Client, denial{raw, w.claim(raw), want}, denial{raw, w.template(raw), want}, denial{"another and " + raw, w.claim(claimJSON(""), raw), want})
	}
	for raw, want := range map[string]string{
		foreign:                                   words + " must be a SpaceClassConfig",
		classJSON(`"maxLivetime":"8h"`):           words + ": SpaceClassConfig has no field maxLivetime",
		classJSON(`"inCluster":true`):             words + ": SpaceClassConfig has no field inCluster",
		classJSON(`"allowNestedSpaces":"yes"`):    words + ": allowNestedSpaces must be a boolean",
		classJSON(`"clusterWideRoles":"x"`):       words + ": clusterWideRoles must be a list",
		classJSON(`"access":{}`):                  words + ": access must be a list",
		classJSON(`"access":[{"when":"Never"}]`):  words + ": access.when must be Ready, Retained or Always",
		classJSON(`"maxLifetime":60`):             words + ": maxLifetime must be a string",
		classJSON(`"copyFrom":["a"]`):             words + ": copyFrom must be a map",
		classJSON(`"network":{"mode":"Closed"}`):  words + ": network.mode must be Isolated or Open",
		classJSON(`"podSecurity":{"warn":7}`):     podSecurity,
		classJSON(`"maxExtension":60`):            words + ": maxExtension must be a string",
		classJSON(`"retention":{"when":"Never"}`): words + ": retention.when must be Always or OnFailure",
	} {
		denied(t, env.Client, denial{raw, w.class(raw), want})
	}
}

// largest returns fields of parameters with the maximum number of entries.
func largest() string {
	labels, quotas, variables := map[string]string{}, map[string]string{}, map[string]string{}
	for i := range 64 {
		labels[fmt.Sprintf("example%d.com/%s", i, strings.Repeat("l", 20))] = "some-value"
		quotas[fmt.Sprintf("requests.example%d.com/%s", i, strings.Repeat("q", 20))] = "500"
		variables[fmt.Sprintf("variable_%d", i)] = "some-value"
	}
	raw := framework.JSON(map[string]any{"labels": labels, "resourceQuota": map[string]any{"hard": quotas}, "env": variables})
	return raw[1 : len(raw)-1]
}

func (w dryRuns) testAllowed(t *testing.T) {
	foreign := claimWith("admission", `{"kind":"Mystery"}`)
	foreign.Spec.Devices.Config[0].Opaque.Driver = "gpu.example.com"
	calls := map[string]framework.Call{
		// The API server limits the cost of policies.
		"a claim with as many and as large parameters as allowed": w.claim(slices.Repeat([]string{claimJSON(largest())}, resourceapi.DeviceConfigMaxSize)...),
		"a class with as many and as large parameters as allowed": w.class(slices.Repeat([]string{classJSON(largest())}, resourceapi.DeviceConfigMaxSize)...),
		"the parameters of another driver":                        post(framework.DRAPath(w.namespace, "resourceclaims"), framework.JSON(foreign)),
	}
	for _, raw := range []string{
		classJSON(``),
		classJSON(`"labels":null,"podSecurity":{},"maxLifetime":null,"clusterRoles":[],"limitRange":{"limits":[]},"allowNestedSpaces":null,"network":null,"copyFrom":null`),
		classJSON(`"namespacePrefix":"ci-","labels":{"a":"b"},"annotations":{"c":"d"},"clusterRoles":["edit"],"inheritLabels":["i"],"allowedLabels":["*","a"],"allowedClusterRoles":["view"],
			"clusterWideRoles":["crds"],"access":[{"subjects":[{"kind":"Group","name":"a"}],"clusterRole":"view"},{"clusterRole":"view","when":"Always"}],"podSecurity":{"enforce":"privileged","audit":"baseline","warn":"restricted"},"resourceQuota":{"hard":{"requests.cpu":"4","pods":10}},"allowNestedSpaces":true,
			"limitRange":{"limits":[{"type":"Container","default":{"cpu":"1"}}]},"network":{"mode":"Open"},"tokenLifetime":"10m","maxLifetime":"8h","maxExtension":"4h","maxTerminationGracePeriod":"1m","retention":{"period":"30m","when":"OnFailure"},
			"copyFrom":{"namespace":"a","secrets":[{"name":"b"}],"configMaps":[{"name":"c"}],"imagePullSecrets":[{"name":"b"}]},"allowAdminAccess":true,"disableEtcMount":true,"exclusive":true,"env":{"e":"f"}`),
		// The controller reports these.
		classJSON(`"access":["a",{"when":null},{"when":""}],"clusterRoles":["a/b"],"maxLifetime":"soon","copyFrom":{"secret":"x"}`),
	} {
		calls["class "+raw] = w.class(raw)
	}
	for _, raw := range []string{
		claimJSON(``),
		claimJSON(`"clusterRoles":["view"],"labels":{"a":"b"},"podSecurity":{"enforce":"restricted","audit":"privileged"},"resourceQuota":{"hard":{"pods":"0"}},"network":{"mode":"Isolated"},
			"maxLifetime":"1ns","envPrefix":"A_1","mountPath":"/creds","inCluster":true,"kubeconfigEnv":true,"embedToken":true,"exclusive":true,"env":{"_":""}`),
		claimJSON(`"labels":{"a":7},"mountPath":"/proc"`),
	} {
		calls["claim "+raw], calls["template "+raw] = w.claim(raw), w.template(raw)
	}
	allowed(t, env.Client, calls)
}

// TestInvalidParameters_areReportedWithTheirPaths has parameters that the policy allows and the
// controller rejects.
func TestInvalidParameters_areReportedWithTheirPaths(t *testing.T) {
	startController(t, env)
	ns := env.Namespace(t)
	for name, test := range map[string]struct{ class, claim, want string }{
		"class": {class: `"clusterRoles":["a/b"],"maxLifetime":"soon","copyFrom":{"secrets":[{"name":"x"}]}`, want: `copyFrom.namespace: Required value`},
		"claim": {claim: `"labels":{"a b":"c"},"mountPath":"/proc/1"`, want: `labels: Invalid value: "a b"`},
		// The Helm values do not name the role.
		"access": {class: `"access":[` + accessOf("team", "admin", spaceapi.AccessReady) + `]`, want: `access[0].clusterRole: Invalid value: "admin": add it to the Helm value space.allowedClusterRoles`},
		"both":   {class: `"maxLifetime":"1h"`, claim: `"maxLifetime":"2h"`, want: `maxLifetime: Invalid value: "2h0m0s"`},
		// The API server validates these.
		"quota":  {class: `"resourceQuota":{"hard":{"pods":"500m"}}`, want: `spec.hard[pods]: Invalid value: "500m"`},
		"limits": {class: `"limitRange":{"limits":[{"type":"Container","min":{"cpu":"2"},"max":{"cpu":"1"}}]}`, want: `spec.limits[0].min[cpu]: Invalid value: "2"`},
	} {
		t.Run(name, func(t *testing.T) {
			env.CreateClaim(t, ns, claimWith(name, claimJSON(test.claim)))
			allocate(t, env, ns, name, framework.WithClassConfig(test.class))
			framework.Await(t, framework.Claim(env.Client, ns, name), framework.NotReadyBecause(spaceapi.ReasonInvalidParameters, test.want))
			awaitEvent(t, ns, "ResourceClaim", name, spaceapi.ReasonInvalidParameters, test.want)
			deallocate(t, env, ns, name)
		})
	}
}

const invalidClaim, invalidClass = `"maxLivetime":"8h"`, `"maxLivetime":"9h"`

// createExisting creates objects called old, with invalid parameters, before the policies exist.
func (w dryRuns) createExisting(t *testing.T) {
	t.Helper()
	env.CreateClaim(t, w.namespace, claimWith("old", claimJSON(invalidClaim)))
	if _, err := env.Client.ResourceV1().ResourceClaimTemplates(w.namespace).Create(t.Context(), templateWith("old", claimJSON(invalidClaim)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	createClass(t, classWith("old", classJSON(invalidClass)))
}

// createClass creates a DeviceClass for one test.
func createClass(t *testing.T, class *resourceapi.DeviceClass) {
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

// testExisting changes, allocates and deletes objects with invalid parameters.
func (w dryRuns) testExisting(t *testing.T) {
	for _, resource := range []string{"resourceclaim", "resourceclaimtemplate", "deviceclass"} {
		env.Kubectl(t, "label", resource, "old", "-n", w.namespace, "a=b")
	}
	env.Kubectl(t, "patch", "deviceclass", "old", "--type=merge", "-p", `{"spec":{"selectors":[{"cel":{"expression":"true"}}]}}`)
	allocate(t, env, w.namespace, "old")
	deallocate(t, env, w.namespace, "old")
	// kube-controller-manager removes the claim's finalizer.
	env.Kubectl(t, "delete", "resourceclaim", "old", "-n", w.namespace)
}

func testClassUpdates(t *testing.T) {
	createClass(t, classWith("changed", classJSON(`"exclusive":true`)))
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
	framework.CheckDenied(t, "an invalid field", update("changed", classJSON(`"exclusive":"yes"`)), words+"exclusive must be a boolean")
	framework.CheckDenied(t, "another invalid field in a class that has one", update("old", classJSON(invalidClaim)), words+"SpaceClassConfig has no field maxLivetime")
	for _, name := range []string{"changed", "old"} {
		if err := update(name, classJSON(`"exclusive":false`)); err != nil {
			t.Errorf("a valid change of class %s: %v", name, err)
		}
	}
}
