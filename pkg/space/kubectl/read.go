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
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// reader reads the cluster with the user's rights. What is forbidden is recorded in the
// snapshot; only claims must be readable.
type reader struct {
	client kubernetes.Interface
	driver string
	// namespace is the one that the user works in.
	namespace string
	clock     clock.Clock
}

// ofSpaces selects the namespaces of spaces and what the controller creates in them.
func (r *reader) ofSpaces() metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: spaceapi.KeysFor(r.driver).ClaimUID}
}

// read returns the claims of a namespace, or of all namespaces if it is empty, and what
// says how they are used. Namespaces of spaces are listed before claims: a namespace whose
// claim does not have it is then a former space, and not that of a new allocation.
func (r *reader) read(ctx context.Context, namespace string) (*snapshot, error) {
	s := &snapshot{driver: r.driver, now: r.clock.Now()}
	namespaces, err := r.client.CoreV1().Namespaces().List(ctx, r.ofSpaces())
	if err := s.permit(err, listNamespaces); err != nil {
		return nil, err
	}
	claims, err := r.client.ResourceV1().ResourceClaims(namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil, errors.New("the cluster does not serve resource.k8s.io/v1: spaces need Kubernetes 1.34 or newer")
	}
	if err != nil {
		return nil, err
	}
	pods, err := r.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err := s.permit(err, listPods); err != nil {
		return nil, err
	}
	classes, err := r.client.ResourceV1().DeviceClasses().List(ctx, metav1.ListOptions{})
	s.namespaces, s.claims, s.pods, s.classes = namespaces.Items, claims.Items, pods.Items, classes.Items
	s.namespacesVersion, s.claimsVersion = namespaces.ResourceVersion, claims.ResourceVersion
	return s, s.permit(err, listClasses)
}

// readAll returns the claims of all namespaces, or of one for users who may not list the others.
func (r *reader) readAll(ctx context.Context, namespace string) (*snapshot, error) {
	all, denied := r.read(ctx, "")
	if !apierrors.IsForbidden(denied) {
		return all, denied
	}
	s, err := r.read(ctx, namespace)
	if err != nil {
		return nil, err
	}
	return s, s.permit(denied, listAllClaims)
}

func (r *reader) readQuotas(ctx context.Context, s *snapshot) error {
	quotas, err := r.client.CoreV1().ResourceQuotas("").List(ctx, r.ofSpaces())
	s.quotas = quotas.Items
	return s.permit(err, listQuotas)
}

func (r *reader) listSlices(ctx context.Context) ([]resourceapi.ResourceSlice, error) {
	published, err := r.client.ResourceV1().ResourceSlices().List(ctx, metav1.ListOptions{FieldSelector: "spec.driver=" + r.driver})
	return published.Items, err
}

// readEvents adds the events of a namespace about objects of a kind.
func (r *reader) readEvents(ctx context.Context, s *snapshot, kind, namespace string) error {
	list, err := r.client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=" + kind})
	s.events = list.Items
	return s.permit(err, listEvents)
}

// claimOfSpace returns the namespace and the name of the claim that a space belongs to.
func (r *reader) claimOfSpace(ctx context.Context, space string) (namespace, name string, err error) {
	ns, err := r.client.CoreV1().Namespaces().Get(ctx, space, metav1.GetOptions{})
	if err != nil {
		return "", "", err
	}
	keys := spaceapi.KeysFor(r.driver)
	if ns.Labels[keys.ClaimUID] == "" {
		return "", "", fmt.Errorf("namespace %s does not belong to a space", space)
	}
	return ns.Annotations[keys.ClaimNamespace], ns.Annotations[keys.ClaimName], nil
}
