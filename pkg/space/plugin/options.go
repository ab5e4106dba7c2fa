// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/artifacts"
	"github.com/space-dra/space-dra-driver/pkg/space/cdi"
	"github.com/space-dra/space-dra-driver/pkg/space/client"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/record"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

const component = "space-kubeletplugin"

// Options are the plugin's settings, one to one its flags.
type Options struct {
	Driver     string
	NodeName   string
	PodUID     string
	Kubeconfig string

	// KubeletDir is the kubelet's root directory.
	KubeletDir   string
	CDIDir       string
	ArtifactsDir string

	TokenLifetime  time.Duration
	PrepareTimeout time.Duration

	// Version is told to the API server and to the log.
	Version string
}

// AddFlags implements command.Component.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Driver, "driver-name", spaceapi.DefaultDriverName, "Name of the DRA driver.")
	fs.StringVar(&o.NodeName, "node-name", "", "Name of the Node that the plugin runs on. Required.")
	fs.StringVar(&o.PodUID, "pod-uid", "", "UID of the plugin's own pod. Set, an old and a new plugin can run side by side during an update.")
	fs.StringVar(&o.Kubeconfig, "kubeconfig", "", "Kubeconfig for the plugin itself. Empty: as a pod in the cluster.")
	fs.StringVar(&o.KubeletDir, "kubelet-directory", "/var/lib/kubelet", "The kubelet's root directory.")
	fs.StringVar(&o.CDIDir, "cdi-directory", "/var/run/cdi", "Directory for CDI specs, known to the container runtime.")
	fs.StringVar(&o.ArtifactsDir, "artifacts-directory", "/var/run/claim-artifacts", "Directory for what containers get; the driver's own, named after it, is below. It holds tokens, so it belongs on a file system in memory.")
	fs.DurationVar(&o.TokenLifetime, "token-lifetime", time.Hour, "Lifetime to ask for. Tokens are renewed after two thirds of what the API server grants.")
	fs.DurationVar(&o.PrepareTimeout, "prepare-timeout", 35*time.Second, "How long the kubelet waits for a space to become ready. The kubelet itself gives up after 45 seconds, and comes back only after a minute or more.")
}

func (o *Options) validate() error {
	var errs []error
	if err := spaceapi.CheckDriverName(o.Driver); err != nil {
		errs = append(errs, err)
	}
	if o.NodeName == "" {
		errs = append(errs, errors.New("--node-name is required: tokens are bound to the Node that the plugin runs on (in a DaemonSet it comes from spec.nodeName)"))
	}
	for flag, dir := range map[string]string{"--kubelet-directory": o.KubeletDir, "--cdi-directory": o.CDIDir, "--artifacts-directory": o.ArtifactsDir} {
		if !filepath.IsAbs(dir) {
			errs = append(errs, fmt.Errorf("%s %q: must be an absolute path, the same as on the host", flag, dir))
		}
	}
	if o.TokenLifetime < token.MinLifetime {
		errs = append(errs, fmt.Errorf("--token-lifetime %s: the API server grants no less than %s", o.TokenLifetime, token.MinLifetime))
	}
	if o.PrepareTimeout <= 0 || o.PrepareTimeout > 40*time.Second {
		errs = append(errs, fmt.Errorf("--prepare-timeout %s: must be more than 0 and at most 40s, because the kubelet gives up after 45s", o.PrepareTimeout))
	}
	return errors.Join(errs...)
}

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
	driver, err := o.driver(api, fail)
	if err != nil {
		return err
	}
	// Whatever the API server does, pods must be able to go: the plugin serves
	// without it, and only says so when it can't be reached.
	go func() { _ = client.WaitReachable(ctx, config, time.Hour) }()

	driver.Start(ctx)
	defer driver.Stop()
	helper, err := kubeletplugin.Start(ctx, driver,
		kubeletplugin.DriverName(o.Driver),
		kubeletplugin.NodeName(o.NodeName),
		kubeletplugin.KubeClient(api),
		kubeletplugin.RegistrarDirectoryPath(filepath.Join(o.KubeletDir, "plugins_registry")),
		kubeletplugin.PluginDataDirectoryPath(o.dataDir()),
		kubeletplugin.RollingUpdate(types.UID(o.PodUID)),
		kubeletplugin.Serialize(false),
		kubeletplugin.HealthService(false),
	)
	if err != nil {
		return fmt.Errorf("register with the kubelet: %w", err)
	}
	defer helper.Stop()

	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func (o *Options) driver(api kubernetes.Interface, fail func(error)) (*Driver, error) {
	// A directory for each driver name, so that two installations on a node never
	// take each other's artifacts for their own.
	files, err := artifacts.NewStore(filepath.Join(o.ArtifactsDir, o.Driver))
	if err != nil {
		return nil, err
	}
	specs, err := cdi.NewStore(o.Driver, o.CDIDir)
	if err != nil {
		return nil, err
	}
	records, err := record.NewStore(filepath.Join(o.dataDir(), "claims"))
	if err != nil {
		return nil, err
	}
	return New(Config{
		Driver:         o.Driver,
		Client:         api,
		Minter:         token.Minter{Client: api, Node: o.NodeName, Lifetime: o.TokenLifetime, Clock: clock.RealClock{}},
		Artifacts:      files,
		Specs:          specs,
		Records:        records,
		PrepareTimeout: o.PrepareTimeout,
		Clock:          clock.RealClock{},
		Fail:           fail,
	}), nil
}

func (o *Options) dataDir() string {
	return filepath.Join(o.KubeletDir, "plugins", o.Driver)
}
