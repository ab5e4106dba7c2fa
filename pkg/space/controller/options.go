// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	componentbaseconfig "k8s.io/component-base/config"
	"k8s.io/component-base/config/options"
	configv1alpha1 "k8s.io/component-base/config/v1alpha1"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/pools"
)

// Options are the controller's flags, which AddFlags describes. They set Config, except for its Pools,
// its Namespace and its TokenFile, which Run sets.
type Options struct {
	Config

	Kubeconfig                     string
	NodeSelector                   map[string]string
	DedicatedDevices               int
	PoolsFile                      string
	SliceOwner                     string
	BindingConditions              bool
	HealthProbeBindAddress         string
	MetricsBindAddress             string
	MetricsSecure                  bool
	TLSCertFile, TLSPrivateKeyFile string
	PprofBindAddress               string

	// LeaderElection is configured by the flags of k8s.io/component-base. Its resource
	// namespace is the controller's own namespace.
	LeaderElection componentbaseconfig.LeaderElectionConfiguration
	// Version is part of the user agent and is logged.
	Version string
}

// AddFlags implements command.Component.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Defaults.Driver, "driver-name", spaceapi.DefaultDriverName, "Name of the DRA driver.")
	fs.StringVar(&o.Defaults.NamespacePrefix, "namespace-prefix", spaceapi.DefaultNamespacePrefix, "Prefix of the names of the spaces' namespaces, before ten generated characters.")
	fs.StringVar(&o.Defaults.ClusterRole, "cluster-role", spaceapi.DefaultClusterRole, "ClusterRole that is bound to a space's ServiceAccount in its namespace. The controller needs permission to bind it.")
	fs.StringVar(&o.Defaults.PodSecurity, "pod-security", "baseline", "Pod Security Standard that pods in spaces have to meet: restricted, baseline or privileged.")
	fs.StringSliceVar(&o.Defaults.AllowedClusterRoles, "allowed-cluster-roles", nil, "ClusterRoles that DeviceClasses can bind in the namespaces of spaces, in addition to --cluster-role. The controller needs permission to bind them.")
	fs.StringSliceVar(&o.Defaults.ClusterWideRoles, "cluster-wide-roles", nil, "ClusterRoles that DeviceClasses can bind to ServiceAccounts of spaces in the whole cluster. The controller needs permission to bind them.")
	fs.StringSliceVar(&o.Defaults.CopyFromNamespaces, "copy-from-namespaces", nil, "Namespaces from which DeviceClasses can copy Secrets and ConfigMaps into spaces.")
	fs.StringVar((*string)(&o.Defaults.Network), "network-mode", string(spaceapi.NetworkIsolated), "Network access of pods in spaces: Isolated (each other, DNS and the API server) or Open.")
	fs.IPNetSliceVar(&o.APIServerCIDRs, "apiserver-cidrs", nil, "CIDRs of the API server that isolated pods can reach on all ports. If empty, uses the address in --advertise-apiserver-url and the endpoints of Service default/kubernetes.")
	fs.StringVar(&o.DNS.Namespace, "dns-namespace", metav1.NamespaceSystem, "Namespace of the DNS pods that isolated pods can reach.")
	fs.StringToStringVar(&o.DNS.Labels, "dns-pod-labels", map[string]string{"k8s-app": "kube-dns"}, "Labels of the DNS pods.")
	fs.Int32Var(&o.DNS.Port, "dns-port", 53, "Port of the DNS pods.")
	fs.IPNetSliceVar(&o.DNS.CIDRs, "dns-cidrs", nil, "CIDRs of additional DNS servers at --dns-port, such as caches on the nodes.")
	fs.StringVar(&o.Kubeconfig, "kubeconfig", "", "Kubeconfig of the controller. If empty, uses the in-cluster configuration.")
	fs.StringVar(&o.Server, "advertise-apiserver-url", "", "URL of the API server in the kubeconfigs of pods. If empty, uses the URL of the controller's own configuration.")
	fs.StringToStringVar(&o.NodeSelector, "node-selector", nil, "Labels of the nodes that run the kubelet plugin. If empty, selects all nodes.")
	fs.IntVar(&o.DedicatedDevices, "dedicated-device-count", 128, "Number of devices of a pool without a limit, and maximum number for a pool with a budget, if the API server does not support shareable devices (feature gate DRAConsumableCapacity), so that each device is for one claim.")
	fs.StringVar(&o.PoolsFile, "pools-file", "", "YAML or JSON file that describes the pools of spaces. If empty, publishes one pool without a limit.")
	fs.StringVar(&o.SliceOwner, "resourceslice-owner", "", "Name of a ClusterRole that owns the ResourceSlices: Kubernetes deletes them with it. If empty, they have no owner.")
	fs.IntVar(&o.ConcurrentClaimSyncs, "concurrent-claim-syncs", 16, "Number of claims that are reconciled at the same time.")
	fs.DurationVar(&o.ResyncPeriod, "resync-period", 5*time.Minute, "Interval at which all claims are compared with their spaces.")
	fs.DurationVar(&o.StuckTerminatingAfter, "stuck-terminating-after", 5*time.Minute, "Time that the namespace of a space may be terminating before an event and a metric report it as StuckTerminating.")
	fs.BoolVar(&o.BindingConditions, "binding-conditions", false, "Default of bindingConditions for pools: the scheduler waits until the space is ready before it binds the pod. It checks every 5 seconds.")
	fs.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", "", "Address (host:port) to serve /healthz and /readyz. If empty, disabled.")
	fs.StringVar(&o.MetricsBindAddress, "metrics-bind-address", "", "Address (host:port) to serve /metrics. If empty, disabled.")
	fs.BoolVar(&o.MetricsSecure, "metrics-secure", false, "Serve metrics over TLS, to clients whose bearer token may get the URL /metrics.")
	fs.StringVar(&o.TLSCertFile, "tls-cert-file", "", "File with the certificate for --metrics-secure, as PEM. It is reloaded when it changes. If empty, uses a self-signed certificate.")
	fs.StringVar(&o.TLSPrivateKeyFile, "tls-private-key-file", "", "File with the private key of --tls-cert-file, as PEM.")
	fs.StringVar(&o.PprofBindAddress, "pprof-bind-address", "", "Loopback address (host:port) to serve /debug/pprof/. If empty, disabled.")
	leaderElection := configv1alpha1.LeaderElectionConfiguration{ResourceLock: resourcelock.LeasesResourceLock, ResourceName: component}
	configv1alpha1.RecommendedDefaultLeaderElectionConfiguration(&leaderElection)
	utilruntime.Must(configv1alpha1.Convert_v1alpha1_LeaderElectionConfiguration_To_config_LeaderElectionConfiguration(&leaderElection, &o.LeaderElection, nil))
	options.BindLeaderElectionFlags(&o.LeaderElection, fs)
	fs.DurationVar(&o.StartupTimeout, "startup-timeout", time.Minute, "How long to wait for the API server at the start.")
}

