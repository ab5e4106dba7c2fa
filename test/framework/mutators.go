// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
)

// Mutator is an admission plugin of the cluster that changes objects of spaces.
type Mutator struct {
	Group     string
	Resources []string
	// OnlyUpdates is for one that does not change new objects.
	OnlyUpdates bool
	// Mutation is a JSONPatch if it begins with a bracket, otherwise an apply configuration.
	Mutation string
}

// Mutators change what the controller writes, in a different way each time where that is possible.
var Mutators = map[string]Mutator{
	"annotation": {
		Resources: []string{"namespaces"},
		Mutation:  `Object{metadata: Object.metadata{annotations: {"policy.example.com/last": string(request.operation) + object.metadata.?resourceVersion.orValue("")}}}`,
	},
	"label": {
		Resources: []string{"namespaces"}, OnlyUpdates: true,
		Mutation: `Object{metadata: Object.metadata{labels: {"cost-center": "x" + object.metadata.?resourceVersion.orValue("")}}}`,
	},
	"driver": {
		Resources: []string{"namespaces"}, OnlyUpdates: true,
		Mutation: `Object{metadata: Object.metadata{labels: {"pod-security.kubernetes.io/warn": "restricted"}}}`,
	},
	"accounts": {
		Resources: []string{"serviceaccounts", "resourcequotas"},
		Mutation:  `Object{metadata: Object.metadata{annotations: {"policy.example.com/last": string(request.operation) + object.metadata.?resourceVersion.orValue("")}}}`,
	},
	"quota": {
		Resources: []string{"resourcequotas"},
		Mutation:  `[JSONPatch{op: "add", path: "/spec/hard/" + jsonpatch.escapeKey("count/secrets"), value: "7" + object.metadata.?resourceVersion.orValue("")}]`,
	},
	"egress": {
		Group: "networking.k8s.io", Resources: []string{"networkpolicies"},
		Mutation: `[JSONPatch{op: "add", path: "/spec/egress/-", value: {"to": [{"ipBlock": {"cidr": "198.51.100.0/24"}}]}}]`,
	},
	"subjects": {
		Group: "rbac.authorization.k8s.io", Resources: []string{"rolebindings"},
		Mutation: `[JSONPatch{op: "add", path: "/subjects/-", value: {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}}]`,
	},
}

// InstallMutator creates a mutator for namespaces with a prefix, and for objects in them. What
// already exists is kept.
func (e *Env) InstallMutator(ctx context.Context, name, prefix string, m Mutator) error {
	var rule admissionv1.NamedRuleWithOperations
	rule.APIGroups, rule.APIVersions, rule.Resources = []string{m.Group}, []string{"v1"}, m.Resources
	rule.Operations = []admissionv1.OperationType{admissionv1.Update}
	if !m.OnlyUpdates {
		rule.Operations = append(rule.Operations, admissionv1.Create)
	}
	mutation := admissionv1.Mutation{PatchType: admissionv1.PatchTypeApplyConfiguration, ApplyConfiguration: &admissionv1.ApplyConfiguration{Expression: m.Mutation}}
	if strings.HasPrefix(m.Mutation, "[") {
		mutation = admissionv1.Mutation{PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: &admissionv1.JSONPatch{Expression: m.Mutation}}
	}
	fail := admissionv1.Fail
	meta := metav1.ObjectMeta{Name: name}
	api := e.Client.AdmissionregistrationV1()
	_, err := api.MutatingAdmissionPolicies().Create(ctx, &admissionv1.MutatingAdmissionPolicy{ObjectMeta: meta, Spec: admissionv1.MutatingAdmissionPolicySpec{
		FailurePolicy: &fail, ReinvocationPolicy: admissionv1.NeverReinvocationPolicy,
		MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{rule}},
		MatchConditions:  []admissionv1.MatchCondition{{Name: "prefix", Expression: fmt.Sprintf("request.?namespace.orValue('').startsWith('%[1]s') || string(object.metadata.?name.orValue('')).startsWith('%[1]s')", prefix)}},
		Mutations:        []admissionv1.Mutation{mutation},
	}}, metav1.CreateOptions{})
	if err == nil || apierrors.IsAlreadyExists(err) {
		_, err = api.MutatingAdmissionPolicyBindings().Create(ctx, &admissionv1.MutatingAdmissionPolicyBinding{ObjectMeta: meta,
			Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: name}}, metav1.CreateOptions{})
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("install mutator %s: %w", name, err)
	}
	return nil
}

// RemoveMutator deletes the objects of a mutator, if they exist.
func (e *Env) RemoveMutator(ctx context.Context, name string) error {
	api := e.Client.AdmissionregistrationV1()
	return utilerrors.FilterOut(utilerrors.NewAggregate([]error{
		api.MutatingAdmissionPolicyBindings().Delete(ctx, name, metav1.DeleteOptions{}),
		api.MutatingAdmissionPolicies().Delete(ctx, name, metav1.DeleteOptions{}),
	}), apierrors.IsNotFound)
}
