// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/blueprint"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
)

// problem is an error with the reason that people get to see.
type problem struct {
	reason string
	err    error
}

func (p *problem) Error() string { return p.err.Error() }
func (p *problem) Unwrap() error { return p.err }

// reasonOf returns the reason to give for an error of provision.
func reasonOf(err error) string {
	var p *problem
	if errors.As(err, &p) {
		return p.reason
	}
	// The API server validates what the parameters have of its own types.
	if apierrors.IsInvalid(err) {
		return spaceapi.ReasonInvalidParameters
	}
	return spaceapi.ReasonProvisioningFailed
}

// provisioned is what is known about a space that is complete.
type provisioned struct {
	serviceAccountUID types.UID
	// made lists what had to be created or replaced.
	made []string
}

// provision creates whatever of a space is missing. Any part may be there already.
// A space that is not in use yet is also given what kube-controller-manager makes
// in each namespace at some time, and is complete only when its rights are in effect.
func (c *Controller) provision(ctx context.Context, u *users, space blueprint.Space, inUse bool) (provisioned, error) {
	var out provisioned
	start := c.Clock.Now()
	namespace, made, err := c.ensureNamespace(ctx, u.a, space.Namespace)
	if err != nil {
		return out, err
	}
	if made {
		out.made = append(out.made, "the namespace")
	}
	begun := c.Clock.Now()
	var account *corev1.ServiceAccount
	parts := []part{
		{"", func() (bool, error) {
			u.note(ctx, namespace)
			return false, nil
		}},
		{"ServiceAccount " + space.ServiceAccount.Name, func() (made bool, err error) {
			account, made, err = c.ensureServiceAccount(ctx, space.ServiceAccount)
			return made, err
		}},
		{"RoleBinding " + space.RoleBinding.Name, func() (bool, error) {
			made, err := c.ensureRoleBinding(ctx, space.RoleBinding)
			if err != nil || inUse {
				return made, err
			}
			if err := c.awaitRights(ctx, namespace.Name, space.ServiceAccount.Name, space.RoleBinding.RoleRef.Name, false); err != nil {
				return made, err
			}
			c.Metrics.ProvisionSteps.Observe(c.Clock.Since(begun), metrics.StepRBAC)
			return made, nil
		}},
	}
	parts = append(parts, c.clusterWide(ctx, space, namespace.UID, inUse)...)
	parts = append(parts, c.limits(ctx, space, inUse)...)
	if !inUse {
		parts = append(parts,
			part{"", func() (bool, error) { return false, c.ensureDefaultAccount(ctx, space.DefaultAccount) }},
			part{"", func() (bool, error) { return false, c.ensureRootCA(ctx, namespace.Name) }},
		)
		for _, object := range space.Copies {
			parts = append(parts, part{"", func() (bool, error) { return false, c.ensureCopy(ctx, object) }})
		}
	}
	partMade := make([]bool, len(parts))
	if err := sideBySide(len(parts), func(i int) (err error) {
		partMade[i], err = parts[i].ensure()
		return err
	}); err != nil {
		return out, err
	}
	if !inUse {
		c.Metrics.ProvisionSteps.Observe(begun.Sub(start), metrics.StepNamespace)
		c.Metrics.ProvisionSteps.Observe(c.Clock.Since(begun), metrics.StepObjects)
	}
	out.serviceAccountUID = account.UID
	for i, part := range parts {
		if partMade[i] {
			out.made = append(out.made, part.what)
		}
	}
	return out, nil
}

// part is a part of a space. What is only looked after by others has no name.
type part struct {
	what string
	// ensure says whether the part had to be created or changed.
	ensure func() (bool, error)
}

func (c *Controller) ensureNamespace(ctx context.Context, a *identity.Allocation, want *corev1.Namespace) (*corev1.Namespace, bool, error) {
	have := c.namespace(want.Name)
	if have == nil {
		created, err := c.Client.CoreV1().Namespaces().Create(ctx, want, metav1.CreateOptions{})
		if err == nil {
			klog.FromContext(ctx).V(2).Info("Namespace made", logkeys.Namespace, created.Name)
			return created, true, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return nil, false, fmt.Errorf("create namespace %s: %w", want.Name, err)
		}
		if have, err = c.Client.CoreV1().Namespaces().Get(ctx, want.Name, metav1.GetOptions{}); err != nil {
			return nil, false, fmt.Errorf("look at the existing namespace %s: %w", want.Name, err)
		}
	}
	if !a.Owns(have, c.keys) {
		return nil, false, &problem{spaceapi.ReasonNameConflict, fmt.Errorf("namespace %s exists and was not made for this claim: it is left alone", want.Name)}
	}
	if !c.keptUntil(have).IsZero() && have.DeletionTimestamp == nil {
		// Before Kubernetes 1.36, a claim that gets the same device again has the
		// same allocation ID.
		options := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(have.UID))}
		if err := c.Client.CoreV1().Namespaces().Delete(ctx, have.Name, options); ignoreNotFound(err) != nil {
			return nil, false, fmt.Errorf("delete the retained namespace %s, whose name is needed: %w", have.Name, err)
		}
		return nil, false, &problem{spaceapi.ReasonNamespaceTerminating, fmt.Errorf("namespace %s was retained from an earlier use of the same device: a new one is made as soon as it has gone", want.Name)}
	}
	if have.DeletionTimestamp != nil {
		return nil, false, &problem{spaceapi.ReasonNamespaceTerminating, fmt.Errorf("namespace %s is being deleted although the claim is allocated: a new one is made as soon as it has gone", want.Name)}
	}
	return have, false, nil
}

