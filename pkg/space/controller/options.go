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

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/health"
	"github.com/space-dra/space-dra-driver/pkg/space/secure"
)

// maxSuffix is the length of what follows the prefix in a namespace's name.
const maxSuffix = 10

// Options are the controller's settings, one to one its flags.
type Options struct {
	Driver          string
	NamespacePrefix string
	ClusterRole     string
	PodSecurity     string
	// AllowedClusterRoles, ClusterWideRoles and TemplateNamespaces are what
	// DeviceClasses can name.
	AllowedClusterRoles []string
	ClusterWideRoles    []string
	TemplateNamespaces  []string
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
	// does not know shareable devices.
	ExclusiveDevices int
	// PoolsFile describes the pools. Empty: one without a limit.
	PoolsFile string
	// SliceOwner is the name of the ClusterRole whose deletion removes the slices.
	SliceOwner string
	Workers    int
	// SweepInterval is how often everything is looked at, whatever was missed.
	SweepInterval time.Duration
	// StuckAfter is how long a deleted namespace may take to go before that is reported.
	StuckAfter time.Duration
	// BindingConditions lets the scheduler wait for a space before it binds a pod,
	// for pools that do not say.
	BindingConditions bool

	// HTTPAddress is where health checks are answered, and metrics unless they are
	// secured. Empty: nowhere.
	HTTPAddress string
	// SecureMetrics serves metrics to those who may read them.
	SecureMetrics secure.Metrics
	// UnreadyAfter is for how long the API server may leave the caches out of date
	// before the controller is no longer ready.
	UnreadyAfter time.Duration
	// PprofAddress is where profiles are taken. Empty: nowhere.
	PprofAddress string

	LeaderElect bool
	// LeaseNamespace is the controller's own namespace.
	LeaseNamespace string
	LeaseName      string
	LeaseDuration  time.Duration
	RenewDeadline  time.Duration
	RetryPeriod    time.Duration

	// StartTimeout is how long an unreachable API server is waited for at the start.
	StartTimeout time.Duration
	// Version is told to the API server and to the log.
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
	fs.StringSliceVar(&o.TemplateNamespaces, "template-namespaces", nil, "Namespaces that DeviceClasses can have Secrets and ConfigMaps copied from.")
	fs.StringVar(&o.Network, "network", string(spaceapi.NetworkIsolated), "Whom pods in spaces can reach: Isolated (each other, DNS and the API server) or Open.")
	fs.StringSliceVar(&o.APIServerCIDRs, "api-server-cidrs", nil, "Where isolated pods reach the API server. Empty: the address in --server and the endpoints of Service default/kubernetes.")
	fs.StringVar(&o.DNSNamespace, "dns-namespace", metav1.NamespaceSystem, "Namespace of the pods that resolve names for isolated pods.")
	fs.StringToStringVar(&o.DNSLabels, "dns-labels", map[string]string{"k8s-app": "kube-dns"}, "Labels of these pods.")
	fs.Int32Var(&o.DNSPort, "dns-port", 53, "Port at which they listen.")
	fs.StringSliceVar(&o.DNSCIDRs, "dns-cidrs", nil, "More addresses where names are resolved at that port, such as those of caches on the nodes.")
	fs.StringVar(&o.Kubeconfig, "kubeconfig", "", "Kubeconfig for the controller itself. Empty: as a pod in the cluster.")
	fs.StringVar(&o.Server, "server", "", "URL of the API server as pods reach it. Empty: the one that the controller uses.")
	fs.StringToStringVar(&o.NodeSelector, "node-selector", nil, "Labels of the nodes that run the kubelet plugin. Empty: all nodes.")
	fs.IntVar(&o.ExclusiveDevices, "exclusive-devices", 128, "Number of spaces in a pool without a limit where the cluster does not know shareable devices.")
	fs.StringVar(&o.PoolsFile, "pools-file", "", "YAML or JSON file that describes the pools of spaces. Empty: one pool without a limit.")
	fs.StringVar(&o.SliceOwner, "slice-owner", "", "ClusterRole that owns the ResourceSlices, so that they go with it. Empty: no owner.")
	fs.IntVar(&o.Workers, "workers", 16, "Number of claims that are worked on at the same time.")
	fs.DurationVar(&o.SweepInterval, "sweep-interval", 5*time.Minute, "How often to look for spaces that are out of step with their claims although no event said so.")
	fs.DurationVar(&o.StuckAfter, "stuck-after", 5*time.Minute, "How long the namespace of an ended space may take to go before that is reported.")
	fs.BoolVar(&o.BindingConditions, "binding-conditions", false, "Let the scheduler bind a pod to a node only when its space is ready, unless the pool says otherwise. The scheduler looks every 5 seconds.")
	fs.StringVar(&o.HTTPAddress, "http-address", "", "Where /healthz, /readyz and /metrics are served, as host:port. Empty: nowhere.")
	o.SecureMetrics.AddFlags(fs)
	fs.DurationVar(&o.UnreadyAfter, "unready-after", time.Minute, "For how long lists and watches may fail before the controller is no longer ready.")
	fs.StringVar(&o.PprofAddress, "pprof-address", "", "Where /debug/pprof/ is served, as a loopback address with a port. Empty: nowhere.")
	fs.BoolVar(&o.LeaderElect, "leader-elect", true, "Let one of several controllers work. Off: this one does.")
	fs.StringVar(&o.LeaseNamespace, "lease-namespace", "", "Namespace of the leader election Lease. Needed with --leader-elect.")
	fs.StringVar(&o.LeaseName, "lease-name", "space-controller", "Name of the leader election Lease.")
	fs.DurationVar(&o.LeaseDuration, "lease-duration", 15*time.Second, "How long a leader that went silent is waited for.")
	fs.DurationVar(&o.RenewDeadline, "lease-renew-deadline", 10*time.Second, "How long a leader tries to renew before it gives up.")
	fs.DurationVar(&o.RetryPeriod, "lease-retry-period", 2*time.Second, "Time between two tries.")
	fs.DurationVar(&o.StartTimeout, "start-timeout", time.Minute, "How long to wait for the API server at the start.")
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
		errs = append(errs, fmt.Errorf("--network %q: must be %s or %s", o.Network, spaceapi.NetworkIsolated, spaceapi.NetworkOpen))
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
			errs = append(errs, fmt.Errorf("--server %q: must be a URL like https://host:port", o.Server))
		}
	}
	if o.ExclusiveDevices < 1 {
		errs = append(errs, fmt.Errorf("--exclusive-devices %d: must be at least 1", o.ExclusiveDevices))
	}
	if o.Workers < 1 {
		errs = append(errs, fmt.Errorf("--workers %d: must be at least 1", o.Workers))
	}
	if o.SweepInterval <= 0 {
		errs = append(errs, fmt.Errorf("--sweep-interval %s: must be more than 0", o.SweepInterval))
	}
	if o.StuckAfter <= 0 {
		errs = append(errs, fmt.Errorf("--stuck-after %s: must be more than 0", o.StuckAfter))
	}
	if o.UnreadyAfter <= 0 {
		errs = append(errs, fmt.Errorf("--unready-after %s: must be more than 0", o.UnreadyAfter))
	}
	if err := o.SecureMetrics.Validate(); err != nil {
		errs = append(errs, err)
	}
	if err := (health.Profiles{Address: o.PprofAddress}).Validate(); err != nil {
		errs = append(errs, err)
	}
	if o.LeaderElect && o.LeaseNamespace == "" {
		errs = append(errs, errors.New("--lease-namespace is needed with --leader-elect"))
	}
	return errors.Join(errs...)
}

// namespace is the controller's own, or one that every cluster has.
func (o *Options) namespace() string {
	if o.LeaseNamespace == "" {
		return metav1.NamespaceSystem
	}
	return o.LeaseNamespace
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
