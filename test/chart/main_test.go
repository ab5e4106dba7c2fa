// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package chart renders the chart with the helm that the clusters of the tests
// have, without a cluster, and looks at what comes of it.
package chart

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	release   = "rel"
	namespace = "driver"
)

// values are values of the chart, as in JSON.
type values = map[string]any

// directory is where the chart is.
func directory() string {
	return filepath.Join(filepath.Dir(cluster.DefaultConfig().BuildDir), "deployments/helm/space-dra-driver")
}

// helm runs helm with values, and returns what it said.
func helm(t *testing.T, v values, args ...string) (string, error) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), framework.Binary("helm"), append(args, "--values=-")...)
	cmd.Stdin = bytes.NewReader(raw)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatalf("run helm, which make programs builds: %v", err)
	}
	return stdout.String() + stderr.String(), err
}

// tryRender renders the chart with values.
func tryRender(t *testing.T, v values, args ...string) (string, error) {
	t.Helper()
	return helm(t, v, append([]string{"template", release, directory(), "--namespace", namespace}, args...)...)
}

// render is tryRender for values that are accepted.
func render(t *testing.T, v values, args ...string) string {
	t.Helper()
	out, err := tryRender(t, v, args...)
	if err != nil {
		t.Fatalf("render the chart with %v: %v: %s", v, err, out)
	}
	return out
}

// objects are those of a rendered chart, by kind and name.
func objects(t *testing.T, rendered string) map[string]*unstructured.Unstructured {
	t.Helper()
	out := map[string]*unstructured.Unstructured{}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(rendered), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("read what was rendered: %v", err)
		}
		if len(object.Object) == 0 {
			continue
		}
		key := object.GetKind() + "/" + object.GetName()
		if object.GetNamespace() != "" && object.GetNamespace() != namespace {
			key += " in " + object.GetNamespace()
		}
		if out[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		out[key] = object
	}
}

// defaults are the values in values.yaml.
func defaults(t *testing.T) values {
	t.Helper()
	return load(t, "values.yaml")
}

// load reads a file of the chart in YAML or JSON.
func load(t *testing.T, name string) values {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(directory(), name))
	if err != nil {
		t.Fatal(err)
	}
	out := values{}
	if err := yaml.Unmarshal(raw, &out); err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return out
}

// at are values with a single one, at a path with dots.
func at(path string, value any) values {
	return under(strings.Split(path, "."), value)
}

// under is at for keys that have dots themselves.
func under(keys []string, value any) values {
	for i := len(keys) - 1; i >= 0; i-- {
		value = values{keys[i]: value}
	}
	return value.(values)
}

// together puts values together, key by key. Later ones win.
func together(all ...values) values {
	out := values{}
	for _, v := range all {
		for key, value := range v {
			below, isMap := value.(values)
			already, wasMap := out[key].(values)
			if isMap && wasMap {
				value = together(already, below)
			} else if isMap {
				value = maps.Clone(below)
			}
			out[key] = value
		}
	}
	return out
}
