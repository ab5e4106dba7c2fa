// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

func options() Options {
	return Options{Namespace: "team", Name: "try", Driver: "space.resource.example.com", Class: "ci", Image: Image("v1.2.3"), Labels: map[string]string{"team": "ci"}}
}

func TestNewJob_endsWithItsPod(t *testing.T) {
	o := options()
	job := o.newJob(1500 * time.Millisecond)
	if *job.Spec.BackoffLimit != 0 || *job.Spec.TTLSecondsAfterFinished != 0 || job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("the Job does not end, and is not deleted, with its only pod: %+v", job.Spec)
	}
	if *job.Spec.ActiveDeadlineSeconds != 2 {
		t.Errorf("the deadline is %d s, want 2, rounded up", *job.Spec.ActiveDeadlineSeconds)
	}
	if _, changed := o.Labels["space.resource.example.com/holder"]; changed {
		t.Error("the caller's labels have changed")
	}
	for kind, labels := range map[string]map[string]string{"Job": job.Labels, "pod": job.Spec.Template.Labels} {
		if labels["team"] != "ci" || labels["space.resource.example.com/holder"] != "true" {
			t.Errorf("the %s has the labels %v", kind, labels)
		}
	}
}

func TestNewClaim_belongsToTheJob(t *testing.T) {
	o := options()
	claim := o.newClaim(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "try", UID: "uid"}})
	owner := claim.OwnerReferences[0]
	if owner.APIVersion != "batch/v1" || owner.Kind != "Job" || owner.Name != "try" || owner.UID != "uid" || owner.BlockOwnerDeletion != nil {
		t.Errorf("the owner is %+v", owner)
	}
	if class := claim.Spec.Devices.Requests[0].Exactly.DeviceClassName; class != "ci" || claim.Spec.Devices.Config != nil {
		t.Errorf("the claim is for class %q, with config %v", class, claim.Spec.Devices.Config)
	}
	o.Parameters = []byte(`{"kind":"SpaceClaimConfig"}`)
	opaque := o.newClaim(&batchv1.Job{}).Spec.Devices.Config[0].Opaque
	if opaque.Driver != o.Driver || string(opaque.Parameters.Raw) != string(o.Parameters) {
		t.Errorf("the parameters are %+v", opaque)
	}
}

func TestImage_isThatOfTheChart(t *testing.T) {
	values, err := os.ReadFile("../../../deployments/helm/space-dra-driver/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var chart struct{ Image struct{ Repository string } }
	if err := yaml.Unmarshal(values, &chart); err != nil {
		t.Fatal(err)
	}
	if got := Image("v1"); got != chart.Image.Repository+":v1" {
		t.Errorf("got %s, but the chart has %s", got, chart.Image.Repository)
	}
}

func TestDeadlinePatch_isForOneJob(t *testing.T) {
	var job batchv1.Job
	if err := json.Unmarshal(deadlinePatch("uid", 90*time.Second), &job); err != nil {
		t.Fatal(err)
	}
	if job.UID != "uid" || *job.Spec.ActiveDeadlineSeconds != 90 || strings.Contains(string(deadlinePatch("uid", 0)), "status") {
		t.Errorf("got %+v", job)
	}
}
