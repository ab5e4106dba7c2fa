// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

// revokeTries is how often RoleBindings of tenants are looked for in one go.
const revokeTries = 10

// ending says what end did.
type ending struct {
	// something is true when anything was left to do.
	something bool
	// kept is true when it was settled that the namespace stays until then.
	kept  bool
	until time.Time
}

// end revokes a space's credentials and deletes its namespace, at once or when
// the time has come for which its class keeps it. It can be called again at any
// point.
//
// The order matters: Kubernetes deletes a namespace's pods first and waits for
// them, so that with a long grace period the RoleBinding would live on for as
// long (k8s.io/kubernetes, pkg/controller/namespace/deletion). Authorization
// follows a deleted RoleBinding faster than authentication follows a deleted
// ServiceAccount, because successful token reviews are cached for ten seconds.
func (c *Controller) end(ctx context.Context, ns *corev1.Namespace) (did ending, err error) {
	start := c.Clock.Now()
	deleted := func(err error) error {
		did.something = did.something || err == nil
		return ignoreNotFound(err)
	}
	mayBind := c.tenantsMayBind(ns.Name)
	if err := c.revokeClusterWide(ctx, ns); err != nil {
		return did, err
	}
	if err := c.disarm(ctx, ns.Name); err != nil {
		return did, fmt.Errorf("revoke the rights in namespace %s: %w", ns.Name, err)
	}
	if err := deleted(c.Client.RbacV1().RoleBindings(ns.Name).Delete(ctx, spaceapi.RoleBindingName, metav1.DeleteOptions{})); err != nil {
		return did, fmt.Errorf("revoke the rights in namespace %s: %w", ns.Name, err)
	}
	if mayBind {
		if err := c.revokeTenants(ctx, ns.Name); err != nil {
			return did, err
		}
	}
	// Last of what is revoked: as long as it is there, this is not through.
	if err := deleted(c.Client.CoreV1().ServiceAccounts(ns.Name).Delete(ctx, spaceapi.ServiceAccountName, metav1.DeleteOptions{})); err != nil {
		return did, fmt.Errorf("revoke the tokens of namespace %s: %w", ns.Name, err)
	}
	revoked := c.Clock.Since(start)
	if did.something {
		klog.FromContext(ctx).V(2).Info("Credentials revoked", logkeys.Namespace, ns.Name)
	}
	switch {
	case ns.DeletionTimestamp != nil:
		c.settled.set(ns.UID, time.Time{})
	case c.keptUntil(ns).IsZero() && retention(ns, c.keys) > 0:
		// In whole seconds, as the annotation has it.
		did.kept, did.until = true, c.Clock.Now().Add(retention(ns, c.keys)).Truncate(time.Second)
		if err := c.retain(ctx, ns, did.until); ignoreNotFound(err) != nil {
			return did, fmt.Errorf("note until when namespace %s is kept: %w", ns.Name, err)
		}
		c.settled.set(ns.UID, did.until)
		c.recountNamespace(ns.Name)
		c.retained(ns)
	case !c.retained(ns):
		// The UID makes sure that what is deleted is what was looked at.
		options := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(ns.UID))}
		if err := deleted(c.Client.CoreV1().Namespaces().Delete(ctx, ns.Name, options)); err != nil {
			return did, fmt.Errorf("delete namespace %s: %w", ns.Name, err)
		}
		c.settled.set(ns.UID, time.Time{})
	}
	if did.something {
		c.Metrics.Revoke.Observe(revoked)
		klog.FromContext(ctx).Info("Space ended", logkeys.Namespace, ns.Name,
			logkeys.Allocation, ns.Labels[c.keys.AllocationID], "kept", did.kept,
			"revokedAfter", revoked.Round(time.Millisecond), logkeys.Duration, c.Clock.Since(start).Round(time.Millisecond))
	}
	return did, nil
}

// disarm takes its subjects from a RoleBinding that a finalizer would keep alive,
// and in force, after its deletion. Tenants who may change it can do that; the
// finalizer itself is theirs.
func (c *Controller) disarm(ctx context.Context, namespace string) error {
	binding := c.binding(namespace)
	if binding == nil || len(binding.Finalizers) == 0 || len(binding.Subjects) == 0 {
		return nil
	}
	_, err := c.Client.RbacV1().RoleBindings(namespace).Patch(ctx, binding.Name, types.MergePatchType, []byte(`{"subjects":null}`), metav1.PatchOptions{})
	return ignoreNotFound(err)
}

