// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// snapshot has all objects of the spaces of one driver.
type snapshot struct {
	driver     string
	claims     []resourceapi.ResourceClaim
	namespaces []corev1.Namespace
	accounts   map[string]*corev1.ServiceAccount
	bindings   map[string]*rbacv1.RoleBinding
}

func takeSnapshot(ctx context.Context, driver string) (*snapshot, error) {
	c := &snapshot{driver: driver, accounts: map[string]*corev1.ServiceAccount{}, bindings: map[string]*rbacv1.RoleBinding{}}
	claims, err := env.Client.ResourceV1().ResourceClaims("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	c.claims = claims.Items
	namespaces, err := env.Client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: spaceapi.KeysFor(driver).ClaimUID})
	if err != nil {
		return nil, err
	}
	c.namespaces = namespaces.Items
	named := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, "space").String()}
	accounts, err := env.Client.CoreV1().ServiceAccounts("").List(ctx, named)
	if err != nil {
		return nil, err
	}
	for i := range accounts.Items {
		c.accounts[accounts.Items[i].Namespace] = &accounts.Items[i]
	}
	bindings, err := env.Client.RbacV1().RoleBindings("").List(ctx, named)
	if err != nil {
		return nil, err
	}
	for i := range bindings.Items {
		c.bindings[bindings.Items[i].Namespace] = &bindings.Items[i]
	}
	return c, nil
}

// differences returns what the allocations do not require, or lack. Each allocated share has one
// complete space that the claim reports as Ready. All other namespaces are terminating, without
// credentials.
func (c *snapshot) differences() []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	remaining := map[string]*corev1.Namespace{}
	for i := range c.namespaces {
		remaining[c.namespaces[i].Name] = &c.namespaces[i]
	}
	for i := range c.claims {
		claim := &c.claims[i]
		a := allocation.FromClaim(claim, c.driver)
		if a == nil {
			continue
		}
		for _, result := range a.Results {
			name := result.NamespaceName(spaceapi.DefaultNamespacePrefix)
			ns := remaining[name]
			delete(remaining, name)
			if ns == nil || ns.DeletionTimestamp != nil || !a.Owns(ns, spaceapi.KeysFor(c.driver)) {
				add("%s/%s: namespace %s does not exist, is not its own, or is Terminating", claim.Namespace, claim.Name, name)
				continue
			}
			for _, problem := range c.problemsOf(claim, a, result, name) {
				add("%s/%s: namespace %s: %s", claim.Namespace, claim.Name, name, problem)
			}
		}
	}
	keys := spaceapi.KeysFor(c.driver)
	for name, ns := range remaining {
		if ns.DeletionTimestamp == nil || c.accounts[name] != nil || c.bindings[name] != nil {
			add("namespace %s of claim %s/%s has no allocation (Terminating: %t, ServiceAccount: %t, RoleBinding: %t)", name,
				ns.Annotations[keys.ClaimNamespace], ns.Annotations[keys.ClaimName], ns.DeletionTimestamp != nil, c.accounts[name] != nil, c.bindings[name] != nil)
		}
	}
	slices.Sort(out)
	return out
}

func (c *snapshot) problemsOf(claim *resourceapi.ResourceClaim, a *allocation.Allocation, result allocation.Result, name string) []string {
	var out []string
	if binding := c.bindings[name]; binding == nil || binding.RoleRef.Name != spaceapi.DefaultClusterRole || len(binding.Subjects) != 1 {
		out = append(out, "no correct RoleBinding")
	}
	condition, space, err := claimstatus.Read(claim, c.driver, a, result)
	switch {
	case err != nil:
		out = append(out, err.Error())
	case space == nil:
		out = append(out, fmt.Sprintf("the claim's condition is %v", condition))
	case c.accounts[name] == nil || c.accounts[name].UID != space.ServiceAccountUID:
		out = append(out, "no ServiceAccount with the UID that the claim's status has")
	}
	return out
}

// awaitConsistent waits until the spaces of a driver are those of its allocations.
func awaitConsistent(t *testing.T, driver string) {
	t.Helper()
	awaitSnapshot(t, driver, "its spaces to be those of the allocations", (*snapshot).differences)
}

// awaitNoNamespaces also waits until no namespace of the driver exists.
func awaitNoNamespaces(t *testing.T, driver string) {
	t.Helper()
	awaitSnapshot(t, driver, "its namespaces to be deleted", func(c *snapshot) []string {
		out := c.differences()
		for i := range c.namespaces {
			out = append(out, fmt.Sprintf("namespace %s of claim %v exists", c.namespaces[i].Name, c.namespaces[i].Annotations))
		}
		return out
	})
}

// awaitSnapshot polls, because no single watch covers several kinds of objects. It waits as long as
// the number of differences decreases: Kubernetes deletes a few namespaces per second, and fewer on a
// busy machine.
func awaitSnapshot(t *testing.T, driver, what string, differences func(*snapshot) []string) {
	t.Helper()
	var last []string
	fewest, since := math.MaxInt, time.Now()
	err := wait.PollUntilContextCancel(t.Context(), 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		c, err := takeSnapshot(ctx, driver)
		if err == nil {
			last = differences(c)
		} else {
			last = []string{err.Error()}
		}
		if err == nil && len(last) < fewest {
			fewest, since = len(last), time.Now()
		}
		if time.Since(since) > framework.Timeout {
			return false, errors.New("no progress")
		}
		return fewest == 0, nil
	})
	if err != nil {
		const enough = 10
		t.Fatalf("driver %s: waited for %s: %v; %d differences, the first of which are:\n%s", driver, what, err, len(last), strings.Join(last[:min(enough, len(last))], "\n"))
	}
}

// reads returns a request that the token of a space allows.
func reads(client kubernetes.Interface, namespace string) framework.Request {
	return func(ctx context.Context) error {
		_, err := client.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
		return err
	}
}

// newRequest returns a request with a new token of a space, and waits until it is allowed.
func newRequest(t *testing.T, namespace string) framework.Request {
	t.Helper()
	request := reads(env.As(t, namespace, spaceapi.ServiceAccountName), namespace)
	framework.AwaitAllowed(t, "a request with the token of namespace "+namespace, request)
	return request
}

// awaitRevoked waits until a request with a token of a space is denied.
func awaitRevoked(t *testing.T, request framework.Request) {
	t.Helper()
	framework.AwaitDenied(t, "a request with a revoked token", request)
}
