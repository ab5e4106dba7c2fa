// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// The API server follows a new RoleBinding within milliseconds, and a busy one
	// within seconds. There is nothing to watch for it.
	firstReview = 5 * time.Millisecond
	reviews     = 10
)

// awaitRights returns when the API server grants a space's ServiceAccount what the
// role gives, in its namespace or in the whole cluster. Before that, the first
// request of a pod might be refused.
func (c *Controller) awaitRights(ctx context.Context, namespace, account, roleName string, everywhere bool) error {
	role := c.role(roleName)
	if role == nil {
		return fmt.Errorf("ClusterRole %s, which spaces are to get, does not exist", roleName)
	}
	sample := sampleOf(role)
	if sample == nil {
		return nil
	}
	if !everywhere {
		sample.Namespace = namespace
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		ResourceAttributes: sample,
		User:               "system:serviceaccount:" + namespace + ":" + account,
	}}
	backoff := wait.Backoff{Duration: firstReview, Factor: 2, Steps: reviews}
	err := wait.ExponentialBackoffWithContext(ctx, backoff, func(ctx context.Context) (bool, error) {
		answer, err := c.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		return err == nil && answer.Status.Allowed, err
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return fmt.Errorf("ServiceAccount %s/%s may not yet do what ClusterRole %s gives (%s %s)", namespace, account, roleName, sample.Verb, sample.Resource)
	}
	if err != nil {
		return fmt.Errorf("find out whether ServiceAccount %s/%s has its rights: %w", namespace, account, err)
	}
	return nil
}

// sampleOf is one thing that a role allows, or nil when it allows nothing that a
// namespace's RoleBinding can give.
func sampleOf(role *rbacv1.ClusterRole) *authorizationv1.ResourceAttributes {
	for _, rule := range role.Rules {
		if len(rule.APIGroups) == 0 || len(rule.Resources) == 0 || len(rule.Verbs) == 0 {
			continue
		}
		sample := &authorizationv1.ResourceAttributes{Group: rule.APIGroups[0], Resource: rule.Resources[0], Verb: rule.Verbs[0]}
		sample.Resource, sample.Subresource, _ = strings.Cut(sample.Resource, "/")
		if len(rule.ResourceNames) > 0 {
			sample.Name = rule.ResourceNames[0]
		}
		return sample
	}
	return nil
}

// tenantsMayBind says whether the role of a space lets its tenants give rights to
// others. Where the role is not to be found out, it does if any could.
func (c *Controller) tenantsMayBind(namespace string) bool {
	if binding := c.binding(namespace); binding != nil {
		if role := c.role(binding.RoleRef.Name); role != nil {
			return letsBind(role)
		}
	}
	return slices.ContainsFunc(c.rolesInside(), func(name string) bool { return letsBind(c.role(name)) })
}

// letsBind says whether a role lets tenants give rights to others. The role may be nil.
func letsBind(role *rbacv1.ClusterRole) bool {
	if role == nil {
		return false
	}
	has := func(list []string, wanted ...string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return s == "*" || slices.Contains(wanted, s) })
	}
	return slices.ContainsFunc(role.Rules, func(rule rbacv1.PolicyRule) bool {
		return has(rule.APIGroups, rbacv1.GroupName) && has(rule.Resources, "rolebindings") && has(rule.Verbs, "create", "update", "patch")
	})
}
