// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

const component = "space-kubeletplugin"

const (
	// maxSocketPath is the maximum length of the path of a Unix socket on Linux: Go reserves
	// the last of 108 bytes for a NUL.
	maxSocketPath = 107
	// instanceLength is the length of the part of the pod's UID in the names of sockets.
	instanceLength = 8
)

// Options are the plugin's flags. They set Driver, Node, CDIDir, CredentialsDir, APIServer,
// PrepareTimeout and Pools.BindingConditions of Config. Run sets the other fields.
type Options struct {
	Config

	PodUID     string
	Kubeconfig string
	// KubeletDir is the kubelet's root directory.
	KubeletDir    string
	TokenLifetime time.Duration

	// PoolsFile describes the pools. If empty, the plugin publishes none.
	PoolsFile string

	// HTTPAddress is the address of health checks and metrics. If empty, disabled.
	HTTPAddress string
	// PprofAddress is the address of profiles. If empty, disabled.
	PprofAddress string

	// Version is part of the user agent and is logged.
	Version string
}

// AddFlags implements command.Component.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Driver, "driver-name", spaceapi.DefaultDriverName, "Name of the DRA driver.")
	fs.StringVar(&o.Node, "node-name", "", "Name of the Node that the kubelet plugin runs on. Required.")
	fs.StringVar(&o.PodUID, "pod-uid", "", "UID of the kubelet plugin's own pod. Required for rolling updates with maxSurge.")
	fs.StringVar(&o.Kubeconfig, "kubeconfig", "", "Kubeconfig of the kubelet plugin. If empty, uses the in-cluster configuration.")
	fs.StringVar(&o.KubeletDir, "kubelet-root-dir", "/var/lib/kubelet", "The kubelet's root directory.")
	fs.StringVar(&o.CDIDir, "cdi-root", "/var/run/cdi", "Directory for CDI specs, known to the container runtime.")
	fs.StringVar(&o.CredentialsDir, "credentials-dir", "/var/run/claim-artifacts", "Host directory for credentials: <dir>/<driver name>/<claim UID>. It contains tokens and must be on tmpfs.")
	fs.StringVar(&o.PoolsFile, "pools-file", "", "YAML or JSON file that describes the pools of spaces. The kubelet plugin publishes its node's part of pools per node. If empty, publishes nothing.")
	fs.BoolVar(&o.Pools.BindingConditions, "binding-conditions", false, "Default of bindingConditions for pools: the scheduler waits until the space is ready before it binds the pod. It checks every 5 seconds.")
	fs.StringVar(&o.HTTPAddress, "http-bind-address", "", "Address (host:port) to serve /healthz, /readyz and /metrics. If empty, disabled.")
	fs.StringVar(&o.PprofAddress, "pprof-bind-address", "", "Loopback address (host:port) to serve /debug/pprof/. If empty, disabled.")
	fs.StringVar(&o.APIServer.URL, "advertise-apiserver-url", "", "URL of the API server in the kubeconfigs of pods. If empty, uses the URL of the kubelet plugin's own configuration.")
	fs.StringVar(&o.APIServer.CAFile, "advertise-apiserver-ca-file", "", "File with the CA certificates for --advertise-apiserver-url, which is reloaded when it changes. If empty, uses the CA of the kubelet plugin's own configuration.")
	fs.DurationVar(&o.TokenLifetime, "token-lifetime", time.Hour, "Default lifetime of tokens, unless the DeviceClass sets tokenLifetime. Tokens are renewed after two thirds of the lifetime that the API server grants.")
	fs.DurationVar(&o.PrepareTimeout, "prepare-timeout", 35*time.Second, "Time to wait for a space to become ready while the kubelet prepares a claim. The kubelet's own timeout is 45 seconds; it retries after a minute or more.")
}

func (o *Options) validate() error {
	errs := []error{spaceapi.ValidateDriverName(o.Driver)}
	if o.Node == "" {
		errs = append(errs, errors.New("--node-name is required: tokens are bound to this Node (in a DaemonSet, set it from spec.nodeName)"))
	}
	for _, dir := range []struct{ flag, path string }{{"--kubelet-root-dir", o.KubeletDir}, {"--cdi-root", o.CDIDir}, {"--credentials-dir", o.CredentialsDir}} {
		if !filepath.IsAbs(dir.path) {
			errs = append(errs, fmt.Errorf("%s %q: must be an absolute path, the same as on the host", dir.flag, dir.path))
		}
	}
	if server := o.APIServer.URL; server != "" {
		if u, err := url.Parse(server); err != nil || u.Scheme != "https" || u.Host == "" {
			errs = append(errs, fmt.Errorf("--advertise-apiserver-url %q: must be a URL like https://host:port", server))
		}
	}
	for _, path := range []string{o.servingPath(), o.registrationPath()} {
		if len(path) > maxSocketPath {
			errs = append(errs, fmt.Errorf("--kubelet-root-dir and --driver-name: socket %s has %d characters, must have at most %d", path, len(path), maxSocketPath))
		}
	}
	if pprof, err := netip.ParseAddrPort(o.PprofAddress); o.PprofAddress != "" && (err != nil || !pprof.Addr().IsLoopback()) {
		errs = append(errs, fmt.Errorf("--pprof-bind-address %q: must be a loopback address with a port, as in 127.0.0.1:6060: the endpoint is unauthenticated", o.PprofAddress))
	}
	if o.TokenLifetime < token.MinLifetime {
		errs = append(errs, fmt.Errorf("--token-lifetime %s: must be at least %s, the minimum of the API server", o.TokenLifetime, token.MinLifetime))
	}
	if o.PrepareTimeout <= 0 || o.PrepareTimeout > 40*time.Second {
		errs = append(errs, fmt.Errorf("--prepare-timeout %s: must be more than 0 and at most 40s, because the kubelet's own timeout is 45s", o.PrepareTimeout))
	}
	return errors.Join(errs...)
}

// apiServer returns how pods reach the API server. The default is the plugin's own configuration.
func (o *Options) apiServer(config *rest.Config) APIServer {
	s := o.APIServer
	s.URL = cmp.Or(s.URL, config.Host)
	switch {
	case s.CAFile != "":
	case len(config.CAData) > 0: // takes precedence in client-go, too
		s.CA = config.CAData
	default:
		s.CAFile = config.CAFile
	}
	return s
}

func (o *Options) dataDir() string {
	return filepath.Join(o.KubeletDir, "plugins", o.Driver)
}

// instance distinguishes the sockets of an old and a new plugin that run at the same time during an
// update.
func (o *Options) instance() types.UID {
	return types.UID(o.PodUID[:min(len(o.PodUID), instanceLength)])
}

func (o *Options) servingPath() string {
	return filepath.Join(o.dataDir(), cmp.Or(string(o.instance()), "dra")+".sock")
}

func (o *Options) registrationPath() string {
	name := o.Driver + "-reg.sock"
	if o.PodUID != "" {
		name = kubeletplugin.RollingUpdateRegistrarSocketFile(o.registryDir(), o.Driver, o.instance())
	}
	return filepath.Join(o.registryDir(), name)
}

// registryDir is the directory in which the kubelet finds the sockets of plugins.
func (o *Options) registryDir() string {
	return filepath.Join(o.KubeletDir, "plugins_registry")
}
