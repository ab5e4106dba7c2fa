// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package check implements the command of two Helm hooks: it uses the space of its pod, for
// helm test, or checks that there are no spaces, for helm uninstall.
package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/knownissues"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/uninstall"
)

// timeout is how long the test retries.
const timeout = 30 * time.Second

// Options are the flags of the command.
type Options struct {
	// Write means to create and delete an object, which not every ClusterRole allows.
	Write bool
	// NoSpaces means to check that there are no spaces, instead of using one.
	NoSpaces bool
	// Driver is the name of the driver for NoSpaces.
	Driver string
	// Version is part of the user agent.
	Version string
}

// AddFlags implements command.Component.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.Write, "write", false, "Create and delete a ConfigMap in the space.")
	fs.BoolVar(&o.NoSpaces, "no-spaces", false, "Check that the driver has no spaces, instead of using one.")
	fs.StringVar(&o.Driver, "driver-name", spaceapi.DefaultDriverName, "Name of the driver for --no-spaces.")
}

// Run implements command.Component. The environment variable KUBECONFIG names the kubeconfig of
// the space. Without it, Run uses the in-cluster configuration.
func (o *Options) Run(ctx context.Context) error {
	kubeconfig := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil)
	namespace, _, err := kubeconfig.Namespace()
	if err != nil {
		return fmt.Errorf("find the namespace of the space in its kubeconfig: %w", err)
	}
	config, err := kubeconfig.ClientConfig()
	if err != nil {
		return fmt.Errorf("read the kubeconfig of the space: %w", err)
	}
	config.UserAgent = "space-check/" + o.Version
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("create a client for %s: %w", config.Host, err)
	}
	// Everyone may read the version of the API server. Only the kubelet plugin reads that of the kubelet.
	if server, err := api.Discovery().ServerVersion(); err == nil {
		knownissues.Log(ctx, knownissues.ControlPlane, server.GitVersion)
	}
	if o.NoSpaces {
		return uninstall.Check(ctx, api, o.Driver)
	}
	if err := UseSpace(ctx, api, namespace, o.Write, timeout); err != nil {
		return err
	}
	klog.FromContext(ctx).Info("The space works", logkeys.Namespace, namespace)
	return nil
}

// UseSpace uses the space with this namespace, and retries until the timeout: RBAC can take
// effect later on one API server than on another.
func UseSpace(ctx context.Context, api kubernetes.Interface, namespace string, write bool, timeout time.Duration) error {
	var last error
	if err := wait.PollUntilContextTimeout(ctx, time.Second, timeout, true, func(ctx context.Context) (bool, error) {
		err := useSpaceOnce(ctx, api, namespace, write)
		// The last error before the timeout is more useful than the one that the timeout causes.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		return err == nil, nil
	}); err != nil {
		return errors.Join(last, err)
	}
	return nil
}

func useSpaceOnce(ctx context.Context, api kubernetes.Interface, namespace string, write bool) error {
	self, err := api.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("get the user of the space's token: %w", err)
	}
	want := "system:serviceaccount:" + namespace + ":" + spaceapi.ServiceAccountName
	if got := self.Status.UserInfo.Username; got != want {
		return fmt.Errorf("the space's token belongs to %s, not to %s", got, want)
	}
	if !write {
		return nil
	}
	maps := api.CoreV1().ConfigMaps(namespace)
	created, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "space-check-"}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create a ConfigMap in namespace %s: %w", namespace, err)
	}
	if err := maps.Delete(ctx, created.Name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete ConfigMap %s/%s: %w", namespace, created.Name, err)
	}
	return nil
}
