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
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceclient "github.com/space-dra/space-dra-driver/pkg/space/client"
)

const (
	// A new RoleBinding takes effect within milliseconds, or within seconds in a busy API server.
	// There is nothing to watch for that: the controller creates up to maxReviews reviews, after
	// delays that double.
	firstReview = 5 * time.Millisecond
	maxReviews  = 10
)

// waitForRBAC waits until a role of the ServiceAccount of a space is in effect, in a namespace or, if
// that is empty, in the whole cluster. Otherwise the first request of a pod might be denied.
func (r *Reconciler) waitForRBAC(ctx context.Context, space *desiredSpace, roleName, namespace string) error {
	role, err := r.clusterRole(ctx, roleName)
	if err != nil {
		return err
	}
	if role == nil {
		return fmt.Errorf("ClusterRole %s does not exist", roleName)
	}
	sample := sampleRequest(role)
	if sample == nil {
		return nil
	}
	sample.Namespace = namespace
	backoff := wait.Backoff{Duration: firstReview, Factor: 2, Steps: maxReviews}
	err = wait.ExponentialBackoffWithContext(ctx, backoff, func(ctx context.Context) (bool, error) {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			ResourceAttributes: sample,
			User:               "system:serviceaccount:" + space.name + ":" + spaceapi.ServiceAccountName,
		}}
		err := r.client.Create(ctx, review)
		return err == nil && review.Status.Allowed, err
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return fmt.Errorf("RBAC for ServiceAccount %s/%s (ClusterRole %s: %s %s) has not taken effect yet", space.name, spaceapi.ServiceAccountName, roleName, sample.Verb, sample.Resource)
	}
	if err != nil {
		return fmt.Errorf("check the RBAC of ServiceAccount %s/%s: %w", space.name, spaceapi.ServiceAccountName, err)
	}
	return nil
}

// sampleRequest returns a request that a role allows, or nil if it has no rules about resources.
func sampleRequest(role *rbacv1.ClusterRole) *authorizationv1.ResourceAttributes {
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

// clusterRole returns a ClusterRole from the caches. It returns nil if it does not exist, or if spaces
// cannot have it.
func (r *Reconciler) clusterRole(ctx context.Context, name string) (*rbacv1.ClusterRole, error) {
	reader := r.client.Roles[name]
	if reader == nil {
		return nil, nil
	}
	role := &rbacv1.ClusterRole{}
	if err := reader.Get(ctx, client.ObjectKey{Name: name}, role); err != nil {
		return nil, spaceclient.IgnoreNotFound(err)
	}
	return role, nil
}

// canTenantsBind reports whether a role that spaces can have allows tenants to create or
// change RoleBindings.
func (r *Reconciler) canTenantsBind(ctx context.Context) (bool, error) {
	for _, name := range slices.Concat(r.config.Defaults.Roles(), r.config.Defaults.ClusterWideRoles) {
		if role, err := r.clusterRole(ctx, name); canWriteRoleBindings(role) || err != nil {
			return true, err
		}
	}
	return false, nil
}

// canWriteRoleBindings reports whether a role, which may be nil, allows creating or changing
// RoleBindings.
func canWriteRoleBindings(role *rbacv1.ClusterRole) bool {
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
