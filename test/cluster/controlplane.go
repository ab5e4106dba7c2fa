// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"github.com/space-dra/space-dra-driver/test/cluster/hostinit"
	"github.com/space-dra/space-dra-driver/test/cluster/pki"
)

// What all clusters have in common. The addresses of hosts are in Subnet.
const (
	serviceCIDR     = "10.96.0.0/16"
	apiServiceIP    = "10.96.0.1"
	dnsServiceIP    = "10.96.0.10"
	apiServerPort   = "6443"
	etcdURL         = "http://127.0.0.1:2379"
	etcdPeerURL     = "http://127.0.0.1:2380"
	adminGroup      = "system:masters"
	frontProxy      = "front-proxy-client"
	serviceAccounts = "service-accounts.key"
	localAPIServer  = "https://127.0.0.1:" + apiServerPort
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
)

// writeControlPlane writes the control plane's certificates and kubeconfigs.
func (c *Cluster) writeControlPlane(ca *pki.CA) error {
	proxyCA, err := pki.NewCA("front-proxy-ca")
	if err != nil {
		return err
	}
	host := c.controlPlane.rec
	names := cert.AltNames{
		DNSNames: []string{host.Name, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		IPs:      []net.IP{host.Address.AsSlice(), net.ParseIP(apiServiceIP), net.IPv4(127, 0, 0, 1)},
	}
	at := func(path string) string { return onMachine(c.rec.Name, host.Name, path) }
	file := func(name string) string { return at(hostPKI + "/" + name) }
	component := func(name string) error {
		return ca.WriteKubeconfig(at(kubeconfigOf(name)), localAPIServer, "system:"+name)
	}
	if _, _, err := keyutil.LoadOrGenerateKeyFile(file(serviceAccounts)); err != nil {
		return fmt.Errorf("writing the key of ServiceAccounts: %w", err)
	}
	return errors.Join(
		ca.Write(file("ca")),
		ca.Issue(file("apiserver"), cert.Config{CommonName: apiServer, AltNames: names}),
		ca.Issue(file("apiserver-kubelet-client"), cert.Config{CommonName: "kube-apiserver-kubelet-client", Organization: []string{adminGroup}}),
		proxyCA.Write(file("front-proxy-ca")),
		proxyCA.Issue(file(frontProxy), cert.Config{CommonName: frontProxy}),
		component(controllerManager),
		component(scheduler),
		ca.WriteKubeconfig(c.rec.Kubeconfig, c.APIServerURL(), "kubernetes-admin", adminGroup),
	)
}

// kubeconfigOf is where a host's component finds its kubeconfig.
func kubeconfigOf(component string) string {
	return filepath.Join(hostDir, component+".kubeconfig")
}

// controlPlaneProcesses are in the order in which they are started.
func (c *Cluster) controlPlaneProcesses() []hostinit.Process {
	address := c.controlPlane.rec.Address.String()
	issuer := "https://kubernetes.default.svc.cluster.local"
	return []hostinit.Process{
		c.process(etcd, etcdURL+"/health",
			"--name=default",
			"--data-dir=/var/lib/etcd",
			"--listen-client-urls="+etcdURL,
			"--advertise-client-urls="+etcdURL,
			"--listen-peer-urls="+etcdPeerURL,
			"--initial-advertise-peer-urls="+etcdPeerURL,
			"--initial-cluster=default="+etcdPeerURL,
			// A cluster for tests needn't survive a power cut.
			"--unsafe-no-fsync",
			"--quota-backend-bytes=8589934592",
			"--log-level=warn",
		),
		c.kubernetesProcess(apiServer, localAPIServer+"/readyz",
			"--etcd-servers="+etcdURL,
			"--advertise-address="+address,
			"--secure-port="+apiServerPort,
			"--service-cluster-ip-range="+serviceCIDR,
			"--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction",
			"--allow-privileged=true",
			"--client-ca-file="+hostPKI+"/ca.crt",
			"--tls-cert-file="+hostPKI+"/apiserver.crt",
			"--tls-private-key-file="+hostPKI+"/apiserver.key",
			"--kubelet-certificate-authority="+hostPKI+"/ca.crt",
			"--kubelet-client-certificate="+hostPKI+"/apiserver-kubelet-client.crt",
			"--kubelet-client-key="+hostPKI+"/apiserver-kubelet-client.key",
			// Names of nodes don't resolve.
			"--kubelet-preferred-address-types=InternalIP",
			"--service-account-issuer="+issuer,
			"--service-account-key-file="+hostPKI+"/"+serviceAccounts,
			"--service-account-signing-key-file="+hostPKI+"/"+serviceAccounts,
			"--requestheader-client-ca-file="+hostPKI+"/front-proxy-ca.crt",
			"--requestheader-allowed-names="+frontProxy,
			"--requestheader-username-headers=X-Remote-User",
			"--requestheader-group-headers=X-Remote-Group",
			"--requestheader-extra-headers-prefix=X-Remote-Extra-",
			"--proxy-client-cert-file="+hostPKI+"/"+frontProxy+".crt",
			"--proxy-client-key-file="+hostPKI+"/"+frontProxy+".key",
			// Service addresses don't work on the control plane, which has no
			// kube-proxy; those of pods do.
			"--enable-aggregator-routing=true",
		),
		c.kubernetesProcess(controllerManager, "https://127.0.0.1:10257/healthz", append([]string{
			"--kubeconfig=" + kubeconfigOf(controllerManager),
			"--bind-address=127.0.0.1",
			"--leader-elect=false",
			"--use-service-account-credentials=true",
			"--root-ca-file=" + hostPKI + "/ca.crt",
			"--service-account-private-key-file=" + hostPKI + "/" + serviceAccounts,
			"--cluster-signing-cert-file=" + hostPKI + "/ca.crt",
			"--cluster-signing-key-file=" + hostPKI + "/ca.key",
			"--service-cluster-ip-range=" + serviceCIDR,
			// The default is below /usr, which hosts share with the machine.
			"--flex-volume-plugin-dir=" + c.rec.KubeletDir + "/volume-plugins",
		}, c.rec.ControllerManagerFlags...)...),
		c.kubernetesProcess(scheduler, "https://127.0.0.1:10259/healthz",
			"--kubeconfig="+kubeconfigOf(scheduler),
			"--bind-address=127.0.0.1",
			"--leader-elect=false",
		),
	}
}

// kubernetesProcess is a process that has feature gates.
func (c *Cluster) kubernetesProcess(name, probe string, args ...string) hostinit.Process {
	return c.process(name, probe, append(args, featureGatesFlag(c.rec.FeatureGates)...)...)
}

// process is one of the built programs, run in a host.
func (c *Cluster) process(name, probe string, args ...string) hostinit.Process {
	program := inHost(c.rec.BinDir, c.rec.Binaries[name])
	return hostinit.Process{
		Name: name,
		Argv: append([]string{program}, args...),
		// containerd looks for its shim beside itself and in PATH.
		Env:   []string{"PATH=" + filepath.Dir(program) + ":" + hostPath, "HOME=/root"},
		Log:   filepath.Join(hostLogs, name+".log"),
		Probe: probe,
	}
}
