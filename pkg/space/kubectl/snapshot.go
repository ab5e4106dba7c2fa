// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// snapshot contains the objects that the user can read. Commands print nothing else.
type snapshot struct {
	driver string
	now    time.Time
	// claims and pods are those of the namespaces that the command is about, and events those
	// about objects of some kinds in them.
	claims []resourceapi.ResourceClaim
	pods   []corev1.Pod
	events []corev1.Event
	// namespaces and quotas are those of spaces.
	namespaces []corev1.Namespace
	quotas     []corev1.ResourceQuota
	// slices are those of the driver.
	slices  []resourceapi.ResourceSlice
	classes []resourceapi.DeviceClass
	// namespacesVersion and claimsVersion are the resourceVersions from which to watch.
	namespacesVersion, claimsVersion string
	// forbidden are the permissions that the user does not have.
	forbidden []string
}

// Permissions without which a command shows less.
const (
	listPods       = "list pods"
	listEvents     = "list events"
	listNamespaces = "list namespaces"
	listQuotas     = "list resourcequotas"
	listSlices     = "list resourceslices"
	listClasses    = "list deviceclasses"
	getClasses     = "get deviceclasses"
	listAllClaims  = "list resourceclaims in all namespaces"
)

var errNoAPI = errors.New("the cluster does not serve resource.k8s.io/v1: spaces need Kubernetes 1.34.2 or newer")

// tolerateForbidden records a permission as missing if err says that the request is forbidden,
// and returns any other error.
func (s *snapshot) tolerateForbidden(err error, permission string) error {
	if !apierrors.IsForbidden(err) {
		return err
	}
	if !s.lacks(permission) {
		s.forbidden = append(s.forbidden, permission)
	}
	return nil
}

func (s *snapshot) lacks(permission string) bool { return slices.Contains(s.forbidden, permission) }

// note returns a sentence about missing permissions, or nothing.
func (s *snapshot) note() string {
	if len(s.forbidden) == 0 {
		return ""
	}
	return "Some information is missing. You do not have permission to " + strings.Join(s.forbidden, ", ") + "."
}

// reader reads the cluster with the user's permissions. Only permission to list claims is
// required. Other permissions that are missing are listed in the snapshot.
type reader struct {
	client kubernetes.Interface
	driver string
	// namespace is the user's current namespace.
	namespace string
	clock     clock.Clock
}

// spaceListOptions selects the namespaces of spaces and the objects that the controller creates in them.
func (r *reader) spaceListOptions() metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: spaceapi.KeysFor(r.driver).ClaimUID}
}

// read reads the claims and pods of a namespace, or of all namespaces if it is empty, the
// classes, and the namespaces of spaces. It lists namespaces before claims: a namespace that
// belongs to no claim then belongs to a deprovisioned space, and not to a new allocation.
func (r *reader) read(ctx context.Context, namespace string) (*snapshot, error) {
	s := &snapshot{driver: r.driver, now: r.clock.Now()}
	namespaces, err := r.client.CoreV1().Namespaces().List(ctx, r.spaceListOptions())
	if err := s.tolerateForbidden(err, listNamespaces); err != nil {
		return nil, err
	}
	claims, err := r.client.ResourceV1().ResourceClaims(namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil, errNoAPI
	}
	if err != nil {
		return nil, err
	}
	pods, err := r.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err := s.tolerateForbidden(err, listPods); err != nil {
		return nil, err
	}
	classes, err := r.client.ResourceV1().DeviceClasses().List(ctx, metav1.ListOptions{})
	s.namespaces, s.claims, s.pods, s.classes = namespaces.Items, claims.Items, pods.Items, classes.Items
	s.namespacesVersion, s.claimsVersion = namespaces.ResourceVersion, claims.ResourceVersion
	return s, s.tolerateForbidden(err, listClasses)
}

// readAll is read for all namespaces, or for one if the user cannot list claims in the others.
func (r *reader) readAll(ctx context.Context, namespace string) (*snapshot, error) {
	all, denied := r.read(ctx, "")
	if !apierrors.IsForbidden(denied) {
		return all, denied
	}
	s, err := r.read(ctx, namespace)
	if err != nil {
		return nil, err
	}
	return s, s.tolerateForbidden(denied, listAllClaims)
}

// readQuotas adds the quotas of all spaces.
func (r *reader) readQuotas(ctx context.Context, s *snapshot) error {
	quotas, err := r.client.CoreV1().ResourceQuotas("").List(ctx, r.spaceListOptions())
	s.quotas = quotas.Items
	return s.tolerateForbidden(err, listQuotas)
}

func (r *reader) listSlices(ctx context.Context) ([]resourceapi.ResourceSlice, error) {
	published, err := r.client.ResourceV1().ResourceSlices().List(ctx, metav1.ListOptions{FieldSelector: "spec.driver=" + r.driver})
	return published.Items, err
}

// Kinds of the objects that events are about.
const (
	claimEvents = "ResourceClaim"
	podEvents   = "Pod"
)

