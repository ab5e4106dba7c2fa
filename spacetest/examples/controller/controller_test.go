// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/space-dra/space-dra-driver/spacetest"
)

// space is a space in which the controller runs.
type space struct {
	*testing.T
	client.WithWatch
	namespace string
}

// start starts the controller in a new space. Both end with the test.
func start(t *testing.T) space {
	t.Helper()
	t.Parallel()
	s := spacetest.New(t)
	manager, err := ctrl.NewManager(s.Config, ctrl.Options{
		// A space is one namespace.
		Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{s.Namespace: {}}},
		// The tests run at the same time in one process.
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
		Metrics:    metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Reconciler{manager.GetClient()}).SetupWithManager(manager); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(t.Context()) }()
	// The context ends before that: the controller stops before the space is deleted.
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	c, err := client.NewWithWatch(s.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return space{t, c, s.Namespace}
}

// create creates a ConfigMap, with an annotation that asks for a checksum or without.
func (s space) create(name string, annotations map[string]string) *corev1.ConfigMap {
	s.Helper()
	configMap := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Annotations: annotations},
		Data:       map[string]string{"greeting": "hello"},
	}
	if err := s.Create(s.Context(), configMap); err != nil {
		s.Fatal(err)
	}
	return configMap
}

// awaitChecksum waits until a ConfigMap has a checksum other than the one before, and returns it.
func (s space) awaitChecksum(name, before string) string {
	s.Helper()
	w, err := s.Watch(s.Context(), &corev1.ConfigMapList{}, client.InNamespace(s.namespace), client.MatchingFields{"metadata.name": name})
	if err != nil {
		s.Fatal(err)
	}
	last, err := watchtools.UntilWithoutRetry(s.Context(), w, func(e watch.Event) (bool, error) {
		configMap, ok := e.Object.(*corev1.ConfigMap)
		return ok && configMap.Annotations[Checksum] != before, nil
	})
	if err != nil {
		s.Fatal(err)
	}
	return last.Object.(*corev1.ConfigMap).Annotations[Checksum]
}

func TestReconcile_writesTheChecksum(t *testing.T) {
	s := start(t)
	s.create("configuration", map[string]string{Checksum: ""})
	// echo -n '{"greeting":"hello"}' | sha256sum
	if got := s.awaitChecksum("configuration", ""); got != "aac83f481075f7caa0e05c54083a45761a77bb0850ee8898208adfb4d80747e8" {
		t.Errorf("the checksum is %s", got)
	}
}

func TestReconcile_followsChanges(t *testing.T) {
	s := start(t)
	s.create("configuration", map[string]string{Checksum: ""})
	before := s.awaitChecksum("configuration", "")
	var configMap corev1.ConfigMap
	if err := s.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "configuration"}, &configMap); err != nil {
		t.Fatal(err)
	}
	configMap.Data["greeting"] = "hi"
	if err := s.Update(t.Context(), &configMap); err != nil {
		t.Fatal(err)
	}
	s.awaitChecksum("configuration", before)
}

func TestReconcile_leavesOthersAlone(t *testing.T) {
	s := start(t)
	other := s.create("other", nil)
	// The name is that of the other tests' ConfigMap, in another space.
	s.create("configuration", map[string]string{Checksum: ""})
	s.awaitChecksum("configuration", "")
	var got corev1.ConfigMap
	if err := s.Get(t.Context(), client.ObjectKeyFromObject(other), &got); err != nil {
		t.Fatal(err)
	}
	if got.ResourceVersion != other.ResourceVersion {
		t.Errorf("it was changed: %v", got)
	}
}
