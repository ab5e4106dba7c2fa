// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
	spaceclient "github.com/space-dra/space-dra-driver/pkg/space/client"
	spaceconfig "github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
	"github.com/space-dra/space-dra-driver/pkg/space/pools"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

// desiredClaim is the desired state of an allocated claim.
type desiredClaim struct {
	*allocation.Allocation
	claim *resourceapi.ResourceClaim
	// inUse means that the spaces are ready according to the claim's status.
	inUse bool
	// conditions are those of the first result in the claim's status. They are the same for all
	// results.
	conditions []metav1.Condition
	// spaces are in the order of the allocation's results.
	spaces []*desiredSpace
	// edits are the variables and directories of the spaces in containers, unless rejected is set. The
	// names of the namespaces in them are placeholders.
	edits []containeredits.Edits
	// rejected is why the allocation gets no spaces, or nil.
	rejected error
	// lifetime is how long the spaces can exist, and maxLifetime how long with the longest possible
	// extension. Both are zero if there is no limit.
	lifetime, maxLifetime time.Duration
	// expiresIn is the remaining lifetime of the spaces. It is zero if there is no limit, and for
	// expired spaces.
	expiresIn time.Duration
	expired   bool
	// invalidExtension is why the requested extension is not the one that applies, or nil.
	invalidExtension error
	// restored means that the controller restored spaces in use, or their claim's status.
	restored atomic.Bool
}

// desiredSpace is the desired state of the space of a result.
type desiredSpace struct {
	allocation.Result
	config spaceconfig.SpaceConfig
	// name is the name of the namespace.
	name string
	// namespace is the cached Namespace. It is nil if there is none, until ensureNamespace sets it.
	namespace *corev1.Namespace
	// objects is set by setDesiredObjects, and serviceAccountUID by ensure.
	objects           resources.Objects
	serviceAccountUID types.UID
}

// newDesiredClaim returns the desired state of a claim, or nil if the claim is nil or not allocated.
// namespaces are those of the claim's spaces.
func (r *Reconciler) newDesiredClaim(ctx context.Context, claim *resourceapi.ResourceClaim, namespaces []corev1.Namespace) (*desiredClaim, error) {
	driver := r.config.Defaults.Driver
	a := allocation.FromClaim(claim, driver)
	if a == nil {
		return nil, nil
	}
	desired := &desiredClaim{Allocation: a, claim: claim, inUse: isReady(claim, driver, a), conditions: claimstatus.Conditions(claim, driver, a.Results[0])}
	// An admission policy of the chart rejects claims in spaces when they are written. But it knows
	// only the classes that it was configured with, and it can be removed. The cache has only the
	// namespaces of spaces.
	claimNamespace := &corev1.Namespace{}
	err := r.client.Get(ctx, client.ObjectKey{Name: a.Claim.Namespace}, claimNamespace)
	if spaceclient.IgnoreNotFound(err) != nil {
		return nil, err
	}
	var rejected error
	if err == nil && claimNamespace.Labels[r.keys.NestedSpaces] != spaceapi.NestedSpacesAllowed {
		rejected = fmt.Errorf("claims in namespace %s cannot get spaces: it is a space whose DeviceClass does not set allowNestedSpaces", a.Claim.Namespace)
	}

	var containerConfigs []spaceconfig.ContainerConfig
	for _, result := range a.Results {
		space, err := r.newDesiredSpace(a, result, namespaces)
		if rejected == nil {
			rejected = err
		}
		desired.spaces = append(desired.spaces, space)
		containerConfigs = append(containerConfigs, space.config.ContainerConfig)
	}
	if rejected == nil {
		// No node could prepare it.
		desired.edits, rejected = containeredits.Preview(driver, a, containerConfigs)
	}
	if rejected != nil {
		desired.rejected = &reasonError{spaceapi.ReasonInvalidParameters, rejected}
	} else if err := checkConsumers(claim); err != nil && !desired.inUse && !slices.ContainsFunc(claim.Status.ReservedFor, isPod) {
		desired.rejected = &reasonError{spaceapi.ReasonUnsupportedConsumer, err}
	}
	desired.setLifetime(r.keys, r.clock.Now())
	return desired, nil
}

