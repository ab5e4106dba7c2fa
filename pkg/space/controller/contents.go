// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/blueprint"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

// rolesInside are the ClusterRoles that spaces can get in their namespaces.
func (c *Config) rolesInside() []string {
	return append([]string{c.Settings.ClusterRole, spaceapi.AdminAccessClusterRole}, c.AllowedClusterRoles...)
}

// mayGive says why a space can't be given as its class wants it. The controller
// has no right to more than the installation's values name.
func (c *Controller) mayGive(share identity.Share, with *parameters.Effective) error {
	if share.AdminAccess {
		if !with.AdminAccess {
			return fmt.Errorf("request %s asks for admin access, which its DeviceClass does not offer for spaces", share.Request)
		}
		with.ClusterRole, with.ClusterWideRoles = spaceapi.AdminAccessClusterRole, nil
	}
	if role := c.Settings.Role(*with); !slices.Contains(c.rolesInside(), role) {
		return fmt.Errorf("the driver may not give ClusterRole %s to spaces: the values of its installation would have to name it in space.allowedClusterRoles", role)
	}
	for _, role := range with.ClusterWideRoles {
		if !slices.Contains(c.ClusterWideRoles, role) {
			return fmt.Errorf("the driver may not give ClusterRole %s to spaces in the whole cluster: the values of its installation would have to name it in space.clusterWideRoles", role)
		}
	}
	if with.Copy != nil && !slices.Contains(c.TemplateNamespaces, with.Copy.Namespace) {
		return fmt.Errorf("the driver may not copy from namespace %s: the values of its installation would have to name it in space.templateNamespaces", with.Copy.Namespace)
	}
	return nil
}

// checkNested returns an error for a claim in the namespace of a space that may have no
// spaces in it. An admission policy of the chart refuses such claims when they are
// written, but it knows only the classes it was told of, and it can be removed.
func (c *Controller) checkNested(a *identity.Allocation) error {
	ns := c.namespace(a.Claim.Namespace)
	if ns == nil || ns.Labels[c.keys.NestedSpaces] == spaceapi.NestedSpacesAllowed {
		return nil
	}
	return fmt.Errorf("namespace %s is a space, in which nobody can ask for spaces unless its DeviceClass sets nestedSpaces", ns.Name)
}

// limits are the parts of a space that limit what is done in it.
func (c *Controller) limits(ctx context.Context, space blueprint.Space, inUse bool) []part {
	var parts []part
	if want := space.ResourceQuota; want != nil {
		parts = append(parts, part{"ResourceQuota " + want.Name, func() (bool, error) {
			made, err := ensureObject(ctx, "ResourceQuota", c.Client.CoreV1().ResourceQuotas(want.Namespace), c.quotaInformer, want,
				func(have *corev1.ResourceQuota) bool { return equality.Semantic.DeepEqual(have.Spec, want.Spec) })
			if err != nil || inUse {
				return made, err
			}
			return made, c.putQuotaInForce(ctx, want, made)
		}})
	}
	if want := space.LimitRange; want != nil {
		parts = append(parts, part{"LimitRange " + want.Name, func() (bool, error) {
			return ensureObject(ctx, "LimitRange", c.Client.CoreV1().LimitRanges(want.Namespace), c.limitsInformer, want,
				func(have *corev1.LimitRange) bool { return equality.Semantic.DeepEqual(have.Spec, want.Spec) })
		}})
	}
	if want := space.NetworkPolicy; want != nil {
		parts = append(parts, part{"NetworkPolicy " + want.Name, func() (bool, error) {
			moved := false
			made, err := ensureObject(ctx, "NetworkPolicy", c.Client.NetworkingV1().NetworkPolicies(want.Namespace), c.policyInformer, want,
				func(have *networkingv1.NetworkPolicy) bool {
					moved = blueprint.DiffersInAPIServer(have, want)
					return equality.Semantic.DeepEqual(have.Spec, want.Spec)
				})
			// That the API server is elsewhere is nobody's fault.
			return made && !moved, err
		}})
	}
	return parts
}

// putQuotaInForce says in a new quota's status that it holds and that nothing is
// used. Kubernetes would say so, some time later, and until then limits nothing
// (k8s.io/apiserver, pkg/quota/v1/generic/evaluator.go). When it was faster, that
// is as good.
func (c *Controller) putQuotaInForce(ctx context.Context, want *corev1.ResourceQuota, made bool) error {
	quota := want
	if !made {
		have, exists := cached[*corev1.ResourceQuota](c.quotaInformer, cache.MetaObjectToName(want).String())
		if !exists || len(have.Status.Hard) > 0 {
			return nil
		}
		quota = want.DeepCopy()
		quota.SetUID(have.UID)
		quota.SetResourceVersion(have.ResourceVersion)
		quota.SetFinalizers(have.Finalizers)
	}
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: corev1.ResourceList{}}
	for name := range quota.Spec.Hard {
		quota.Status.Used[name] = *resource.NewQuantity(0, resource.DecimalSI)
	}
	_, err := c.Client.CoreV1().ResourceQuotas(quota.Namespace).UpdateStatus(ctx, quota, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("put ResourceQuota %s/%s in force: %w", quota.Namespace, quota.Name, err)
	}
	return nil
}

// writer writes objects of one kind.
type writer[T any] interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (T, error)
	Create(ctx context.Context, object T, options metav1.CreateOptions) (T, error)
	Update(ctx context.Context, object T, options metav1.UpdateOptions) (T, error)
}

// ensureTries is how often an object may be found to be other than it was just seen.
const ensureTries = 4

// ensureObject creates an object, or changes it when it is not the same. It says
// whether it had to. The usual case is one write without a look before.
func ensureObject[T metav1.Object](ctx context.Context, kind string, api writer[T], informer cache.SharedIndexInformer, want T, same func(have T) bool) (bool, error) {
	name := cache.MetaObjectToName(want).String()
	have, exists := cached[T](informer, name)
	var err error
	for range ensureTries {
		switch {
		case !exists:
			var created T
			if created, err = api.Create(ctx, want, metav1.CreateOptions{}); err == nil {
				want.SetResourceVersion(created.GetResourceVersion())
				return true, nil
			}
			if !apierrors.IsAlreadyExists(err) {
				return false, fmt.Errorf("create %s %s: %w", kind, name, err)
			}
		case same(have):
			return false, nil
		default:
			// Finalizers are somebody's wish to be waited for.
			want.SetFinalizers(have.GetFinalizers())
			want.SetResourceVersion(have.GetResourceVersion())
			if _, err = api.Update(ctx, want, metav1.UpdateOptions{}); err == nil {
				return true, nil
			}
			if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
				return false, fmt.Errorf("change %s %s, which is not as it should be, back: %w", kind, name, err)
			}
		}
		var getErr error
		have, getErr = api.Get(ctx, want.GetName(), metav1.GetOptions{})
		exists = getErr == nil
		if ignoreNotFound(getErr) != nil {
			return false, fmt.Errorf("look at the existing %s %s: %w", kind, name, getErr)
		}
		want.SetFinalizers(nil)
		want.SetResourceVersion("")
	}
	return false, fmt.Errorf("make %s %s as it should be while somebody else changes it: %w", kind, name, err)
}
