// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package uninstall checks that there are no spaces before the driver is uninstalled.
package uninstall

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/pager"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// maxListed is the maximum number of spaces that the error lists.
const maxListed = 20

// Check returns an error that lists the spaces of a driver, if there are any. Without the
// kubelet plugin, pods that use one stay in Terminating. Without the controller, the namespaces
// remain. Namespaces that are terminating do not need the driver: their credentials are revoked.
func Check(ctx context.Context, api kubernetes.Interface, driver string) error {
	keys := spaceapi.KeysFor(driver)
	var found []string
	// Namespaces are listed before claims, so that a namespace without a claim cannot belong to a new
	// claim.
	byClaim := map[string][]*corev1.Namespace{}
	namespaces := pager.New(pager.SimplePageFunc(func(options metav1.ListOptions) (runtime.Object, error) {
		return api.CoreV1().Namespaces().List(ctx, options)
	}))
	if err := namespaces.EachListItem(ctx, metav1.ListOptions{LabelSelector: keys.ClaimUID}, func(object runtime.Object) error {
		ns := object.(*corev1.Namespace)
		byClaim[ns.Labels[keys.ClaimUID]] = append(byClaim[ns.Labels[keys.ClaimUID]], ns)
		return nil
	}); err != nil {
		return fmt.Errorf("list the namespaces of spaces: %w", err)
	}
	claims := pager.New(pager.SimplePageFunc(func(options metav1.ListOptions) (runtime.Object, error) {
		return api.ResourceV1().ResourceClaims("").List(ctx, options)
	}))
	if err := claims.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		claim := object.(*resourceapi.ResourceClaim)
		a := allocation.FromClaim(claim, driver)
		if a == nil {
			return nil
		}
		var names, others []string
		for _, ns := range byClaim[string(claim.UID)] {
			if a.Owns(ns, keys) {
				names = append(names, ns.Name)
			} else if line := describeNamespace(ns, keys); line != "" {
				others = append(others, line)
			}
		}
		delete(byClaim, string(claim.UID))
		var pods []string
		for _, consumer := range claim.Status.ReservedFor {
			if consumer.APIGroup == "" && consumer.Resource == "pods" {
				pods = append(pods, consumer.Name)
			}
		}
		found = append(append(found, fmt.Sprintf("ResourceClaim %s with namespaces %s and pods %s", a.Claim, orNone(names), orNone(pods))), others...)
		return nil
	}); err != nil {
		return fmt.Errorf("list ResourceClaims: %w", err)
	}
	for _, deprovisioned := range byClaim {
		for _, ns := range deprovisioned {
			if line := describeNamespace(ns, keys); line != "" {
				found = append(found, line)
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	more := ""
	if n := len(found) - maxListed; n > 0 {
		found, more = found[:maxListed], fmt.Sprintf("; and %d more", n)
	}
	// One line, because Helm escapes line breaks.
	return fmt.Errorf("there are spaces of driver %s: %s%s. Without the driver, these pods stay in Terminating, and the namespaces remain. "+
		"Delete the pods, the claims and the retained namespaces, and uninstall again. To uninstall nevertheless, use helm uninstall --no-hooks",
		driver, strings.Join(found, "; "), more)
}

// describeNamespace describes the namespace of a deprovisioned space, or returns "" if it is being
// deleted.
func describeNamespace(ns *corev1.Namespace, keys spaceapi.Keys) string {
	if ns.DeletionTimestamp != nil {
		return ""
	}
	until := ""
	if t := ns.Annotations[keys.RetainedUntil]; t != "" {
		until = ", retained until " + t
	}
	return fmt.Sprintf("Namespace %s of deallocated ResourceClaim %s/%s%s", ns.Name, ns.Annotations[keys.ClaimNamespace], ns.Annotations[keys.ClaimName], until)
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "<none>"
	}
	return strings.Join(names, ", ")
}
