// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package readme

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// The CI systems' own types, as far as the page shows them.
type (
	runnerScaleSetValues struct {
		ContainerMode struct {
			Type                          string                           `json:"type"`
			KubernetesModeWorkVolumeClaim corev1.PersistentVolumeClaimSpec `json:"kubernetesModeWorkVolumeClaim"`
		} `json:"containerMode"`
		Template corev1.PodTemplateSpec `json:"template"`
	}
	gitLabRunnerValues struct {
		Runners struct {
			Config string `json:"config"`
		} `json:"runners"`
	}
	workflow struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			ServiceAccountName string             `json:"serviceAccountName"`
			Entrypoint         string             `json:"entrypoint"`
			OnExit             string             `json:"onExit"`
			Templates          []workflowTemplate `json:"templates"`
		} `json:"spec"`
	}
	workflowTemplate struct {
		Name           string                    `json:"name"`
		Daemon         bool                      `json:"daemon"`
		PodSpecPatch   string                    `json:"podSpecPatch"`
		ResourceClaims []corev1.PodResourceClaim `json:"resourceClaims"`
		Container      *corev1.Container         `json:"container"`
		Resource       struct {
			Action            string `json:"action"`
			SetOwnerReference bool   `json:"setOwnerReference"`
			Manifest          string `json:"manifest"`
		} `json:"resource"`
		Steps [][]struct {
			Name     string `json:"name"`
			Template string `json:"template"`
		} `json:"steps"`
	}
	taskRun struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			TaskSpec taskSpec `json:"taskSpec"`
		} `json:"spec"`
	}
	taskSpec struct {
		Steps []struct {
			Name             string                      `json:"name"`
			Image            string                      `json:"image"`
			Script           string                      `json:"script"`
			ComputeResources corev1.ResourceRequirements `json:"computeResources"`
		} `json:"steps"`
	}
	pipelineTask struct {
		Name     string   `json:"name"`
		RunAfter []string `json:"runAfter"`
		TaskSpec taskSpec `json:"taskSpec"`
	}
	pipelineRun struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			TaskRunTemplate struct {
				ServiceAccountName string `json:"serviceAccountName"`
			} `json:"taskRunTemplate"`
			PipelineSpec struct {
				Tasks   []pipelineTask `json:"tasks"`
				Finally []pipelineTask `json:"finally"`
			} `json:"pipelineSpec"`
		} `json:"spec"`
	}
	actionsWorkflow struct {
		Name string `json:"name"`
		On   string `json:"true"` // To YAML 1.1, "on" is a boolean.
		Jobs map[string]struct {
			RunsOn string            `json:"runs-on"`
			Env    map[string]string `json:"env"`
			Steps  []struct {
				Uses string `json:"uses"`
				If   string `json:"if"`
				Run  string `json:"run"`
			} `json:"steps"`
		} `json:"jobs"`
	}
)

// gitLabPatch is the patch of a pod in a configuration of GitLab Runner.
var gitLabPatch = regexp.MustCompile(`(?s)patch = '''\n(.*?)'''`)

// manifests decodes what a page shows. Its errors fail the test.
type manifests struct{ *testing.T }

func (m manifests) decode(text string, into any) {
	m.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		m.Errorf("%v, in:\n%s", err, text)
	}
}

// block decodes a block of the page, by its kind or the field that it begins with.
func (m manifests) block(text string) {
	var object struct {
		metav1.TypeMeta `json:",inline"`
		Runners         any `json:"runners"`
		Template        any `json:"template"`
		Jobs            any `json:"jobs"`
	}
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		m.Errorf("%v, in:\n%s", err, text)
	}
	switch {
	case object.Kind == "Pod":
		var pod corev1.Pod
		m.decode(text, &pod)
		m.pod(pod.Spec)
	case object.Kind == "ResourceClaimTemplate":
		var template resourceapi.ResourceClaimTemplate
		m.decode(text, &template)
		m.claim(template.Spec.Spec)
	case object.Kind == "ResourceClaim":
		var claim resourceapi.ResourceClaim
		m.decode(text, &claim)
		m.claim(claim.Spec)
	case object.Kind == "ConfigMap":
		var files corev1.ConfigMap
		m.decode(text, &files)
		for _, file := range files.Data {
			var template corev1.PodTemplateSpec
			m.decode(file, &template)
			m.pod(template.Spec)
		}
	case object.Kind == "Workflow":
		var w workflow
		m.decode(text, &w)
		for _, t := range w.Spec.Templates {
			m.workflowTemplate(t)
		}
	case object.Kind == "TaskRun":
		m.decode(text, &taskRun{})
	case object.Kind == "PipelineRun":
		m.decode(text, &pipelineRun{})
	case object.Kind != "":
		m.Errorf("the test does not know the kind %s", object.Kind)
	case object.Jobs != nil:
		m.decode(text, &actionsWorkflow{})
	case object.Runners != nil:
		var values gitLabRunnerValues
		m.decode(text, &values)
		patch := gitLabPatch.FindStringSubmatch(values.Runners.Config)
		if patch == nil {
			m.Fatalf("there is no patch in:\n%s", values.Runners.Config)
		}
		var spec corev1.PodSpec
		m.decode(patch[1], &spec)
		m.pod(spec)
	case object.Template != nil:
		var values runnerScaleSetValues
		m.decode(text, &values)
		m.pod(values.Template.Spec)
	default:
		m.Errorf("the test does not know what this is:\n%s", text)
	}
}

func (m manifests) workflowTemplate(t workflowTemplate) {
	if t.Resource.Manifest != "" {
		m.block(t.Resource.Manifest)
	}
	// kubectl space needs no claim.
	if t.Container == nil || strings.Contains(strings.Join(slices.Concat(t.Container.Command, t.Container.Args), " "), "kubectl space ") {
		return
	}
	spec := corev1.PodSpec{ResourceClaims: t.ResourceClaims}
	m.decode(t.PodSpecPatch, &spec)
	spec.Containers = append(spec.Containers, *t.Container)
	m.pod(spec)
}

// pod fails the test unless the pod has a claim, and its containers list only claims that it has.
func (m manifests) pod(spec corev1.PodSpec) {
	if len(spec.ResourceClaims) == 0 {
		m.Errorf("a pod has no claim: %v", spec)
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, listed := range c.Resources.Claims {
			if !slices.ContainsFunc(spec.ResourceClaims, func(r corev1.PodResourceClaim) bool { return r.Name == listed.Name }) {
				m.Errorf("container %s lists claim %s, which its pod does not have: %v", c.Name, listed.Name, spec.ResourceClaims)
			}
		}
	}
}

// claim fails the test unless the driver can read the parameters of the claim.
func (m manifests) claim(spec resourceapi.ResourceClaimSpec) {
	for _, config := range spec.Devices.Config {
		if _, errs := spaceapi.DecodeSpaceClaimConfig(config.Opaque.Parameters.Raw, config.Opaque.Driver); len(errs) > 0 {
			m.Errorf("the parameters are invalid: %v", errs)
		}
	}
}

func TestCISystems_manifestsDecodeStrictly(t *testing.T) {
	const path = "../../../docs/ci-systems.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page, err := Parse(path, string(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(page.YAML) == 0 {
		t.Error("the page shows no manifests")
	}
	m := manifests{t}
	for _, block := range page.YAML {
		m.block(block)
	}
}
