// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controller provisions the spaces of allocated claims, reports them in the claims' status,
// and deprovisions them when the claims are deallocated.
package controller

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/client"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/pools"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

const component = "space-controller"

// shutdownTimeout is how long reconciles in progress may take when the process stops. It is shorter
// than the default termination grace period of a pod, 30 seconds.
const shutdownTimeout = 25 * time.Second

// bodiesLogLevel is the verbosity at which client-go logs the bodies of requests, including the tokens
// in TokenReviews.
const bodiesLogLevel = 8

// Run implements command.Component.
func (o *Options) Run(ctx context.Context) error {
	if err := o.validate(); err != nil {
		return err
	}
	// This comes first, so that a controller with an invalid configuration never becomes ready.
	set, err := o.poolSet()
	if err != nil {
		return err
	}
	o.Pools = set.Pools
	// Outside of a cluster, kube-root-ca.crt is copied from a namespace that every cluster has.
	o.Namespace = cmp.Or(o.LeaderElection.ResourceNamespace, metav1.NamespaceSystem)
	config, err := client.Config(o.Kubeconfig, component+"/"+o.Version)
	if err != nil {
		return err
	}
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	o.Server = cmp.Or(o.Server, config.Host)
	if o.TokenFile = config.BearerTokenFile; o.TokenFile != "" {
		if _, err := token.AudiencesOf(o.TokenFile); err != nil {
			return err
		}
	}
	mgr, err := o.newManager(ctx, config)
	if err != nil {
		return err
	}
	events := record.NewBroadcaster(record.WithContext(ctx))
	defer events.Shutdown()
	events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: api.CoreV1().Events("")})
	if err := o.addReconciler(ctx, mgr, events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component})); err != nil {
		return err
	}
	publisher := pools.Publisher{Driver: o.Defaults.Driver, Client: api, Pools: set}
	if err := mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		klog.FromContext(ctx).Info("Became leader")
		var err error
		if publisher.Owner, err = o.sliceOwner(ctx, api); err != nil {
			return err
		}
		return publisher.Run(ctx)
	})); err != nil {
		return err
	}

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return client.WaitForAPIServer(ctx, config, o.StartupTimeout) })
	group.Go(func() error { return start(ctx, mgr) })
	return group.Wait()
}

// start runs the manager until ctx is done. A manager that is stopped before its caches are in
// sync never returns (controller-runtime's runnableGroup.Start). start does not wait for it, because
// it has only read until then.
func start(ctx context.Context, mgr ctrl.Manager) error {
	result := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		result <- mgr.Start(ctx)
	}()
	if mgr.GetCache().WaitForCacheSync(ctx) {
		return <-result
	}
	select {
	case err := <-result:
		return err
	default:
		return nil
	}
}

// newManager returns a manager that elects a leader and serves health checks, metrics and profiles.
func (o *Options) newManager(ctx context.Context, config *rest.Config) (ctrl.Manager, error) {
	logger := klog.FromContext(ctx)
	// Messages of the libraries are logged at level 2, and their errors at all levels.
	ctrl.SetLogger(logger.V(2))
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find an identity for leader election: %w", err)
	}
	// The manager's own lock would record events about the Lease, for which the controller has no
	// permission.
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, o.LeaderElection.ResourceNamespace, o.LeaderElection.ResourceName,
		resourcelock.ResourceLockConfig{Identity: hostname + "_" + string(uuid.NewUUID())}, config, o.LeaderElection.RenewDeadline.Duration)
	if err != nil {
		return nil, fmt.Errorf("set up leader election: %w", err)
	}
	options := ctrl.Options{
		Scheme:         scheme.Scheme,
		MapperProvider: newRESTMapper,
		Cache:          o.cacheOptions(),
		Logger:         logger.V(2),
		BaseContext:    func() context.Context { return ctx },

		LeaderElection:                      o.LeaderElection.LeaderElect,
		LeaderElectionID:                    o.LeaderElection.ResourceName,
		LeaderElectionResourceLockInterface: lock,
		// The lease is released when all work has ended.
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &o.LeaderElection.LeaseDuration.Duration,
		RenewDeadline:                 &o.LeaderElection.RenewDeadline.Duration,
		RetryPeriod:                   &o.LeaderElection.RetryPeriod.Duration,
		GracefulShutdownTimeout:       new(shutdownTimeout),

		HealthProbeBindAddress: o.HealthProbeBindAddress,
		PprofBindAddress:       o.PprofBindAddress,
		Metrics:                metricsserver.Options{BindAddress: cmp.Or(o.MetricsBindAddress, "0")},
	}
	if o.MetricsSecure {
		if verbose := logger.V(bodiesLogLevel); verbose.Enabled() {
			return nil, fmt.Errorf("--metrics-secure: --v must be less than %d: client-go would log the tokens of clients that get metrics", bodiesLogLevel)
		}
		options.Metrics.SecureServing = true
		options.Metrics.FilterProvider = filters.WithAuthenticationAndAuthorization
		options.Metrics.TLSOpts = []func(*tls.Config){func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }}
	}
	if o.TLSCertFile != "" {
		// Without this check, the metrics server would use a self-signed certificate if the file does
		// not exist.
		_, err := tls.LoadX509KeyPair(o.TLSCertFile, o.TLSPrivateKeyFile)
		options.Metrics.CertDir, options.Metrics.CertName = filepath.Dir(o.TLSCertFile), filepath.Base(o.TLSCertFile)
		key, keyErr := filepath.Rel(options.Metrics.CertDir, o.TLSPrivateKeyFile)
		if err := errors.Join(err, keyErr); err != nil {
			return nil, fmt.Errorf("load the certificate for metrics: %w", err)
		}
		options.Metrics.KeyName = key
	}
	ctrlmetrics.RegisterRESTClientMetrics(ctrlmetrics.MetricRequestLatency)
	mgr, err := ctrl.NewManager(config, options)
	if err != nil {
		return nil, fmt.Errorf("set up the manager: %w", err)
	}
	return mgr, nil
}

