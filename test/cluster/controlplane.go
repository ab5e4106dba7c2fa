// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"github.com/space-dra/space-dra-driver/test/cluster/pki"
)

// Constants of all clusters. Subnet has the addresses of hosts.
const (
	serviceCIDR        = "10.96.0.0/16"
	apiServiceIP       = "10.96.0.1"
	apiServerPort      = "6443"
	etcdURL            = "http://127.0.0.1:2379"
	adminGroup         = "system:masters"
	frontProxy         = "front-proxy-client"
	serviceAccounts    = hostPKI + "/service-accounts.key"
	localAPIServer     = "https://127.0.0.1:" + apiServerPort
	controlPlaneSuffix = "-control-plane"
)

// Names of processes.
const (
	etcd              = "etcd"
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
	containerd        = "containerd"
	kubelet           = "kubelet"
	kubeProxy         = "kube-proxy"
	kubeRouter        = "kube-router"
)

// writeControlPlane writes the control plane's certificates and kubeconfigs.
func (h *Host) writeControlPlane(ca *pki.CA) error {
	proxyCA, err := pki.NewCA("front-proxy-ca")
	if err != nil {
		return err
	}
	names := cert.AltNames{
		DNSNames: []string{h.name, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		IPs:      []net.IP{h.address().AsSlice(), net.ParseIP(apiServiceIP), net.IPv4(127, 0, 0, 1)},
	}
	file := func(name string) string { return h.onMachine(hostPKI + "/" + name) }
	component := func(name string) error {
		return ca.WriteKubeconfig(h.onMachine(kubeconfigOf(name)), localAPIServer, "system:"+name)
	}
	if _, _, err := keyutil.LoadOrGenerateKeyFile(h.onMachine(serviceAccounts)); err != nil {
		return fmt.Errorf("write the key of ServiceAccounts: %w", err)
	}
	return errors.Join(
		ca.Write(file("ca")),
		ca.Issue(file("apiserver"), cert.Config{CommonName: apiServer, AltNames: names}),
		ca.Issue(file("apiserver-kubelet-client"), cert.Config{CommonName: "kube-apiserver-kubelet-client", Organization: []string{adminGroup}}),
		proxyCA.Write(file("front-proxy-ca")),
		proxyCA.Issue(file(frontProxy), cert.Config{CommonName: frontProxy}),
		component(controllerManager),
		component(scheduler),
		ca.WriteKubeconfig(h.cluster.rec.Kubeconfig, h.cluster.APIServerURL(), "kubernetes-admin", adminGroup),
	)
}

func (h *Host) controlPlaneProcesses() []process {
	gates := h.cluster.featureGates()
	return []process{
		// It listens on localhost.
		{etcd, etcdURL + "/health", []string{
			"--data-dir=/var/lib/etcd",
			// A cluster for tests need not survive a power failure.
			"--unsafe-no-fsync",
			"--quota-backend-bytes=8589934592",
			"--log-level=warn",
		}},
		{apiServer, localAPIServer + "/readyz", slices.Concat([]string{
			"--etcd-servers=" + etcdURL,
			"--advertise-address=" + h.Address(),
			"--secure-port=" + apiServerPort,
			"--service-cluster-ip-range=" + serviceCIDR,
			"--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction",
			"--allow-privileged=true",
			"--client-ca-file=" + hostPKI + "/ca.crt",
			"--tls-cert-file=" + hostPKI + "/apiserver.crt",
			"--tls-private-key-file=" + hostPKI + "/apiserver.key",
			"--kubelet-certificate-authority=" + hostPKI + "/ca.crt",
			"--kubelet-client-certificate=" + hostPKI + "/apiserver-kubelet-client.crt",
			"--kubelet-client-key=" + hostPKI + "/apiserver-kubelet-client.key",
			// Names of nodes do not resolve.
			"--kubelet-preferred-address-types=InternalIP",
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file=" + serviceAccounts,
			"--service-account-signing-key-file=" + serviceAccounts,
			"--requestheader-client-ca-file=" + hostPKI + "/front-proxy-ca.crt",
			"--requestheader-allowed-names=" + frontProxy,
			"--requestheader-username-headers=X-Remote-User",
			"--requestheader-group-headers=X-Remote-Group",
			"--requestheader-extra-headers-prefix=X-Remote-Extra-",
			"--proxy-client-cert-file=" + hostPKI + "/" + frontProxy + ".crt",
			"--proxy-client-key-file=" + hostPKI + "/" + frontProxy + ".key",
			// Service addresses do not work on the control plane, which has no
			// kube-proxy; those of pods do.
			"--enable-aggregator-routing=true",
		}, gates, h.cluster.rec.APIServerFlags)},
		{controllerManager, "https://127.0.0.1:10257/healthz", slices.Concat([]string{
			"--kubeconfig=" + kubeconfigOf(controllerManager),
			"--bind-address=127.0.0.1",
			"--leader-elect=false",
			"--use-service-account-credentials=true",
			"--root-ca-file=" + hostPKI + "/ca.crt",
			"--service-account-private-key-file=" + serviceAccounts,
			"--cluster-signing-cert-file=" + hostPKI + "/ca.crt",
			"--cluster-signing-key-file=" + hostPKI + "/ca.key",
			"--service-cluster-ip-range=" + serviceCIDR,
			// The default is below /usr, which hosts share with the machine.
			"--flex-volume-plugin-dir=" + hostDir + "/volume-plugins",
		}, gates, h.cluster.rec.ControllerManagerFlags)},
		{scheduler, "https://127.0.0.1:10259/healthz", append([]string{
			"--kubeconfig=" + kubeconfigOf(scheduler),
			"--bind-address=127.0.0.1",
			"--leader-elect=false",
		}, gates...)},
	}
}

// featureGates returns the flags of components that have feature gates.
func (c *Cluster) featureGates() []string {
	var flags []string
	for name, enabled := range c.rec.FeatureGates {
		flags = append(flags, fmt.Sprintf("--feature-gates=%s=%t", name, enabled))
	}
	return flags
}
