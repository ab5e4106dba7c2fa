// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/kubeconfig"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
	"github.com/space-dra/space-dra-driver/pkg/space/view"
)

// ensure makes the spaces of an allocation, and says in the claim how that went.
func (c *Controller) ensure(ctx context.Context, claim *resourceapi.ResourceClaim, p *plan) error {
	switch {
	case p.expired:
		return c.report(ctx, claim, p.Allocation, spaceapi.ReasonExpired,
			fmt.Errorf("the space has existed for %s, the maximum lifetime of its class: its credentials are revoked and its end has begun", p.lifetime))
	case p.refused != nil && isReady(claim, c.Settings.Driver, p.Allocation):
		// What it was given before the installation changed, it keeps.
		return c.noteUsers(ctx, claim, p.Allocation)
	case p.refused != nil:
		return c.report(ctx, claim, p.Allocation, spaceapi.ReasonInvalidParameters, p.refused)
	}
	a := p.Allocation
	start := c.Clock.Now()
	wasReady := isReady(claim, c.Settings.Driver, a)
	if wasReady {
		complete, err := c.complete(ctx, p)
		if err != nil {
			return err
		}
		wasReady = complete
	}
	if !wasReady && isReady(claim, c.Settings.Driver, a) {
		// Said before it is mended: whoever goes on after a crash knows by it that
		// all has to be made, and not only what is looked after.
		if err := c.report(ctx, claim, a, spaceapi.ReasonNamespaceTerminating, errNamespaceGone); err != nil {
			return err
		}
	}
	logger := klog.FromContext(ctx)
	if c.places.begin(a) && !wasReady {
		logger.V(2).Info("Claim allocated", logkeys.Allocation, a.ID, "spaces", len(a.Shares))
	}
	settings := c.settings()
	users := c.usersOf(claim, a)
	entries := make([]status.Entry, len(a.Shares))
	made := make([][]string, len(a.Shares))
	err := sideBySide(len(a.Shares), func(i int) error {
		share := a.Shares[i]
		name := c.nameOf(a, share, p.effective[i])
		done, err := c.provision(ctx, users, settings.For(a, share, name, p.effective[i]), wasReady)
		if err != nil {
			return err
		}
		made[i] = done.made
		entries[i] = c.readyEntry(a, share, name, done)
		return nil
	})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.Metrics.Provision.Observe(c.Clock.Since(start), metrics.Failed)
		return errors.Join(err, c.report(ctx, claim, a, reasonOf(err), err))
	}
	c.failed.forget(a.Claim)

	complete := c.Clock.Now()
	changed, err := c.writeStatus(ctx, claim, a, entries)
	if err != nil {
		return err
	}
	if changed && !wasReady {
		c.Metrics.ProvisionSteps.Observe(c.Clock.Since(complete), metrics.StepStatus)
		c.Metrics.Provision.Observe(c.Clock.Since(start), metrics.Succeeded)
	}
	for i, entry := range entries {
		ns := entry.Data.Namespace
		if wasReady && len(made[i]) > 0 {
			slices.Sort(made[i])
			message := fmt.Sprintf("In namespace %s somebody had deleted or changed %s: made again", ns, strings.Join(made[i], " and "))
			c.Events.Event(reference(claim), corev1.EventTypeWarning, spaceapi.ReasonRepaired, message)
			logger.Info("Space repaired", logkeys.Namespace, ns, "made", made[i])
			continue
		}
		if changed && !wasReady {
			c.Events.Event(reference(claim), corev1.EventTypeNormal, spaceapi.ReasonProvisioned, entry.Ready.Message)
			logger.Info("Space ready", logkeys.Namespace, ns, logkeys.Allocation, a.ID,
				logkeys.Request, entry.Share.Request, logkeys.Duration, c.Clock.Since(start).Round(time.Millisecond))
		}
	}
	return users.settle()
}

// errNamespaceGone is what is said of a space in use without its namespace.
var errNamespaceGone = errors.New("somebody deleted a namespace of the claim: it is made again")

// complete says whether each share of an allocation has its namespace.
func (c *Controller) complete(ctx context.Context, p *plan) (bool, error) {
	for i, share := range p.Shares {
		name := c.nameOf(p.Allocation, share, p.effective[i])
		if c.namespace(name) != nil {
			continue
		}
		// The cache may lag behind.
		_, err := c.Client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("find out whether namespace %s is there: %w", name, err)
		}
	}
	return true, nil
}

// nameOf is the name of the namespace that was made for the share, or is to be.
func (c *Controller) nameOf(a *identity.Allocation, share identity.Share, with parameters.Effective) string {
	recorded, err := c.recordedFor(a.Claim)
	if err == nil {
		for _, ns := range recorded {
			if a.Owns(ns, c.keys) && share.Names(ns.Name) {
				return ns.Name
			}
		}
	}
	return c.Settings.Name(share, with)
}

// sideBySide calls f for 0 to n-1 at the same time. The errors come in order, so
// that the same failures give the same words again.
func sideBySide(n int, f func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = f(i) })
	}
	all.Wait()
	var joined error
	for _, err := range errs {
		switch {
		case joined == nil:
			joined = err
		case err != nil:
			joined = fmt.Errorf("%w; %w", joined, err)
		}
	}
	return joined
}

func (c *Controller) readyEntry(a *identity.Allocation, share identity.Share, namespace string, p provisioned) status.Entry {
	return status.Entry{
		Share: share,
		Ready: metav1.Condition{
			Status:  metav1.ConditionTrue,
			Reason:  spaceapi.ReasonProvisioned,
			Message: fmt.Sprintf("Namespace %s can be used", namespace),
		},
		Data: &spaceapi.SpaceStatus{
			TypeMeta:          metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: spaceapi.SpaceStatusKind},
			AllocationID:      a.ID,
			Namespace:         namespace,
			ServiceAccount:    spaceapi.ServiceAccountName,
			ServiceAccountUID: p.serviceAccountUID,
			Server:            c.Server,
			Kubeconfig:        kubeconfig.Build(c.Server, view.Dir(a.ClaimUID, share.Slot), namespace),
		},
	}
}

func isReady(claim *resourceapi.ResourceClaim, driver string, a *identity.Allocation) bool {
	return !slices.ContainsFunc(a.Shares, func(share identity.Share) bool {
		_, ready, err := status.Ready(claim, driver, a, share)
		return err != nil || !ready
	})
}