// revokeTenants deletes the RoleBindings that tenants made for others. Those would
// live until all pods of the namespace have gone. What runs there with such rights
// may make more meanwhile, so it looks again until there are none in force.
func (c *Controller) revokeTenants(ctx context.Context, namespace string) error {
	api := c.Client.RbacV1().RoleBindings(namespace)
	for range revokeTries {
		list, err := api.List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("list the RoleBindings that tenants made in namespace %s: %w", namespace, err)
		}
		inForce := 0
		for _, binding := range list.Items {
			if binding.DeletionTimestamp != nil && len(binding.Subjects) == 0 {
				continue
			}
			inForce++
			if len(binding.Finalizers) > 0 && len(binding.Subjects) > 0 {
				if _, err := api.Patch(ctx, binding.Name, types.MergePatchType, []byte(`{"subjects":null}`), metav1.PatchOptions{}); ignoreNotFound(err) != nil {
					return fmt.Errorf("revoke RoleBinding %s/%s, which a tenant made: %w", namespace, binding.Name, err)
				}
			}
			if err := api.Delete(ctx, binding.Name, metav1.DeleteOptions{}); ignoreNotFound(err) != nil {
				return fmt.Errorf("delete RoleBinding %s/%s, which a tenant made: %w", namespace, binding.Name, err)
			}
		}
		if inForce == 0 {
			return nil
		}
	}
	return fmt.Errorf("RoleBindings in namespace %s are made as fast as they are deleted", namespace)
}

// retain notes in the namespace until when it is kept.
func (c *Controller) retain(ctx context.Context, ns *corev1.Namespace, until time.Time) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		// Another UID would be another namespace of the name.
		"uid":         ns.UID,
		"annotations": map[string]string{c.keys.RetainedUntil: until.UTC().Format(time.RFC3339)},
	}})
	if err != nil {
		return err
	}
	_, err = c.Client.CoreV1().Namespaces().Patch(ctx, ns.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// retention is how long the namespace is to be kept after its end.
func retention(ns *corev1.Namespace, keys spaceapi.Keys) time.Duration {
	d, err := time.ParseDuration(ns.Annotations[keys.Retain])
	if err != nil {
		return 0
	}
	return d
}

// keptUntil is until when it was settled that the namespace stays. Zero: it was not.
func (c *Controller) keptUntil(ns *corev1.Namespace) time.Time {
	if until, err := time.Parse(time.RFC3339, ns.Annotations[c.keys.RetainedUntil]); err == nil {
		return until
	}
	until, _ := c.settled.get(ns.UID)
	return until
}

// retained says whether the namespace is to be kept now. If so, it is looked at
// again when that is over.
func (c *Controller) retained(ns *corev1.Namespace) bool {
	left := c.keptUntil(ns).Sub(c.Clock.Now())
	if left > 0 {
		c.queue.AddAfter(c.claimOf(ns), left)
	}
	return left > 0
}

// ended says whether nothing is left to do for a namespace but to wait, for
// Kubernetes to remove it or for the time to do so.
func (c *Controller) ended(ns *corev1.Namespace) bool {
	account, binding := c.account(ns.Name), c.binding(ns.Name)
	if binding != nil && binding.DeletionTimestamp != nil && len(binding.Subjects) > 0 {
		return false // a finalizer keeps it, in force
	}
	// A namespace that is kept, other than one that is being deleted, can still be
	// written to: by a controller that was paused, say.
	if kept, known := c.settled.get(ns.UID); known && kept.IsZero() {
		return true
	}
	return (ns.DeletionTimestamp != nil || c.retained(ns)) && !c.hasClusterWide(ns) &&
		(account == nil || account.DeletionTimestamp != nil) && (binding == nil || binding.DeletionTimestamp != nil)
}

// settled remembers which namespaces were ended, because the caches show it some
// time later, and each step of an end is an event that leads back here.
type settled struct {
	mutex sync.Mutex
	// kept has the time until which a namespace is kept, zero for one that is
	// being deleted.
	kept map[types.UID]time.Time
}

func (s *settled) set(namespace types.UID, kept time.Time) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.kept[namespace] = kept
}

func (s *settled) get(namespace types.UID) (kept time.Time, known bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	kept, known = s.kept[namespace]
	return kept, known
}

// forget is for a namespace that has gone.
func (s *settled) forget(namespace types.UID) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.kept, namespace)
}

// keepOnly forgets all namespaces but those that exist.
func (s *settled) keepOnly(exists func(types.UID) bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	maps.DeleteFunc(s.kept, func(uid types.UID, _ time.Time) bool { return !exists(uid) })
}

// ignoreNotFound turns "already gone" into success.
func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
