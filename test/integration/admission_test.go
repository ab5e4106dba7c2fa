// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters/parameterstest"
	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	// byTheAPIServer is about what the API server itself does not take.
	byTheAPIServer = "it is no JSON object"
	// byTheController is about what an admission policy cannot know.
	byTheController = "it depends on the class"
	// unseen is about what a policy is not shown: it gets the last of such fields only.
	unseen = "a field is there twice"
)

// notByAdmission says why cases are not refused by the policies.
func notByAdmission(name string) string {
	switch name {
	case "class: no JSON", "claim: no JSON", "class: a list", "claim: something after the object", "claim: null":
		return byTheAPIServer
	case "class: a field twice", "claim: a field twice", "class: the kind twice", "class: a quantity too large to compare, and another":
		return unseen
	case "both: a label of Kubernetes where all are allowed":
		return ""
	}
	if strings.HasPrefix(name, "both: ") {
		return byTheController
	}
	return ""
}

func opaque(raw string) resourceapi.DeviceConfiguration {
	return resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
		Driver: spaceapi.DefaultDriverName, Parameters: runtime.RawExtension{Raw: []byte(raw)},
	}}
}

// byController is what the controller's own code says of a case.
func byController(c parameterstest.Case) error {
	var configs []resourceapi.DeviceAllocationConfiguration
	if c.Class != "" {
		configs = append(configs, resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClass, DeviceConfiguration: opaque(c.Class)})
	}
	if c.Claim != "" {
		configs = append(configs, resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClaim, DeviceConfiguration: opaque(c.Claim)})
	}
	installation := parameters.Installation{Driver: spaceapi.DefaultDriverName, ClusterRole: "edit", PodSecurity: "baseline", Network: spaceapi.NetworkOpen}
	_, err := parameters.For(installation, configs, "space", []string{"space"})
	return err
}

// writer writes objects with parameters, or says why it cannot.
type writer struct{ namespace string }

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

func (w writer) class(ctx context.Context, raws ...string) error {
	_, err := env.Client.ResourceV1().DeviceClasses().Create(ctx, classWith("admission", raws...), dryRun)
	return err
}

func (w writer) claim(ctx context.Context, raws ...string) error {
	_, err := env.Client.ResourceV1().ResourceClaims(w.namespace).Create(ctx, claimWith("admission", raws...), dryRun)
	return err
}

func (w writer) template(ctx context.Context, raws ...string) error {
	_, err := env.Client.ResourceV1().ResourceClaimTemplates(w.namespace).Create(ctx, templateWith("admission", raws...), dryRun)
	return err
}

// said is what a policy denied a request with, and otherwise how it went.
func said(err error) string {
	_, words, ok := strings.Cut(fmt.Sprint(err), "denied request: ")
	if !ok {
		return fmt.Sprintf("not denied: %v", err)
	}
	return words
}

func TestBadParametersAreRefusedWhenTheyAreWritten(t *testing.T) {
	w := writer{env.Namespace(t)}
	old := before(t)
	saysTheSame(t)

	manifest := applyChart(t, "admission", framework.DriverNamespace, nil, "admission-parameters.yaml")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), framework.Patience)
		defer cancel()
		if out, err := env.TryKubectl(ctx, "delete", "-f", manifest, "--wait=false"); err != nil {
			t.Errorf("delete the policies: %v: %s", err, out)
		}
	})
	awaitDenied(t, "parameters of a claim on a class", func(ctx context.Context) error { return w.class(ctx, parameterstest.Claim("")) }, "of kind SpaceClaimConfig, which only a ")
	awaitDenied(t, "parameters of a class on a claim", func(ctx context.Context) error { return w.claim(ctx, parameterstest.Class("")) }, "of kind SpaceClassConfig, which only a ")
	awaitDenied(t, "parameters of a class on a template", func(ctx context.Context) error { return w.template(ctx, parameterstest.Class("")) }, "of kind SpaceClassConfig, which only a ")

	t.Run("in the controller's words", w.inTheSameWords)
	t.Run("and good ones are not", w.goodOnesAreTaken)
	t.Run("the first that are wrong", w.theFirst)
	t.Run("and those from before stay as they are", old.staysAsItIs)
	t.Run("and a class gets none later", changedClass)
}