// newDesiredSpace returns the desired state of the space of a result. It also returns a space with an
// error, which is the reason why the result gets no space.
func (r *Reconciler) newDesiredSpace(a *allocation.Allocation, result allocation.Result, namespaces []corev1.Namespace) (*desiredSpace, error) {
	consumer := result
	if consumer.ShareID == nil && len(consumer.ConsumedCapacity) == 0 && !ptr.Deref(consumer.AdminAccess, false) {
		// The device of a cluster without shareable devices has no capacity that the space can consume.
		consumer.ConsumedCapacity = pools.DefaultPart(r.config.Pools, result.Pool)
	}
	config, err := r.config.Defaults.Resolve(a, consumer)
	if err == nil {
		err = r.config.Defaults.CheckAllowed(config.Recorded)
	}
	config.LimitQuota(consumer.ConsumedCapacity)
	space := &desiredSpace{Result: result, config: config, name: result.NamespaceName(config.NamespacePrefix)}
	for i := range namespaces {
		ns := &namespaces[i]
		if !a.Owns(ns, r.keys) || !result.MatchesName(ns.Name) {
			continue
		}
		// A space keeps its name when the prefix changes.
		space.namespace, space.name = ns, ns.Name
		// The recorded configuration takes precedence over the current parameters and settings.
		if recorded, damaged := spaceconfig.DecodeRecorded(ns.Annotations[r.keys.Config]); damaged == nil {
			space.config.Recorded, err = recorded, nil
		}
	}
	return space, err
}

// setDesiredObjects sets the desired objects of the spaces.
func (r *Reconciler) setDesiredObjects(ctx context.Context, desired *desiredClaim) error {
	environment := resources.Environment{Driver: r.config.Defaults.Driver, DNS: r.config.DNS, TokenAudiences: r.tokenAudiences(ctx)}
	var err error
	if environment.APIServer, err = r.apiServerDestinations(ctx); err != nil {
		return err
	}
	for _, space := range desired.spaces {
		space.objects = environment.Objects(desired.Allocation, space.Result, space.name, space.config)
	}
	return nil
}

// hasBindingConditions reports whether the scheduler waits for the spaces before it binds a pod.
func (d *desiredClaim) hasBindingConditions() bool {
	return slices.ContainsFunc(d.Results, func(result allocation.Result) bool { return len(result.BindingConditions) > 0 })
}

// comparesAtIntervals reports whether a space has objects that are not in the cache, so that no event
// shows that they changed.
func (d *desiredClaim) comparesAtIntervals() bool {
	return slices.ContainsFunc(d.spaces, func(space *desiredSpace) bool {
		return len(space.objects.Copies)+len(space.objects.AccessBindings) > 0
	})
}

// keeps reports whether a namespace belongs to a space that has not expired. d may be nil.
func (d *desiredClaim) keeps(ns *corev1.Namespace, keys spaceapi.Keys) bool {
	return d != nil && !d.expired && d.Owns(ns, keys)
}

// recordedConfig returns the recorded configuration of the space in a namespace, for its revocation. If
// it is damaged, it returns everything that a space can have, and no retention.
func (r *Reconciler) recordedConfig(ns *corev1.Namespace) spaceconfig.Recorded {
	recorded, err := spaceconfig.DecodeRecorded(ns.Annotations[r.keys.Config])
	if err != nil {
		return spaceconfig.Recorded{
			ClusterRoles: make([]string, spaceapi.MaxClusterRoles), ClusterWideRoles: r.config.Defaults.ClusterWideRoles, Access: make([]spaceapi.Access, spaceapi.MaxAccess),
		}
	}
	return recorded
}