// validate returns all errors in the flags.
func (o *Options) validate() error {
	var errs field.ErrorList
	check := func(ok bool, flag string, value any, must string) {
		if !ok {
			errs = append(errs, field.Invalid(field.NewPath("--"+flag), value, must))
		}
	}
	if err := spaceapi.ValidateDriverName(o.Defaults.Driver); err != nil {
		check(false, "driver-name", o.Defaults.Driver, err.Error())
	}
	if wrong := validation.IsDNS1123Label(o.Defaults.NamespacePrefix + strings.Repeat("x", allocation.SuffixLength)); len(wrong) > 0 {
		check(false, "namespace-prefix", o.Defaults.NamespacePrefix,
			fmt.Sprintf("must be the name of a namespace when %d characters follow: %s", allocation.SuffixLength, strings.Join(wrong, ", ")))
	}
	check(o.Defaults.ClusterRole != "", "cluster-role", "", "must not be empty")
	check(slices.Contains(spaceapi.PodSecurityLevels(), o.Defaults.PodSecurity), "pod-security", o.Defaults.PodSecurity, "must be restricted, baseline or privileged")
	check(o.Defaults.Network == spaceapi.NetworkIsolated || o.Defaults.Network == spaceapi.NetworkOpen, "network-mode", o.Defaults.Network, "must be Isolated or Open")
	check(o.DNS.Namespace != "", "dns-namespace", "", "must not be empty")
	check(o.DNS.Port >= 1 && o.DNS.Port <= 65535, "dns-port", o.DNS.Port, "must be from 1 to 65535")
	server, err := url.Parse(o.Server)
	check(o.Server == "" || err == nil && server.Scheme == "https" && server.Host != "", "advertise-apiserver-url", o.Server, "must be a URL like https://host:port")
	check(o.DedicatedDevices >= 1, "dedicated-device-count", o.DedicatedDevices, "must be at least 1")
	check(o.ConcurrentClaimSyncs >= 1, "concurrent-claim-syncs", o.ConcurrentClaimSyncs, "must be at least 1")
	check(o.ResyncPeriod > 0, "resync-period", o.ResyncPeriod.String(), "must be more than 0")
	check(o.StuckTerminatingAfter > 0, "stuck-terminating-after", o.StuckTerminatingAfter.String(), "must be more than 0")
	check((o.TLSCertFile == "") == (o.TLSPrivateKeyFile == ""), "tls-cert-file", o.TLSCertFile, "must be set together with --tls-private-key-file")
	check(o.TLSCertFile == "" || o.MetricsSecure, "tls-cert-file", o.TLSCertFile, "needs --metrics-secure")
	pprof, err := netip.ParseAddrPort(o.PprofBindAddress)
	check(o.PprofBindAddress == "" || err == nil && pprof.Addr().IsLoopback(), "pprof-bind-address", o.PprofBindAddress,
		"must be a loopback address with a port, as in 127.0.0.1:6060: the endpoint is unauthenticated")
	check(!o.LeaderElection.LeaderElect || o.LeaderElection.ResourceNamespace != "", "leader-elect-resource-namespace", "", "is required with --leader-elect")
	return errs.ToAggregate()
}

// poolSet returns the pools to publish.
func (o *Options) poolSet() (pools.Set, error) {
	set := pools.Set{
		Pools:             []pools.Pool{{Name: pools.DefaultName}},
		NodeSelector:      o.NodeSelector,
		DedicatedDevices:  o.DedicatedDevices,
		BindingConditions: o.BindingConditions,
	}
	if o.PoolsFile == "" {
		return set, nil
	}
	var err error
	if set.Pools, err = pools.Load(o.PoolsFile); err != nil {
		return pools.Set{}, err
	}
	var errs field.ErrorList
	for i, p := range set.Pools {
		for key, value := range p.NodeSelector {
			if plugins, found := o.NodeSelector[key]; found && plugins != value {
				errs = append(errs, field.Invalid(field.NewPath("pools").Index(i).Child("nodeSelector").Key(key), value,
					fmt.Sprintf("the kubelet plugin runs only on nodes with %q", plugins)))
			}
		}
	}
	if err := errs.ToAggregate(); err != nil {
		return pools.Set{}, fmt.Errorf("invalid pool configuration in %s: %w", o.PoolsFile, err)
	}
	return set, nil
}