func (w writer) inTheSameWords(t *testing.T) {
	same := 0
	for _, c := range parameterstest.Refused() {
		want := byController(c).Error()
		class, claim, template := error(nil), error(nil), error(nil)
		if c.Class != "" {
			class = w.class(t.Context(), c.Class)
		}
		if c.Claim != "" {
			claim, template = w.claim(t.Context(), c.Claim), w.template(t.Context(), c.Claim)
		}
		switch notByAdmission(c.Name) {
		case byTheAPIServer:
			if class == nil && claim == nil || c.Claim != "" && template == nil {
				t.Errorf("%s: the API server takes it", c.Name)
			}
			continue
		case byTheController, unseen:
			if class != nil || claim != nil || template != nil {
				t.Errorf("%s: a case that was said to pass admission: %v, %v, %v", c.Name, class, claim, template)
			}
			continue
		}
		same++
		if strings.HasPrefix(want, "the DeviceClass ") {
			if got := said(class); got != want {
				t.Errorf("%s: the class:\n got %s\nwant %s", c.Name, got, want)
			}
			continue
		}
		if got := said(claim); got != want {
			t.Errorf("%s: the claim:\n got %s\nwant %s", c.Name, got, want)
		}
		want = strings.Replace(want, "the ResourceClaim has", "the ResourceClaimTemplate has", 1)
		if got := said(template); got != want {
			t.Errorf("%s: the template:\n got %s\nwant %s", c.Name, got, want)
		}
	}
	t.Logf("%d of %d cases are refused by both in the same words", same, len(parameterstest.Refused()))
	if same < 200 {
		t.Errorf("only %d cases are refused by both", same)
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
	raw, err := json.Marshal(map[string]any{"labels": labels, "resourceQuota": quotas, "parameters": variables})
	if err != nil {
		t.Fatal(err)
	}
	return full(strings.Trim(string(raw), "{}") + "}")
}

func (w writer) goodOnesAreTaken(t *testing.T) {
	for _, c := range parameterstest.Accepted() {
		if c.Class != "" {
			if err := w.class(t.Context(), c.Class); err != nil {
				t.Errorf("%s: the class: %v", c.Name, err)
			}
		}
		if c.Claim == "" {
			continue
		}
		if err := w.claim(t.Context(), c.Claim); err != nil {
			t.Errorf("%s: the claim: %v", c.Name, err)
		}
		if err := w.template(t.Context(), c.Claim); err != nil {
			t.Errorf("%s: the template: %v", c.Name, err)
		}
	}
	// The API server limits what a policy may cost.
	var many []string
	for range resourceapi.DeviceConfigMaxSize {
		many = append(many, largest(t, parameterstest.Claim))
	}
	if err := w.claim(t.Context(), many...); err != nil {
		t.Errorf("as many and as large parameters as a claim can have: %v", err)
	}
	for i := range many {
		many[i] = largest(t, parameterstest.Class)
	}
	if err := w.class(t.Context(), many...); err != nil {
		t.Errorf("as many and as large parameters as a class can have: %v", err)
	}
	foreign := claimWith("admission", `{"kind":"Mystery"}`)
	foreign.Spec.Devices.Config[0].Opaque.Driver = "gpu.example.com"
	if _, err := env.Client.ResourceV1().ResourceClaims(w.namespace).Create(t.Context(), foreign, dryRun); err != nil {
		t.Errorf("the parameters of another driver: %v", err)
	}
}

func (w writer) theFirst(t *testing.T) {
	err := w.claim(t.Context(), parameterstest.Claim(""), parameterstest.Claim(`"maxLivetime":"8h"`), parameterstest.Claim(`"network":"Open"`))
	denied(t, "two of three", err, `not as they should be: unknown field "maxLivetime"`)
	if err != nil && strings.Contains(err.Error(), "network") {
		t.Errorf("more than the first: %v", err)
	}
}

// saysTheSame checks that the running controller says in conditions what the policies
// are compared with.
func saysTheSame(t *testing.T) {
	t.Helper()
	startController(t, env)
	ns := env.Namespace(t)
	names := map[string]parameterstest.Case{}
	for i, c := range parameterstest.Refused() {
		if notByAdmission(c.Name) == byTheAPIServer {
			continue
		}
		name := fmt.Sprintf("case-%d", i)
		names[name] = c
		claim := framework.NewClaim(name)
		if c.Claim != "" {
			framework.WithParameters(claim, c.Claim)
		}
		env.CreateClaim(t, ns, claim)
		allocateTo(t, spaceapi.DefaultDriverName, ns, name, c.Class)
	}
	for name, c := range names {
		claim := framework.Await(t, framework.Claim(env.Client, ns, name), framework.NotReadyBecause(spaceapi.ReasonRefused, ""))
		want := byController(c).Error()
		if got := meta.FindStatusCondition(claim.Status.Devices[0].Conditions, spaceapi.ConditionReady).Message; got != want {
			t.Errorf("%s: the condition:\n got %s\nwant %s", c.Name, got, want)
		}
	}
	// Events are limited per source and object; each claim has its own.
	for _, i := range []int{11, 60, 120, 180, 220} {
		name := fmt.Sprintf("case-%d", i)
		framework.AwaitAny[*corev1.Event](t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("ResourceClaim", name, spaceapi.ReasonRefused, byController(names[name]).Error()))
	}
	for name := range names {
		framework.Deallocate(t, env, ns, name)
	}
}

// oldObjects were written before the policies.
type oldObjects struct{ namespace string }

const badClaim, badClass = `"maxLivetime":"8h"`, `"maxLivetime":"9h"`

func before(t *testing.T) oldObjects {
	t.Helper()
	o := oldObjects{env.Namespace(t)}
	env.CreateClaim(t, o.namespace, claimWith("old", parameterstest.Claim(badClaim)))
	addFinalizer(t, o.namespace, "old")
	if _, err := env.Client.ResourceV1().ResourceClaimTemplates(o.namespace).Create(t.Context(), templateWith("old", parameterstest.Claim(badClaim)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	makeClass(t, classWith("old", parameterstest.Class(badClass)))
	return o
}

// makeClass makes a DeviceClass for the time of a test.
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
	makeClass(t, classWith("changed", parameterstest.Class(`"exclusive":true`)))
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
	const words = "the DeviceClass has parameters for driver space.resource.example.com that are not as they should be: "
	denied(t, "a bad field", update("changed", parameterstest.Class(`"exclusive":"yes"`)), words+`exclusive: Invalid value: "yes": must be true or false`)
	denied(t, "another bad field for an old one", update("old", parameterstest.Class(badClaim)), words+`unknown field "maxLivetime"`)
	for _, name := range []string{"changed", "old"} {
		if err := update(name, parameterstest.Class(`"exclusive":false`)); err != nil {
			t.Errorf("a good change of class %s: %v", name, err)
		}
	}
}
