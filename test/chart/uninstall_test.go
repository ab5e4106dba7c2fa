// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/utils/ptr"
)

const uninstallName = "rel-space-dra-driver-uninstall"

func TestUninstallCheck_isAHookThatEnds(t *testing.T) {
	t.Parallel()
	rendered := render(t, merge(at("networkPolicy.enabled", true), at("driverName", "other.example.com"), at("controller.nodeSelector", values{"a": "b"})))
	for _, kind := range []string{"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Job"} {
		if got := rendered[kind+"/"+uninstallName]; got == nil || got.GetAnnotations()["helm.sh/hook"] != "pre-delete" {
			t.Errorf("%s is not a hook of helm uninstall: %v", kind, got)
		}
	}
	job := object[batchv1.Job](t, rendered, "Job/"+uninstallName)
	// helm uninstall waits for five minutes.
	if deadline := time.Duration(ptr.Deref(job.Spec.ActiveDeadlineSeconds, 3600)) * time.Second; deadline >= 5*time.Minute || ptr.Deref(job.Spec.BackoffLimit, 6) != 0 {
		t.Errorf("the Job ends after %s or %d retries", deadline, ptr.Deref(job.Spec.BackoffLimit, 6))
	}
	if policy := job.Annotations["helm.sh/hook-delete-policy"]; strings.Contains(policy, "hook-failed") || job.Annotations["helm.sh/hook-output-log-policy"] != "hook-failed" {
		t.Errorf("helm uninstall does not print the log of a failed Job: %v", job.Annotations)
	}
	spec := job.Spec.Template.Spec
	checkUnprivileged(t, spec.Containers)
	if !slices.Contains(spec.Containers[0].Args, "--driver-name=other.example.com") || spec.RestartPolicy != corev1.RestartPolicyNever || spec.NodeSelector["a"] != "b" {
		t.Errorf("the Job runs %v", spec)
	}
	policy := object[networkingv1.NetworkPolicy](t, rendered, "NetworkPolicy/"+uninstallName)
	if !selects(t, &policy.Spec.PodSelector, job.Spec.Template.Labels) || len(policy.Spec.Ingress) > 0 || len(policy.Spec.Egress) == 0 {
		t.Errorf("the NetworkPolicy of the Job allows other traffic than to the API server: %v", policy.Spec)
	}
	for key, object := range render(t, merge(allOptions, at("uninstallCheck.enabled", false))) {
		if strings.HasSuffix(key, "-uninstall") || object.GetAnnotations()["helm.sh/hook"] == "pre-delete" {
			t.Errorf("without the check, the chart has %s", key)
		}
	}
}
