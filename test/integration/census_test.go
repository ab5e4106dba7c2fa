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

// census has all objects of the spaces of one driver.
type census struct {
	driver     string
	claims     []resourceapi.ResourceClaim
	namespaces []corev1.Namespace
	accounts   map[string]*corev1.ServiceAccount
	bindings   map[string]*rbacv1.RoleBinding
}

func takeCensus(ctx context.Context, driver string) (*census, error) {
	c := &census{driver: driver, accounts: map[string]*corev1.ServiceAccount{}, bindings: map[string]*rbacv1.RoleBinding{}}
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

// differences returns what is not as the allocations require: each share has to
// have one complete space that the claim reports as Ready, and there may be nothing else
// but namespaces without credentials that Kubernetes is deleting.
func (c *census) differences() []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	spare := map[string]*corev1.Namespace{}
	for i := range c.namespaces {
		spare[c.namespaces[i].Name] = &c.namespaces[i]
	}
	for i := range c.claims {
		claim := &c.claims[i]
		a := allocation.FromClaim(claim, c.driver)
		if a == nil {
			continue
		}
		for _, result := range a.Results {
			name := result.NamespaceName(spaceapi.DefaultNamespacePrefix)
			ns := spare[name]
			delete(spare, name)
			if ns == nil || ns.DeletionTimestamp != nil || !a.Owns(ns, spaceapi.KeysFor(c.driver)) {
				say("%s/%s: namespace %s is not there, not its own, or Terminating", claim.Namespace, claim.Name, name)
				continue
			}
			for _, fault := range c.faultsOf(claim, a, result, name) {
				say("%s/%s: namespace %s: %s", claim.Namespace, claim.Name, name, fault)
			}
		}
	}
	keys := spaceapi.KeysFor(c.driver)
	for name, ns := range spare {
		if ns.DeletionTimestamp == nil || c.accounts[name] != nil || c.bindings[name] != nil {
			say("namespace %s of claim %s/%s is left over (Terminating: %t, ServiceAccount: %t, RoleBinding: %t)", name,
				ns.Annotations[keys.ClaimNamespace], ns.Annotations[keys.ClaimName], ns.DeletionTimestamp != nil, c.accounts[name] != nil, c.bindings[name] != nil)
		}
	}
	slices.Sort(out)
	return out
}

func (c *census) faultsOf(claim *resourceapi.ResourceClaim, a *allocation.Allocation, result allocation.Result, name string) []string {
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

// awaitExact waits until there are no differences.
func awaitExact(t *testing.T, driver string) {
	t.Helper()
	awaitCensus(t, driver, "the spaces are those of the allocations", (*census).differences)
}

// awaitNothing waits until no namespace of the driver exists.
func awaitNothing(t *testing.T, driver string) {
	t.Helper()
	awaitCensus(t, driver, "no namespace is left", func(c *census) []string {
		out := c.differences()
		for i := range c.namespaces {
			out = append(out, fmt.Sprintf("namespace %s of claim %v is there", c.namespaces[i].Name, c.namespaces[i].Annotations))
		}
		return out
	})
}

// awaitCensus polls, because no single watch follows several kinds of objects. It waits
// for as long as the number of faults decreases: Kubernetes deletes a few
// namespaces a second, and fewer on a busy machine.
func awaitCensus(t *testing.T, driver, what string, faults func(*census) []string) {
	t.Helper()
	var last []string
	fewest, since := math.MaxInt, time.Now()
	err := wait.PollUntilContextCancel(t.Context(), 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		c, err := takeCensus(ctx, driver)
		if err == nil {
			last = faults(c)
		} else {
			last = []string{err.Error()}
		}
		if err == nil && len(last) < fewest {
			fewest, since = len(last), time.Now()
		}
		if time.Since(since) > framework.Patience {
			return false, errors.New("there is no progress")
		}
		return fewest == 0, nil
	})
	if err != nil {
		const enough = 10
		t.Fatalf("waited until for driver %s %s: %v; %d differences, the first of which are:\n%s", driver, what, err, len(last), strings.Join(last[:min(enough, len(last))], "\n"))
	}
}

// reads is a request that the token of a space allows.
func reads(client kubernetes.Interface, namespace string) framework.Request {
	return func(ctx context.Context) error {
		_, err := client.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
		return err
	}
}

// readsIn is a request with a token of a space, which the API server allows.
func readsIn(t *testing.T, namespace string) framework.Request {
	t.Helper()
	request := reads(env.As(t, namespace, spaceapi.ServiceAccountName), namespace)
	framework.AwaitAllowed(t, "a request with the token of namespace "+namespace, request)
	return request
}

// awaitRevoked waits until a request with a token of a space is refused.
func awaitRevoked(t *testing.T, request framework.Request) {
	t.Helper()
	framework.AwaitRefused(t, "a request with a token that is revoked", request)
}