// addReconciler adds the Reconciler and what it needs to the manager.
func (o *Options) addReconciler(ctx context.Context, mgr ctrl.Manager, events record.EventRecorder) error {
	// Standbys keep the caches in sync, too, so that the next leader starts immediately.
	var informers []cache.Informer
	for kind := range o.cacheOptions().ByObject {
		informer, err := mgr.GetCache().GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("cache %T: %w", kind, err)
		}
		informers = append(informers, informer)
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &corev1.Namespace{}, claimIndex, indexByClaim(spaceapi.KeysFor(o.Defaults.Driver))); err != nil {
		return fmt.Errorf("index namespaces by claim: %w", err)
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &resourceapi.ResourceClaim{}, consumerIndex, indexByConsumer); err != nil {
		return fmt.Errorf("index claims by consumer: %w", err)
	}
	roles := map[string]ctrlclient.Reader{}
	for name := range sets.New(slices.Concat(o.Defaults.Roles(), o.Defaults.ClusterWideRoles)...) {
		// Each has its own cache, because the controller has no permission to list all ClusterRoles.
		roleCache, err := cache.New(mgr.GetConfig(), cache.Options{
			HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
			DefaultFieldSelector: named(name), DefaultTransform: cache.TransformStripManagedFields(),
		})
		if err != nil {
			return fmt.Errorf("cache ClusterRole %s: %w", name, err)
		}
		informer, err := roleCache.GetInformer(ctx, &rbacv1.ClusterRole{}, cache.BlockUntilSynced(false))
		if err := errors.Join(err, mgr.Add(roleCache)); err != nil {
			return fmt.Errorf("cache ClusterRole %s: %w", name, err)
		}
		roles[name], informers = roleCache, append(informers, informer)
	}

	r := NewReconciler(o.Config, Clients{mgr.GetClient(), mgr.GetAPIReader(), roles}, events, metrics.NewController(ctrlmetrics.Registry, o.Version), clock.RealClock{})
	elected := mgr.Elected()
	r.metrics.Collect(leaderOnly(elected, r.countSpaces), leaderOnly(elected, r.poolLimits), leaderOnly(elected, r.countStuckTerminating))
	return errors.Join(
		r.SetupWithManager(ctx, mgr),
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("caches", func(*http.Request) error {
			if slices.ContainsFunc(informers, func(i cache.Informer) bool { return !i.HasSynced() }) {
				return errors.New("the caches are not in sync yet")
			}
			return nil
		}),
	)
}

// sliceOwner returns the owner of the ResourceSlices, or nil if none is configured.
func (o *Options) sliceOwner(ctx context.Context, api kubernetes.Interface) (*resourceslice.Owner, error) {
	if o.SliceOwner == "" {
		return nil, nil
	}
	role, err := api.RbacV1().ClusterRoles().Get(ctx, o.SliceOwner, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("look up the owner of the ResourceSlices: %w", err)
	}
	return &resourceslice.Owner{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole", Name: role.Name, UID: role.UID}, nil
}
