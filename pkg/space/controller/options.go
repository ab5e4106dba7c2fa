// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	componentbaseconfig "k8s.io/component-base/config"
	"k8s.io/component-base/config/options"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/pools"
)

// maxSuffix is the length of what follows the prefix in a namespace's name.
const maxSuffix = 10

// Options are the controller's settings, one to one its flags.
type Options struct {
	Driver          string
	NamespacePrefix string
	ClusterRole     string
	PodSecurity     string
	// AllowedClusterRoles, ClusterWideRoles and CopyFromNamespaces are what
	// DeviceClasses can name.
	AllowedClusterRoles []string
	ClusterWideRoles    []string
	CopyFromNamespaces  []string
	// Network is whom pods in spaces can reach.
	Network string
	// APIServerCIDRs are where pods reach the API server, if the controller is not
	// to find out.
	APIServerCIDRs []string
	// DNSNamespace and DNSLabels are those of the pods that resolve names, DNSPort is
	// where they listen, and DNSCIDRs are more addresses that do so.
	DNSNamespace string
	DNSLabels    map[string]string
	DNSPort      int32
	DNSCIDRs     []string
	Kubeconfig   string
	// Server is the URL of the API server as pods reach it; empty: as the controller does.
	Server string
	// NodeSelector selects the nodes that run the kubelet plugin.
	NodeSelector map[string]string
	// ExclusiveDevices limits the spaces of a pool without a limit where a cluster
	// does not support shareable devices.
	ExclusiveDevices int
	// PoolsFile describes the pools. Empty: one without a limit.
	PoolsFile string
	// SliceOwner is the name of the ClusterRole whose deletion removes the slices.
	SliceOwner string
	// ConcurrentClaimSyncs is the number of claims that are reconciled at the same time.
	ConcurrentClaimSyncs int
	// ResyncPeriod is how often all claims are compared with their spaces.
	ResyncPeriod time.Duration
	// NamespaceDeletionTimeout is how long a namespace may be terminating before that is reported.
	NamespaceDeletionTimeout time.Duration
	// BindingConditions lets the scheduler wait for a space before it binds a pod,
	// for pools that do not say.
	BindingConditions bool

	// HealthProbeBindAddress serves /healthz and /readyz. Empty: nowhere.
	HealthProbeBindAddress string
	// MetricsBindAddress serves /metrics. Empty: nowhere.
	MetricsBindAddress string
	// MetricsSecure serves metrics over TLS, to clients that may get /metrics.
	MetricsSecure bool
	// TLSCertFile and TLSPrivateKeyFile are the certificate for that. Empty: self-signed.
	TLSCertFile, TLSPrivateKeyFile string
	// PprofBindAddress serves Go's profiles. Empty: nowhere.
	PprofBindAddress string

	// LeaderElection is configured by the flags of k8s.io/component-base. Its resource
	// namespace is the controller's own namespace.
	LeaderElection componentbaseconfig.LeaderElectionConfiguration

	// StartupTimeout is how long the controller waits for the API server when it starts.
	StartupTimeout time.Duration
	// Version is part of the user agent and is logged.
	Version string
}

