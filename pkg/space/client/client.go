// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package client connects to the API server.
package client

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/knownissues"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

// Config returns the client configuration of a kubeconfig file or, if kubeconfig is empty, the
// in-cluster configuration. It has no client-side rate limit: API Priority and Fairness in the API
// server is fairer, and limits requests only under load.
func Config(kubeconfig, userAgent string) (*rest.Config, error) {
	load := rest.InClusterConfig
	if kubeconfig != "" {
		load = func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", kubeconfig) }
	}
	config, err := load()
	if err != nil {
		return nil, fmt.Errorf("configure the client (outside a pod, --kubeconfig is required): %w", err)
	}
	config.QPS = -1
	// Objects of users are several times as large in JSON, in which < has six bytes.
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.UserAgent = userAgent
	return config, nil
}

// WaitForAPIServer waits until the API server responds, at most for the timeout, and logs failures.
// The error names the server and the last failure.
func WaitForAPIServer(ctx context.Context, config *rest.Config, timeout time.Duration) error {
	config = rest.CopyConfig(config)
	config.Timeout = 5 * time.Second
	api, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("create a client for %s: %w", config.Host, err)
	}
	logger := klog.FromContext(ctx)
	var last error
	err = wait.PollUntilContextTimeout(ctx, time.Second, timeout, true, func(context.Context) (bool, error) {
		version, err := api.ServerVersion()
		if err == nil {
			logger.V(1).Info("Connected to the API server", logkeys.Server, config.Host, logkeys.Version, version.GitVersion)
			knownissues.Log(ctx, knownissues.ControlPlane, version.GitVersion)
			return true, nil
		}
		if last == nil || last.Error() != err.Error() {
			logger.Error(err, "Cannot reach the API server, trying again", logkeys.Server, config.Host)
		}
		last = err
		return false, nil
	})
	if err != nil && last != nil {
		return fmt.Errorf("the API server %s did not respond within %s: %w", config.Host, timeout, last)
	}
	return err
}
