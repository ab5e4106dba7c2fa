// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	eventrecord "k8s.io/client-go/tools/record"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/space-dra/space-dra-driver/pkg/space/client"
	"github.com/space-dra/space-dra-driver/pkg/space/httpserver"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// drainTimeout is how long calls of the kubelet may take to end when the plugin stops. It
// is shorter than the 30 seconds after which the kubelet kills a pod by default.
const drainTimeout = 25 * time.Second

// Run implements command.Component.
func (o *Options) Run(ctx context.Context) error {
	if err := o.validate(); err != nil {
		return err
	}
	logger := klog.LoggerWithValues(klog.FromContext(ctx), logkeys.Node, o.NodeName)
	ctx, fail := context.WithCancelCause(klog.NewContext(ctx, logger))
	defer fail(nil)

	config, err := client.Config(o.Kubeconfig, component+"/"+o.Version)
	if err != nil {
		return err
	}
	api, err := client.New(config)
	if err != nil {
		return err
	}
	// What is needed until the kubelet's calls have ended does not end with ctx.
	running := context.WithoutCancel(ctx)
	events := eventrecord.NewBroadcaster(eventrecord.WithContext(running))
	defer events.Shutdown()
	events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: api.CoreV1().Events("")})
	driver, err := o.driver(api, o.apiServer(config), events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component, Host: o.NodeName}), legacyregistry.Registerer(), fail)
	if err != nil {
		return err
	}
	// Whatever the API server does, pods must be able to go: the plugin serves
	// without it, and only says so when it can't be reached.
	go func() { _ = client.WaitReachable(ctx, config, time.Hour) }()

	defer func() {
		if err := driver.Close(); err != nil {
			logger.Error(err, "Cannot remove the staging directories")
		}
	}()
	driver.Start(running)
	defer driver.Stop()
	kubelet := &kubeletConnection{socket: o.servingPath(), registrar: o.registrationPath()}
	helper, err := kubeletplugin.Start(running, driver, append(o.helperOptions(kubelet), kubeletplugin.KubeClient(api))...)
	if err != nil {
		return fmt.Errorf("register with the kubelet: %w", err)
	}
	// It may wait for the API server, which pods must be able to go without, and for as
	// long as the helper runs.
	var publishing sync.WaitGroup
	defer publishing.Wait()
	defer helper.Stop()
	publishing.Go(func() {
		if err := driver.publisher.run(ctx, helper); err != nil && ctx.Err() == nil {
			fail(fmt.Errorf("publish ResourceSlices: %w", err))
		}
	})

	var serving sync.WaitGroup
	defer serving.Wait()
	serving.Go(func() {
		// Pods need spaces more than this process needs a doctor, but a plugin
		// that nobody can ask is found out only by crashing.
		if err := o.health(kubelet).Run(ctx); err != nil {
			fail(err)
		}
	})

	serving.Go(func() {
		if err := (httpserver.Profiles{Address: o.PprofAddress}).Run(ctx); err != nil {
			fail(err)
		}
	})

	<-ctx.Done()
	draining, cancel := context.WithTimeout(running, drainTimeout)
	defer cancel()
	if err := kubelet.drain(draining); err != nil {
		logger.Error(err, "Stopping although a call is in progress")
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func (o *Options) helperOptions(kubelet *kubeletConnection) []kubeletplugin.Option {
	return []kubeletplugin.Option{
		kubeletplugin.DriverName(o.Driver),
		kubeletplugin.NodeName(o.NodeName),
		kubeletplugin.RegistrarDirectoryPath(o.registryDir()),
		kubeletplugin.PluginDataDirectoryPath(o.dataDir()),
		kubeletplugin.PluginSocket(filepath.Base(o.servingPath())),
		kubeletplugin.RollingUpdate(o.instance()),
		kubeletplugin.Serialize(false),
		kubeletplugin.GRPCInterceptor(kubelet.intercept),
	}
}

// health says when the plugin is ready: as soon as a pod that starts on the node
// finds it. It is live unless it can no longer be asked or found, which
// a restart fixes. The API server is not asked: pods have to end without it.
func (o *Options) health(kubelet *kubeletConnection) httpserver.Server {
	return httpserver.Server{
		Address: o.HTTPAddress,
		Live:    kubelet.answers,
		Ready: func(ctx context.Context) error {
			if err := kubelet.registered(); err != nil {
				return err
			}
			return kubelet.answers(ctx)
		},
	}
}

func (o *Options) driver(api kubernetes.Interface, server APIServer, events eventrecord.EventRecorder, registry prometheus.Registerer, fail func(error)) (*Driver, error) {
	pools, err := o.pools()
	if err != nil {
		return nil, err
	}
	measured := metrics.NewPlugin(registry, o.Version)
	driver, err := New(Config{
		Driver:         o.Driver,
		Node:           o.NodeName,
		Client:         api,
		TokenRequester: token.Requester{Client: api, Node: o.NodeName, Lifetime: o.TokenLifetime, Clock: clock.RealClock{}},
		// Two installations on a node must not take each other's claims for their own.
		CredentialsDir: filepath.Join(o.CredentialsDir, o.Driver),
		CDIDir:         o.CDIDir,
		APIServer:      server,
		PrepareTimeout: o.PrepareTimeout,
		Clock:          clock.RealClock{},
		Events:         events,
		Metrics:        measured,
		Pools:          pools,
		Fail:           fail,
	})
	if err != nil {
		return nil, err
	}
	measured.Watch(driver.tokens.summary)
	return driver, nil
}