// AddFlags implements command.Component.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Driver, "driver-name", spaceapi.DefaultDriverName, "Name of the DRA driver.")
	fs.StringVar(&o.NamespacePrefix, "namespace-prefix", spaceapi.DefaultNamespacePrefix, "Start of the namespaces' names.")
	fs.StringVar(&o.ClusterRole, "cluster-role", spaceapi.DefaultClusterRole, "ClusterRole that a space's ServiceAccount gets in its namespace. The controller needs the right to bind it.")
	fs.StringVar(&o.PodSecurity, "pod-security", "baseline", "Pod Security Standard that pods in spaces have to keep: restricted, baseline or privileged.")
	fs.StringSliceVar(&o.AllowedClusterRoles, "allowed-cluster-roles", nil, "More ClusterRoles that DeviceClasses can give spaces in their namespaces. The controller needs the right to bind them.")
	fs.StringSliceVar(&o.ClusterWideRoles, "cluster-wide-roles", nil, "ClusterRoles that DeviceClasses can give spaces in the whole cluster. The controller needs the right to bind them.")
	fs.StringSliceVar(&o.CopyFromNamespaces, "copy-from-namespaces", nil, "Namespaces that DeviceClasses can have Secrets and ConfigMaps copied from.")
	fs.StringVar(&o.Network, "network-mode", string(spaceapi.NetworkIsolated), "Whom pods in spaces can reach: Isolated (each other, DNS and the API server) or Open.")
	fs.StringSliceVar(&o.APIServerCIDRs, "api-server-cidrs", nil, "Where isolated pods reach the API server. Empty: the address in --advertise-apiserver-url and the endpoints of Service default/kubernetes.")
	fs.StringVar(&o.DNSNamespace, "dns-namespace", metav1.NamespaceSystem, "Namespace of the pods that resolve names for isolated pods.")
	fs.StringToStringVar(&o.DNSLabels, "dns-labels", map[string]string{"k8s-app": "kube-dns"}, "Labels of these pods.")
	fs.Int32Var(&o.DNSPort, "dns-port", 53, "Port at which they listen.")
	fs.StringSliceVar(&o.DNSCIDRs, "dns-cidrs", nil, "More addresses where names are resolved at that port, such as those of caches on the nodes.")
	fs.StringVar(&o.Kubeconfig, "kubeconfig", "", "Kubeconfig for the controller itself. Empty: as a pod in the cluster.")
	fs.StringVar(&o.Server, "advertise-apiserver-url", "", "URL of the API server as pods reach it. Empty: the one that the controller uses.")
	fs.StringToStringVar(&o.NodeSelector, "node-selector", nil, "Labels of the nodes that run the kubelet plugin. Empty: all nodes.")
	fs.IntVar(&o.ExclusiveDevices, "exclusive-device-count", 128, "Number of spaces in a pool without a limit where the cluster does not support shareable devices.")
	fs.StringVar(&o.PoolsFile, "pools-file", "", "YAML or JSON file that describes the pools of spaces. Empty: one pool without a limit.")
	fs.StringVar(&o.SliceOwner, "resourceslice-owner", "", "ClusterRole that owns the ResourceSlices, so that they go with it. Empty: no owner.")
	fs.IntVar(&o.ConcurrentClaimSyncs, "concurrent-claim-syncs", 16, "Number of claims that are reconciled at the same time.")
	fs.DurationVar(&o.ResyncPeriod, "resync-period", 5*time.Minute, "How often to compare all claims with their spaces, whatever events were missed.")
	fs.DurationVar(&o.NamespaceDeletionTimeout, "namespace-deletion-timeout", 5*time.Minute, "How long the namespace of a space may be terminating before that is reported.")
	fs.BoolVar(&o.BindingConditions, "binding-conditions", false, "Let the scheduler bind a pod to a node only when its space is ready, unless the pool says otherwise. The scheduler looks every 5 seconds.")
	fs.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", "", "Where to serve /healthz and /readyz, as host:port. Empty: nowhere.")
	fs.StringVar(&o.MetricsBindAddress, "metrics-bind-address", "", "Where to serve /metrics, as host:port. Empty: nowhere.")
	fs.BoolVar(&o.MetricsSecure, "metrics-secure", false, "Serve metrics over TLS, to clients whose bearer token may get the URL /metrics.")
	fs.StringVar(&o.TLSCertFile, "tls-cert-file", "", "File with the certificate for --metrics-secure, as PEM. It is reloaded when it changes. Empty: a self-signed certificate.")
	fs.StringVar(&o.TLSPrivateKeyFile, "tls-private-key-file", "", "File with the private key of --tls-cert-file, as PEM.")
	fs.StringVar(&o.PprofBindAddress, "pprof-bind-address", "", "Where to serve /debug/pprof/, as a loopback address with a port. Empty: nowhere.")
	o.LeaderElection = componentbaseconfig.LeaderElectionConfiguration{
		LeaderElect:   true,
		ResourceLock:  resourcelock.LeasesResourceLock,
		ResourceName:  component,
		LeaseDuration: metav1.Duration{Duration: 15 * time.Second},
		RenewDeadline: metav1.Duration{Duration: 10 * time.Second},
		RetryPeriod:   metav1.Duration{Duration: 2 * time.Second},
	}
	options.BindLeaderElectionFlags(&o.LeaderElection, fs)
	fs.DurationVar(&o.StartupTimeout, "startup-timeout", time.Minute, "How long to wait for the API server at the start.")
}

