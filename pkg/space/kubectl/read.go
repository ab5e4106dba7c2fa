// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/kubectl/model"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
)

// reader reads what the user may read, and notes what he may not.
type reader struct {
	client kubernetes.Interface
	driver string
	clock  clock.Clock
}

// allClaims reads the claims of all namespaces, or of one for whoever may not.
func (r *reader) allClaims(ctx context.Context, namespace string) (*model.Snapshot, error) {
	s, err := r.claims(ctx, "")
	if apierrors.IsForbidden(err) {
		if s, err = r.claims(ctx, namespace); err == nil {
			s.Missing = s.Missing.With(model.ListAllClaims)
		}
	}
	return s, err
}

// claims reads the claims of a namespace, or of all of them, and what says where they
// are used. Claims are the one thing that has to be readable.
func (r *reader) claims(ctx context.Context, namespace string) (*model.Snapshot, error) {
	s, err := r.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	s.AllClaims = namespace == ""
	claims, err := r.client.ResourceV1().ResourceClaims(namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil, errors.New("the cluster does not serve resource.k8s.io/v1: spaces need Kubernetes 1.34 or newer")
	}
	if err != nil {
		return nil, fmt.Errorf("list ResourceClaims: %w", err)
	}
	s.Claims = claims.Items
	pods, err := r.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err = allowed(s, err, model.ListPods); err != nil {
		return nil, fmt.Errorf("list Pods: %w", err)
	}
	if !s.Missing.Has(model.ListPods) {
		s.Pods = pods.Items
	}
	classes, err := r.client.ResourceV1().DeviceClasses().List(ctx, metav1.ListOptions{})
	if err = allowed(s, err, model.ListClasses); err != nil {
		return nil, fmt.Errorf("list DeviceClasses: %w", err)
	}
	if !s.Missing.Has(model.ListClasses) {
		s.Classes = classes.Items
	}
	return s, nil
}

// snapshot begins with the namespaces of spaces. Claims are read after them: one whose
// claim does not have it any more has ended, while the namespace of a new allocation
// would look the same if the claims were those from before.
func (r *reader) snapshot(ctx context.Context) (*model.Snapshot, error) {
	s := &model.Snapshot{Driver: r.driver, Now: r.clock.Now()}
	namespaces, err := r.client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: spaceapi.KeysFor(r.driver).ClaimUID})
	if err = allowed(s, err, model.ListNamespaces); err != nil {
		return nil, fmt.Errorf("list Namespaces: %w", err)
	}
	if !s.Missing.Has(model.ListNamespaces) {
		s.Namespaces = namespaces.Items
	}
	return s, nil
}

// spaces adds the quotas of spaces. Whoever may not list them or the namespaces may yet
// read those of his own claims.
func (r *reader) spaces(ctx context.Context, s *model.Snapshot, claims []resourceapi.ResourceClaim) error {
	keys := spaceapi.KeysFor(r.driver)
	all, err := r.client.CoreV1().ResourceQuotas("").List(ctx, metav1.ListOptions{LabelSelector: keys.ClaimUID})
	if err == nil {
		s.Quotas = all.Items
	} else if !apierrors.IsForbidden(err) {
		return fmt.Errorf("list ResourceQuotas: %w", err)
	}
	readQuotas := err == nil
	for i := range claims {
		for _, name := range r.namespacesOf(&claims[i]) {
			if s.Missing.Has(model.ListNamespaces) {
				if err := r.namespace(ctx, s, name); err != nil {
					return err
				}
			}
			if !readQuotas {
				if err := r.quota(ctx, s, name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// namespacesOf are those that a claim's status names.
func (r *reader) namespacesOf(claim *resourceapi.ResourceClaim) []string {
	a := identity.Of(claim, r.driver)
	if a == nil {
		return nil
	}
	var out []string
	for _, share := range a.Shares {
		if _, data, err := status.Read(claim, r.driver, a, share); err == nil && data != nil {
			out = append(out, data.Namespace)
		}
	}
	return out
}

func (r *reader) namespace(ctx context.Context, s *model.Snapshot, name string) error {
	ns, err := r.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	denied := apierrors.IsForbidden(err)
	if err := allowed(s, err, model.GetNamespaces); err != nil {
		return fmt.Errorf("get Namespace %s: %w", name, err)
	}
	if !denied {
		s.Namespaces = append(s.Namespaces, *ns)
	}
	return nil
}

func (r *reader) quota(ctx context.Context, s *model.Snapshot, namespace string) error {
	quota, err := r.client.CoreV1().ResourceQuotas(namespace).Get(ctx, spaceapi.LimitsName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	denied := apierrors.IsForbidden(err)
	if err := allowed(s, err, model.GetQuotas); err != nil {
		return fmt.Errorf("get ResourceQuota %s/%s: %w", namespace, spaceapi.LimitsName, err)
	}
	if !denied {
		s.Quotas = append(s.Quotas, *quota)
	}
	return nil
}

// readEvents adds the events about one object.
func (r *reader) readEvents(ctx context.Context, s *model.Snapshot, kind, namespace, name string) error {
	list, err := r.client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: fields.Set{
		"involvedObject.kind": kind, "involvedObject.name": name,
	}.AsSelector().String()})
	denied := apierrors.IsForbidden(err)
	if err := allowed(s, err, model.ListEvents); err != nil {
		return fmt.Errorf("list Events about %s %s/%s: %w", kind, namespace, name, err)
	}
	if !denied {
		s.Events = append(s.Events, list.Items...)
	}
	return nil
}

// allowed takes a refusal for a right that is missing, and returns any other error.
func allowed(s *model.Snapshot, err error, right model.Right) error {
	if apierrors.IsForbidden(err) {
		s.Missing = s.Missing.With(right)
		return nil
	}
	return err
}

// one reads what there is about one claim, or about what is left of its spaces.
func (r *reader) one(ctx context.Context, namespace, name string) (*model.Snapshot, error) {
	s, err := r.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	claim, missing := r.client.ResourceV1().ResourceClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case missing == nil:
		s.Claims = []resourceapi.ResourceClaim{*claim}
	case !apierrors.IsNotFound(missing):
		return nil, fmt.Errorf("get ResourceClaim %s/%s: %w", namespace, name, missing)
	}
	pods, err := r.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err = allowed(s, err, model.ListPods); err != nil {
		return nil, fmt.Errorf("list Pods: %w", err)
	}
	if !s.Missing.Has(model.ListPods) {
		s.Pods = pods.Items
	}
	if err := r.spaces(ctx, s, s.Claims); err != nil {
		return nil, err
	}
	if missing != nil && len(s.Remains(namespace, name)) == 0 {
		return nil, fmt.Errorf("get ResourceClaim %s/%s: %w", namespace, name, missing)
	}
	return s, r.readEvents(ctx, s, "ResourceClaim", namespace, name)
}

// claimOfSpace says of which claim a namespace is the space: its namespace and name.
func (r *reader) claimOfSpace(ctx context.Context, name string) (string, string, error) {
	ns, err := r.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", "", fmt.Errorf("get Namespace %s: %w", name, err)
	}
	keys := spaceapi.KeysFor(r.driver)
	if ns.Labels[keys.ClaimUID] == "" {
		return "", "", fmt.Errorf("namespace %s is not that of a space", name)
	}
	return ns.Annotations[keys.ClaimNamespace], ns.Annotations[keys.ClaimName], nil
}

func only[T any](items []T, wanted func(T) bool) []T {
	var out []T
	for _, item := range items {
		if wanted(item) {
			out = append(out, item)
		}
	}
	return out
}
