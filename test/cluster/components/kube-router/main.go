// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kube-router enforces the NetworkPolicies of the pods on a node, as kube-router does with
// --run-router=false and --run-service-proxy=false. The package behind it builds in a fraction of the time
// of kube-router's own command, which has clients of clouds, container engines and BGP.
package main

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"github.com/spf13/pflag"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	config := options.NewKubeRouterConfig()
	config.AddFlags(pflag.CommandLine)
	pflag.Parse()
	config.RunFirewall = true
	fmt.Fprintln(os.Stderr, "Error:", run(config))
	os.Exit(1)
}

// run returns only after an error.
func run(config *options.KubeRouterConfig) error {
	restConfig, err := clientcmd.BuildConfigFromFlags("", config.Kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	pods, namespaces := factory.Core().V1().Pods().Informer(), factory.Core().V1().Namespaces().Informer()
	policies := factory.Networking().V1().NetworkPolicies().Informer()
	iptables, ipsets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		return err
	}
	controller, err := netpol.NewNetworkPolicyController(client, config, pods, policies, namespaces, &sync.Mutex{}, iptables, ipsets)
	if err != nil {
		return err
	}
	health, err := healthcheck.NewHealthController(config)
	if err != nil {
		return err
	}
	handlers := map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		pods: controller.PodEventHandler, namespaces: controller.NamespaceEventHandler, policies: controller.NetworkPolicyEventHandler,
	}
	for informer, handler := range handlers {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	never, wg := make(chan struct{}), &sync.WaitGroup{}
	factory.Start(never)
	factory.WaitForCacheSync(never)
	health.SetAlive()
	heartbeats := make(chan *healthcheck.ControllerHeartbeat)
	wg.Add(3)
	go health.RunServer(never, wg)
	go health.RunCheck(heartbeats, never, wg)
	controller.Run(heartbeats, never, wg)
	return errors.New("the controller has stopped")
}
