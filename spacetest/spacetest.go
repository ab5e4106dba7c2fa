// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package spacetest gives a test a space: a namespace of its own in a cluster with the Space DRA driver, and
// credentials for it. [New] creates the space, and it is deleted when the test ends, also if the test is killed.
//
// It needs the permissions of an ordinary user in one namespace, which are those of kubectl space run.
package spacetest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/holder"
)

// version is that of this module, and of the driver's image. The build information of a test has no modules that
// it depends on.
const version = "v0.1.0"

// Space is a space that exists until its test ends.
type Space struct {
	// Config is for clients that work in the space, with the permissions of its ServiceAccount. The token is
	// renewed.
	Config *rest.Config
	// Namespace is the name of the space. By default, Config has permissions only there.
	Namespace string
}

type options struct {
	holder.Options
	parameters *spaceapi.SpaceClaimConfig
	timeout    time.Duration
}

// Option changes how New creates a space.
type Option func(*options)

// Class selects a DeviceClass. The default is that of the chart, which has the name of the driver.
func Class(name string) Option { return func(o *options) { o.Class = name } }

// Driver sets the name of the DRA driver, if it is not the default.
func Driver(name string) Option { return func(o *options) { o.Driver = name } }

// Namespace sets the namespace of the claim, in which the test's user has permissions. The default is that of
// the current context of the kubeconfig or, in a pod, that of the pod. It is not the namespace of the space.
func Namespace(name string) Option { return func(o *options) { o.Namespace = name } }

// Image sets the image of the driver, for a cluster that has it in another registry or another version.
func Image(name string) Option { return func(o *options) { o.Image = name } }

// Parameters are those of the claim. The class limits them.
func Parameters(p spaceapi.SpaceClaimConfig) Option {
	p.TypeMeta = metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: spaceapi.SpaceClaimConfigKind}
	return func(o *options) { o.parameters = &p }
}

// Timeout is how long New waits for the space. The default is two minutes.
func Timeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// New creates a space for a test, and waits until it is ready. If there is none, it fails the test. The space is
// deleted when the test and its subtests have ended. If the test is killed, or its machine stops, Kubernetes
// deletes the space within a minute.
//
// Names are generated: tests can run at the same time. The cluster is that of KUBECONFIG or ~/.kube/config or, in
// a pod, that of the pod.
func New(t testing.TB, opts ...Option) *Space {
	t.Helper()
	config, o, err := newOptions(opts)
	if err != nil {
		fail(t, err)
	}
	h, err := holder.Start(t.Context(), config, o.Options)
	if err != nil {
		fail(t, err)
	}
	t.Cleanup(func() {
		if err := h.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Logf("spacetest: Job %s/%s could not be deleted, and ends within %s: %s", h.Namespace, h.Name, holder.Grace, printable(err))
		}
	})
	ctx, cancel := context.WithTimeoutCause(t.Context(), o.timeout, fmt.Errorf("waited for %s", o.timeout))
	defer cancel()
	if err := h.Wait(ctx); err != nil {
		fail(t, err)
	}
	t.Logf("spacetest: the space of ResourceClaim %s/%s is %s", h.Namespace, h.Name, h.SpaceNamespace())
	t.Cleanup(func() {
		select {
		case <-h.Ended():
			t.Logf("spacetest: space %s has ended before the test: its Job or its pod was deleted", h.SpaceNamespace())
		default:
		}
	})
	return &Space{Config: h.Config(), Namespace: h.SpaceNamespace()}
}

// newOptions returns the options with their defaults, and the configuration of the test's user.
func newOptions(opts []Option) (*rest.Config, *options, error) {
	o := &options{timeout: 2 * time.Minute, Options: holder.Options{
		Name: "spacetest-" + rand.String(5), Driver: spaceapi.DefaultDriverName, Image: holder.Image(version),
	}}
	for _, option := range opts {
		option(o)
	}
	o.Class = cmp.Or(o.Class, o.Driver)
	var err error
	if o.parameters != nil {
		if o.Parameters, err = json.Marshal(o.parameters); err != nil {
			return nil, nil, err
		}
	}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil)
	config, err := loader.ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, nil, errors.New("there is no cluster: set KUBECONFIG, or run the test in a pod")
	}
	if err == nil && o.Namespace == "" {
		o.Namespace, _, err = loader.Namespace()
	}
	return config, o, err
}

func fail(t testing.TB, err error) {
	t.Helper()
	t.Fatalf("spacetest: no space: %s", printable(err))
}

// printable returns an error as one line that does not control a terminal: it may contain what other users wrote.
func printable(err error) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, err.Error())
}