func (c *Controller) ensureServiceAccount(ctx context.Context, want *corev1.ServiceAccount) (*corev1.ServiceAccount, bool, error) {
	if have := c.account(want.Namespace); have != nil && have.DeletionTimestamp == nil {
		return have, false, nil
	}
	api := c.Client.CoreV1().ServiceAccounts(want.Namespace)
	have, err := api.Create(ctx, want, metav1.CreateOptions{})
	if err == nil {
		return have, true, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, false, fmt.Errorf("create ServiceAccount %s/%s: %w", want.Namespace, want.Name, err)
	}
	if have, err = api.Get(ctx, want.Name, metav1.GetOptions{}); err != nil {
		return nil, false, fmt.Errorf("look at the existing ServiceAccount %s/%s: %w", want.Namespace, want.Name, err)
	}
	if have.DeletionTimestamp != nil {
		return nil, false, fmt.Errorf("ServiceAccount %s/%s is being deleted, and has finalizers %v: a new one is made as soon as it has gone", want.Namespace, want.Name, have.Finalizers)
	}
	return have, false, nil
}

// ensureDefaultAccount makes the ServiceAccount that Kubernetes would make itself.
// It is not looked after: Kubernetes does that, and tenants may change it.
func (c *Controller) ensureDefaultAccount(ctx context.Context, want *corev1.ServiceAccount) error {
	api := c.Client.CoreV1().ServiceAccounts(want.Namespace)
	_, err := api.Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		if len(want.ImagePullSecrets) == 0 {
			return nil
		}
		var patch []byte
		if patch, err = json.Marshal(map[string]any{"imagePullSecrets": want.ImagePullSecrets}); err == nil {
			_, err = api.Patch(ctx, want.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		}
	}
	if err != nil {
		return fmt.Errorf("create ServiceAccount %s/%s: %w", want.Namespace, want.Name, err)
	}
	return nil
}

// ensureRootCA makes the ConfigMap that Kubernetes would make itself, and looks
// after from then on. A cluster that makes none in the controller's own namespace
// makes none in spaces.
func (c *Controller) ensureRootCA(ctx context.Context, namespace string) error {
	source, err := c.rootCA.Get(spaceapi.RootCAName)
	if err != nil {
		return ignoreNotFound(err)
	}
	_, err = c.Client.CoreV1().ConfigMaps(namespace).Create(ctx, blueprint.RootCA(source, namespace), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create ConfigMap %s/%s: %w", namespace, spaceapi.RootCAName, err)
	}
	return nil
}

// ensureRoleBinding replaces a RoleBinding that is not as it should be, because
// its role can't be changed.
func (c *Controller) ensureRoleBinding(ctx context.Context, want *rbacv1.RoleBinding) (bool, error) {
	asWanted := func(have *rbacv1.RoleBinding) bool {
		return have.DeletionTimestamp == nil && have.RoleRef == want.RoleRef && equality.Semantic.DeepEqual(have.Subjects, want.Subjects)
	}
	if have := c.binding(want.Namespace); have != nil && asWanted(have) {
		return false, nil
	}
	api := c.Client.RbacV1().RoleBindings(want.Namespace)
	_, err := api.Create(ctx, want, metav1.CreateOptions{})
	if err == nil {
		return true, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return false, fmt.Errorf("create RoleBinding %s/%s: %w", want.Namespace, want.Name, err)
	}
	have, err := api.Get(ctx, want.Name, metav1.GetOptions{})
	if err != nil {
		return false, fmt.Errorf("look at the existing RoleBinding %s/%s: %w", want.Namespace, want.Name, err)
	}
	if asWanted(have) {
		return false, nil
	}
	options := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(have.UID))}
	if err := api.Delete(ctx, want.Name, options); ignoreNotFound(err) != nil {
		return false, fmt.Errorf("delete the changed RoleBinding %s/%s: %w", want.Namespace, want.Name, err)
	}
	if _, err := api.Create(ctx, want, metav1.CreateOptions{}); err != nil {
		return false, fmt.Errorf("replace the changed RoleBinding %s/%s: %w", want.Namespace, want.Name, err)
	}
	return true, nil
}
