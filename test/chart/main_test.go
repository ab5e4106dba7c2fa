// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package chart renders the chart with helm, without a cluster, and checks the objects.
package chart

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	release   = "rel"
	namespace = "driver"

	controllerName = "rel-space-dra-driver-controller"
	pluginName     = "rel-space-dra-driver-kubeletplugin"
)

// values are values of the chart.
type values = map[string]any

// directory returns the directory of the chart.
func directory() string {
	return filepath.Join(filepath.Dir(cluster.DefaultConfig().BuildDir), "deployments/helm/space-dra-driver")
}

// manifests are the objects of a rendered chart, by kind and name.
type manifests map[string]*unstructured.Unstructured

// tryRender renders the chart. If helm rejects the values, it returns helm's error.
func tryRender(t *testing.T, release string, v values, args ...string) (manifests, error) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), framework.Binary("helm"),
		append([]string{"template", release, directory(), "--namespace=" + namespace, "--values=-"}, args...)...)
	cmd.Stdin = bytes.NewReader(raw)
	out, err := cmd.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return nil, fmt.Errorf("render the chart with %v: %s", v, exit.Stderr)
	}
	if err != nil {
		t.Fatalf("run helm, which make programs builds: %v", err)
	}
	rendered := manifests{}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(out), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return rendered, nil
		} else if err != nil {
			t.Fatalf("read the rendered chart: %v", err)
		}
		if len(object.Object) == 0 {
			continue
		}
		key := object.GetKind() + "/" + object.GetName()
		if object.GetNamespace() != "" && object.GetNamespace() != namespace {
			key += " in " + object.GetNamespace()
		}
		if rendered[key] != nil {
			t.Errorf("the chart has two objects %s", key)
		}
		rendered[key] = object
	}
}

// render renders the chart with valid values.
func render(t *testing.T, v values, args ...string) manifests {
	t.Helper()
	rendered, err := tryRender(t, release, v, args...)
	if err != nil {
		t.Fatal(err)
	}
	return rendered
}

// object returns one of the objects. Fields that the type does not have fail the test.
func object[T any](t *testing.T, rendered manifests, key string) *T {
	t.Helper()
	if rendered[key] == nil {
		t.Fatalf("the chart has no %s", key)
	}
	out := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(rendered[key].Object, out, true); err != nil {
		t.Fatalf("%s is invalid: %v", key, err)
	}
	return out
}

// selects reports whether a selector matches these labels, and is not empty.
func selects(t *testing.T, selector *metav1.LabelSelector, set map[string]string) bool {
	t.Helper()
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return !parsed.Empty() && parsed.Matches(labels.Set(set))
}

func controllerOf(t *testing.T, v values) *appsv1.Deployment {
	t.Helper()
	return object[appsv1.Deployment](t, render(t, v), "Deployment/"+controllerName)
}

func pluginOf(t *testing.T, v values) *appsv1.DaemonSet {
	t.Helper()
	return object[appsv1.DaemonSet](t, render(t, v), "DaemonSet/"+pluginName)
}

// defaults returns the values of values.yaml.
func defaults(t *testing.T) values {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(directory(), "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	out := values{}
	if err := yaml.Unmarshal(raw, &out); err != nil {
		t.Fatalf("read values.yaml: %v", err)
	}
	return out
}

// at returns values with a single one, at a path such as "controller.replicas".
func at(path string, value any) values {
	return under(strings.Split(path, "."), value)
}

// under is like at, for keys that contain dots.
func under(keys []string, value any) values {
	for i := len(keys) - 1; i >= 0; i-- {
		value = values{keys[i]: value}
	}
	return value.(values)
}

// merge merges values, key by key. Later ones take precedence.
func merge(all ...values) values {
	out := values{}
	for _, v := range all {
		for key, value := range v {
			below, isMap := value.(values)
			already, wasMap := out[key].(values)
			if isMap && wasMap {
				value = merge(already, below)
			} else if isMap {
				value = maps.Clone(below)
			}
			out[key] = value
		}
	}
	return out
}
