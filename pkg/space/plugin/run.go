// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/space-dra/space-dra-driver/pkg/space/client"
	"github.com/space-dra/space-dra-driver/pkg/space/httpserver"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/pools"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// drainTimeout is how long the plugin waits for calls of the kubelet when it stops. It is shorter than
// the default termination grace period of a pod, 30 seconds.
const drainTimeout = 25 * time.Second

// Run implements command.Component.
func (o *Options) Run(ctx context.Context) error {
	if err := o.validate(); err != nil {
		return err
	}
	logger := klog.LoggerWithValues(klog.FromContext(ctx), logkeys.Node, o.Node)
	ctx, fail := context.WithCancelCause(klog.NewContext(ctx, logger))
	defer fail(nil)

	config, err := client.Config(o.Kubeconfig, component+"/"+o.Version)
	if err != nil {
		return err
	}
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	// Calls of the kubelet in progress need these, so that they do not stop with ctx.
	running := context.WithoutCancel(ctx)
	events := record.NewBroadcaster(record.WithContext(running))
	defer events.Shutdown()
	events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: api.CoreV1().Events("")})
	watchClaim, err := newClaimWatcher(config)
	if err != nil {
		return err
	}
	driver, err := o.newDriver(api, watchClaim, o.apiServer(config), events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component, Host: o.Node}), legacyregistry.Registerer(), fail)
	if err != nil {
		return err
	}
	// This only logs whether the API server is reachable. The plugin serves without it, because
	// Unprepare does not need it.
	go func() { _ = client.WaitForAPIServer(ctx, config, time.Hour) }()

	driver.Start(running)
	defer driver.Stop()
	kubelet := &kubeletConnection{socket: o.servingPath(), registrar: o.registrationPath()}
	helper, err := kubeletplugin.Start(running, driver, append(o.helperOptions(kubelet), kubeletplugin.KubeClient(driver.claims.forHelper()))...)
	if err != nil {
		return fmt.Errorf("register with the kubelet: %w", err)
	}
	var background sync.WaitGroup
	defer background.Wait() // after helper.Stop, which interrupts syncNode
	defer helper.Stop()
	for what, run := range map[string]func(context.Context) error{
		"sync the Node":       func(ctx context.Context) error { return driver.syncNode(ctx, helper) },
		"serve health checks": func(ctx context.Context) error { return httpserver.Serve(ctx, o.HTTPAddress, o.healthHandler(kubelet)) },
		"serve profiles":      func(ctx context.Context) error { return httpserver.Serve(ctx, o.PprofAddress, httpserver.Profiles()) },
	} {
		background.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				fail(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	background.Go(func() { wait.UntilWithContext(ctx, o.removeStaleSockets, resyncInterval) })

	<-ctx.Done()
	draining, cancel := context.WithTimeout(running, drainTimeout)
	defer cancel()
	if err := kubelet.drain(draining); err != nil {
		logger.Error(err, "Stopping while a call is in progress")
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func (o *Options) helperOptions(kubelet *kubeletConnection) []kubeletplugin.Option {
	return []kubeletplugin.Option{
		kubeletplugin.DriverName(o.Driver),
		kubeletplugin.NodeName(o.Node),
		kubeletplugin.RegistrarDirectoryPath(o.registryDir()),
		kubeletplugin.PluginDataDirectoryPath(o.dataDir()),
		kubeletplugin.PluginSocket(filepath.Base(o.servingPath())),
		kubeletplugin.RollingUpdate(o.instance()),
		kubeletplugin.Serialize(false),
		kubeletplugin.GRPCInterceptor(kubelet.intercept),
	}
}

// healthHandler reports the plugin as ready when the kubelet has registered it, and as live if it
// responds at its sockets. They do not depend on the API server, which Unprepare does not need.
func (o *Options) healthHandler(kubelet *kubeletConnection) http.Handler {
	return httpserver.Handler(kubelet.probe, func(ctx context.Context) error {
		if err := kubelet.checkRegistered(); err != nil {
			return err
		}
		return kubelet.probe(ctx)
	})
}

func (o *Options) newDriver(api kubernetes.Interface, watchClaim ClaimWatcher, server APIServer, events record.EventRecorder, registry prometheus.Registerer, fail func(error)) (*Driver, error) {
	config := o.Config
	config.Client, config.WatchClaim, config.APIServer, config.Events, config.Fail = api, watchClaim, server, events, fail
	config.Clock = clock.RealClock{}
	config.TokenRequester = token.Requester{Client: api, Node: o.Node, Lifetime: o.TokenLifetime, Clock: config.Clock}
	// Each installation on a node has its own directory.
	config.CredentialsDir = filepath.Join(o.CredentialsDir, o.Driver)
	if o.PoolsFile != "" {
		var err error
		if config.Pools.Pools, err = pools.Load(o.PoolsFile); err != nil {
			return nil, err
		}
		config.Pools = config.Pools.ForNodes()
	}
	config.Metrics = metrics.NewPlugin(registry, o.Version)
	driver, err := New(config)
	if err != nil {
		return nil, err
	}
	config.Metrics.Collect(driver.tokenMetrics)
	return driver, nil
}
