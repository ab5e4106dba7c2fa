// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controller owns the cluster's side of spaces: it makes a namespace when
// a claim is allocated, says so in the claim's status, and ends it when the claim
// is deallocated.
package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/utils/clock"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/blueprint"
	"github.com/space-dra/space-dra-driver/pkg/space/client"
	"github.com/space-dra/space-dra-driver/pkg/space/health"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/pool"
)

const component = "space-controller"

// Run implements command.Component.
func (o *Options) Run(ctx context.Context) error {
	if err := o.validate(); err != nil {
		return err
	}
	// Before anything else, so that a controller with a wrong description never
	// takes the place of one with a right one.
	pools, err := o.pools()
	if err != nil {
		return err
	}
	config, err := client.Config(o.Kubeconfig, component+"/"+o.Version)
	if err != nil {
		return err
	}
	requests, err := metrics.NewRequests(metrics.Process{})
	if err != nil {
		return err
	}
	client.Count(config, requests.Count)
	apiServer, err := cidrs("api-server-cidrs", o.APIServerCIDRs)
	if err != nil {
		return err
	}
	dns, err := cidrs("dns-cidrs", o.DNSCIDRs)
	if err != nil {
		return err
	}
	api, err := client.New(config)
	if err != nil {
		return err
	}
	vital := &vitals{clock: clock.RealClock{}, unreadyAfter: o.UnreadyAfter}
	cached := rest.CopyConfig(config)
	vital.reads = client.WatchOver(cached, vital.clock)
	reader, err := client.New(cached)
	if err != nil {
		return err
	}
	nodes, err := metadata.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client for nodes: %w", err)
	}
	events := record.NewBroadcaster(record.WithContext(ctx))
	defer events.Shutdown()
	events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: api.CoreV1().Events("")})

	measured, err := metrics.NewController(metrics.Process{}, o.Version)
	if err != nil {
		return err
	}
	c, err := New(Config{
		Client: api,
		Reader: reader,
		Settings: blueprint.Settings{
			Driver:          o.Driver,
			NamespacePrefix: o.NamespacePrefix,
			ClusterRole:     o.ClusterRole,
			PodSecurity:     o.PodSecurity,
			Network:         spaceapi.NetworkIsolation(o.Network),
			DNS:             blueprint.DNS{Namespace: o.DNSNamespace, Labels: o.DNSLabels, Port: o.DNSPort, CIDRs: dns},
		},
		Server:  cmp.Or(o.Server, config.Host),
		Events:  events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component}),
		Workers: o.Workers,

		AllowedClusterRoles: o.AllowedClusterRoles,
		ClusterWideRoles:    o.ClusterWideRoles,
		TemplateNamespaces:  o.TemplateNamespaces,
		Pools:               pools.Pools,
		APIServerCIDRs:      apiServer,

		Namespace:     o.namespace(),
		SweepInterval: o.SweepInterval,
		StuckAfter:    o.StuckAfter,
		Metrics:       measured,
		Clock:         clock.RealClock{},
	})
	if err != nil {
		return err
	}
	if err := measured.Count(c.count, c.poolLimits); err != nil {
		return err
	}
	vital.election.clock, vital.tasks = vital.clock, c.tasks
	group, ctx := errgroup.WithContext(ctx)
	ctx, done := context.WithCancel(ctx)
	group.Go(func() error { return o.health(vital).Run(ctx) })
	group.Go(func() error { return o.SecureMetrics.Run(ctx, api, clock.RealClock{}) })
	group.Go(func() error { return health.Profiles{Address: o.PprofAddress}.Run(ctx) })
	group.Go(func() error {
		defer done()
		// Only now, when somebody answers to the kubelet: it must not end the process
		// because the API server is away.
		if err := client.WaitReachable(ctx, config, o.StartTimeout); err != nil {
			return err
		}
		// A standby keeps its caches warm, so that it takes over without reading
		// the cluster first.
		if err := c.Start(ctx); err != nil {
			return err
		}
		vital.synced.Store(true)
		impatient := rest.CopyConfig(config)
		impatient.Timeout = o.RenewDeadline
		leases, err := client.New(impatient)
		if err != nil {
			return err
		}
		return o.lead(ctx, leases, &vital.election, func(ctx context.Context) error {
			return o.work(ctx, pool.Publisher{Driver: o.Driver, Client: api, Metadata: nodes, Pools: pools}, c)
		})
	})
	return group.Wait()
}

// work is what only one controller may do at a time.
func (o *Options) work(ctx context.Context, publisher pool.Publisher, c *Controller) error {
	var err error
	if publisher.Owner, err = o.sliceOwner(ctx, publisher.Client); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	published := make(chan error, 1)
	go func() {
		err := publisher.Run(ctx)
		if err != nil {
			cancel(err)
		}
		published <- err
	}()
	if err := c.Work(ctx); err != nil {
		cancel(err)
		return errors.Join(err, <-published)
	}
	return <-published
}

func (o *Options) sliceOwner(ctx context.Context, api kubernetes.Interface) (*resourceslice.Owner, error) {
	if o.SliceOwner == "" {
		return nil, nil
	}
	role, err := api.RbacV1().ClusterRoles().Get(ctx, o.SliceOwner, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("look up the owner of the ResourceSlices: %w", err)
	}
	return pool.ClusterRoleOwner(role.Name, role.UID), nil
}
