// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/blueprint"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

// clusterWide are the parts of a space that give rights in the whole cluster. The
// namespace owns them, so that none outlives it whatever happens to the driver.
func (c *Controller) clusterWide(ctx context.Context, space blueprint.Space, owner types.UID, inUse bool) []part {
	var parts []part
	for _, want := range space.ClusterRoleBindings {
		want.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Namespace", Name: space.Namespace.Name, UID: owner,
		}}
		parts = append(parts, part{"ClusterRoleBinding " + want.Name, func() (bool, error) {
			made, err := ensureObject(ctx, "ClusterRoleBinding", c.Client.RbacV1().ClusterRoleBindings(), c.wideInformer, want,
				func(have *rbacv1.ClusterRoleBinding) bool {
					return have.RoleRef == want.RoleRef && equality.Semantic.DeepEqual(have.Subjects, want.Subjects) &&
						equality.Semantic.DeepEqual(have.OwnerReferences, want.OwnerReferences)
				})
			if err != nil || inUse {
				return made, err
			}
			return made, c.awaitRights(ctx, space.Namespace.Name, space.ServiceAccount.Name, want.RoleRef.Name, true)
		}})
	}
	return parts
}

// revokeClusterWide deletes what gives a space rights in the whole cluster.
func (c *Controller) revokeClusterWide(ctx context.Context, ns *corev1.Namespace) error {
	api := c.Client.RbacV1().ClusterRoleBindings()
	for _, role := range blueprint.ClusterWideRoles(ns, c.keys) {
		name := blueprint.ClusterRoleBindingName(ns.Name, role)
		err := func() error {
			binding, err := api.Get(ctx, name, metav1.GetOptions{})
			// Its name says nothing: whoever writes a namespace's record could give
			// it that of any ClusterRoleBinding.
			if err != nil || !isOf(binding, ns) {
				return err
			}
			return api.Delete(ctx, name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(binding.UID))})
		}()
		if apierrors.IsForbidden(err) && !slices.Contains(c.ClusterWideRoles, role) {
			// With the role, the controller lost the right to take it back. The
			// binding goes with the namespace.
			klog.FromContext(ctx).Error(err, "A cluster-wide role lasts until the namespace has gone", logkeys.Namespace, ns.Name)
			continue
		}
		if ignoreNotFound(err) != nil {
			return fmt.Errorf("revoke the rights of namespace %s in the whole cluster: %w", ns.Name, err)
		}
	}
	return nil
}

// isOf says whether a ClusterRoleBinding was made for the space in a namespace.
func isOf(binding *rbacv1.ClusterRoleBinding, ns *corev1.Namespace) bool {
	return slices.ContainsFunc(binding.OwnerReferences, func(owner metav1.OwnerReference) bool {
		return owner.Kind == "Namespace" && owner.UID == ns.UID
	})
}

// hasClusterWide says whether an ended space has rights in the whole cluster yet.
func (c *Controller) hasClusterWide(ns *corev1.Namespace) bool {
	return c.wideInformer != nil && slices.ContainsFunc(blueprint.ClusterWideRoles(ns, c.keys), func(role string) bool {
		binding, exists := cached[*rbacv1.ClusterRoleBinding](c.wideInformer, blueprint.ClusterRoleBindingName(ns.Name, role))
		return exists && binding.DeletionTimestamp == nil && isOf(binding, ns)
	})
}

// sweepClusterWide deletes the ClusterRoleBindings of namespaces that have gone.
// Kubernetes' garbage collector does so, too, where it works.
func (c *Controller) sweepClusterWide(ctx context.Context) {
	if c.wideInformer == nil {
		return
	}
	for _, obj := range c.wideInformer.GetIndexer().List() {
		if err := c.deleteOrphan(ctx, obj.(*rbacv1.ClusterRoleBinding)); err != nil {
			utilruntime.HandleErrorWithContext(ctx, err, "Sweep: delete a ClusterRoleBinding without a space")
		}
	}
}

func (c *Controller) deleteOrphan(ctx context.Context, binding *rbacv1.ClusterRoleBinding) error {
	if binding.DeletionTimestamp != nil || len(binding.OwnerReferences) == 0 {
		return nil
	}
	owner := binding.OwnerReferences[0]
	if owner.Kind != "Namespace" {
		return nil
	}
	if ns := c.namespace(owner.Name); ns != nil && ns.UID == owner.UID {
		return nil
	}
	// The cache may lag behind.
	ns, err := c.Client.CoreV1().Namespaces().Get(ctx, owner.Name, metav1.GetOptions{})
	if ignoreNotFound(err) != nil || err == nil && ns.UID == owner.UID {
		return err
	}
	options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &binding.UID, ResourceVersion: &binding.ResourceVersion}}
	return ignoreNotFound(c.Client.RbacV1().ClusterRoleBindings().Delete(ctx, binding.Name, options))
}