func (o *Options) validate() error {
	var errs []error
	if err := spaceapi.CheckDriverName(o.Driver); err != nil {
		errs = append(errs, err)
	}
	if msgs := validation.IsDNS1123Label(o.NamespacePrefix + strings.Repeat("x", maxSuffix)); len(msgs) > 0 {
		errs = append(errs, fmt.Errorf("--namespace-prefix %q, followed by %d characters, is no namespace's name: %s", o.NamespacePrefix, maxSuffix, strings.Join(msgs, ", ")))
	}
	if o.ClusterRole == "" {
		errs = append(errs, errors.New("--cluster-role must not be empty"))
	}
	if !slices.Contains([]string{"restricted", "baseline", "privileged"}, o.PodSecurity) {
		errs = append(errs, fmt.Errorf("--pod-security %q: must be restricted, baseline or privileged", o.PodSecurity))
	}
	if !slices.Contains([]string{string(spaceapi.NetworkIsolated), string(spaceapi.NetworkOpen)}, o.Network) {
		errs = append(errs, fmt.Errorf("--network-mode %q: must be %s or %s", o.Network, spaceapi.NetworkIsolated, spaceapi.NetworkOpen))
	}
	if _, err := cidrs("api-server-cidrs", o.APIServerCIDRs); err != nil {
		errs = append(errs, err)
	}
	if _, err := cidrs("dns-cidrs", o.DNSCIDRs); err != nil {
		errs = append(errs, err)
	}
	if o.DNSNamespace == "" {
		errs = append(errs, errors.New("--dns-namespace must not be empty"))
	}
	if o.DNSPort < 1 || o.DNSPort > 65535 {
		errs = append(errs, fmt.Errorf("--dns-port %d: must be from 1 to 65535", o.DNSPort))
	}
	if o.Server != "" {
		if u, err := url.Parse(o.Server); err != nil || u.Scheme != "https" || u.Host == "" {
			errs = append(errs, fmt.Errorf("--advertise-apiserver-url %q: must be a URL like https://host:port", o.Server))
		}
	}
	if o.ExclusiveDevices < 1 {
		errs = append(errs, fmt.Errorf("--exclusive-device-count %d: must be at least 1", o.ExclusiveDevices))
	}
	if o.ConcurrentClaimSyncs < 1 {
		errs = append(errs, fmt.Errorf("--concurrent-claim-syncs %d: must be at least 1", o.ConcurrentClaimSyncs))
	}
	if o.ResyncPeriod <= 0 {
		errs = append(errs, fmt.Errorf("--resync-period %s: must be more than 0", o.ResyncPeriod))
	}
	if o.NamespaceDeletionTimeout <= 0 {
		errs = append(errs, fmt.Errorf("--namespace-deletion-timeout %s: must be more than 0", o.NamespaceDeletionTimeout))
	}
	if (o.TLSCertFile == "") != (o.TLSPrivateKeyFile == "") {
		errs = append(errs, errors.New("--tls-cert-file and --tls-private-key-file must be set together"))
	}
	if o.TLSCertFile != "" && !o.MetricsSecure {
		errs = append(errs, errors.New("--tls-cert-file needs --metrics-secure"))
	}
	if o.PprofBindAddress != "" {
		if address, err := netip.ParseAddrPort(o.PprofBindAddress); err != nil || !address.Addr().IsLoopback() {
			errs = append(errs, fmt.Errorf("--pprof-bind-address %q: must be a loopback address with a port, as in 127.0.0.1:6060: the endpoint is unauthenticated", o.PprofBindAddress))
		}
	}
	if o.LeaderElection.LeaderElect && o.LeaderElection.ResourceNamespace == "" {
		errs = append(errs, errors.New("--leader-elect-resource-namespace is required with --leader-elect"))
	}
	return errors.Join(errs...)
}

// namespace is the controller's own, or one that every cluster has.
func (o *Options) namespace() string {
	if o.LeaderElection.ResourceNamespace == "" {
		return metav1.NamespaceSystem
	}
	return o.LeaderElection.ResourceNamespace
}

// cidrs reads the values of a flag.
func cidrs(flag string, texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range texts {
		cidr, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--%s %q: %w", flag, text, err)
		}
		out = append(out, cidr.Masked())
	}
	return out, nil
}

// pools describes the pools to publish.
func (o *Options) pools() (pools.Set, error) {
	set := pools.Set{
		Pools:             pools.Default(),
		NodeSelector:      o.NodeSelector,
		Exclusive:         o.ExclusiveDevices,
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