// readEvents adds the events about objects of a kind in a namespace, or in all namespaces if it is
// empty.
func (r *reader) readEvents(ctx context.Context, s *snapshot, kind, namespace string) error {
	list, err := r.client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=" + kind})
	s.events = append(s.events, list.Items...)
	return s.tolerateForbidden(err, listEvents)
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

func (s *snapshot) keys() spaceapi.Keys { return spaceapi.KeysFor(s.driver) }

// find returns the first item that matches, or nil.
func find[T any](items []T, matches func(*T) bool) *T {
	for i := range items {
		if matches(&items[i]) {
			return &items[i]
		}
	}
	return nil
}

func (s *snapshot) claim(namespace, name string) *resourceapi.ResourceClaim {
	return find(s.claims, func(c *resourceapi.ResourceClaim) bool { return c.Namespace == namespace && c.Name == name })
}

func (s *snapshot) pod(namespace, name string) *corev1.Pod {
	return find(s.pods, func(p *corev1.Pod) bool { return p.Namespace == namespace && p.Name == name })
}

func (s *snapshot) class(name string) *resourceapi.DeviceClass {
	return find(s.classes, func(c *resourceapi.DeviceClass) bool { return c.Name == name })
}

// consumers returns the pods that refer to a claim and are not terminal.
func (s *snapshot) consumers(claim *resourceapi.ResourceClaim) []*corev1.Pod {
	var out []*corev1.Pod
	for i := range s.pods {
		pod := &s.pods[i]
		if pod.Namespace == claim.Namespace && !isTerminal(pod) && slices.Contains(claimsOf(pod), claim.Name) {
			out = append(out, pod)
		}
	}
	return out
}

func isTerminal(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// claimOf returns the name of the claim for an entry of a pod's spec, or nothing if the
// claim is not created from its template yet.
func claimOf(pod *corev1.Pod, ref corev1.PodResourceClaim) string {
	name, _, _ := resourceclaim.Name(pod, &ref) // The name is nil if there is an error.
	return ptr.Deref(name, "")
}

// claimsOf returns the names of the claims of a pod that are created.
func claimsOf(pod *corev1.Pod) []string {
	var out []string
	for _, ref := range pod.Spec.ResourceClaims {
		if name := claimOf(pod, ref); name != "" {
			out = append(out, name)
		}
	}
	if extended := pod.Status.ExtendedResourceClaimStatus; extended != nil {
		out = append(out, extended.ResourceClaimName)
	}
	return out
}

// requestsSpace reports whether a claim has a space, or names a class that provides spaces.
func (s *snapshot) requestsSpace(claim *resourceapi.ResourceClaim) bool {
	if claim.Status.Allocation != nil {
		return slices.ContainsFunc(claim.Status.Allocation.Devices.Results, func(r resourceapi.DeviceRequestAllocationResult) bool { return r.Driver == s.driver })
	}
	return slices.ContainsFunc(classesOf(claim), s.providesSpaces) ||
		slices.ContainsFunc(claim.Spec.Devices.Config, func(c resourceapi.DeviceClaimConfiguration) bool { return s.isForDriver(c.DeviceConfiguration) })
}

// isForDriver reports whether parameters are for the driver.
func (s *snapshot) isForDriver(c resourceapi.DeviceConfiguration) bool {
	return c.Opaque != nil && c.Opaque.Driver == s.driver
}

// providesSpaces reports whether a class is for spaces. A class that cannot be read is for spaces if
// it has the name of the driver, or if a claim has a space of that class.
func (s *snapshot) providesSpaces(name string) bool {
	if class := s.class(name); class != nil {
		return slices.ContainsFunc(class.Spec.Selectors, func(selector resourceapi.DeviceSelector) bool { return mentions(selector, s.driver) }) ||
			slices.ContainsFunc(class.Spec.Config, func(c resourceapi.DeviceClassConfiguration) bool { return s.isForDriver(c.DeviceConfiguration) })
	}
	return name == s.driver || slices.ContainsFunc(s.claims, func(claim resourceapi.ResourceClaim) bool {
		a := allocation.FromClaim(&claim, s.driver)
		return a != nil && slices.ContainsFunc(a.Results, func(result allocation.Result) bool { return result.Class == name })
	})
}

// mentions reports whether a selector has a value as a string constant.
func mentions(selector resourceapi.DeviceSelector, value string) bool {
	return selector.CEL != nil && (strings.Contains(selector.CEL.Expression, `"`+value+`"`) || strings.Contains(selector.CEL.Expression, `'`+value+`'`))
}

// classesOf returns the DeviceClasses of a claim.
func classesOf(claim *resourceapi.ResourceClaim) []string {
	var out []string
	for _, request := range claim.Spec.Devices.Requests {
		if request.Exactly != nil {
			out = append(out, request.Exactly.DeviceClassName)
		}
		for _, sub := range request.FirstAvailable {
			out = append(out, sub.DeviceClassName)
		}
	}
	return out
}
