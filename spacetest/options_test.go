// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package spacetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/holder"
)

func TestNewOptions_hasDefaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	content := `{"apiVersion":"v1","kind":"Config","current-context":"a",
		"contexts":[{"name":"a","context":{"cluster":"a","namespace":"team"}}],"clusters":[{"name":"a","cluster":{"server":"https://cluster:6443"}}]}`
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
	config, o, err := newOptions(nil)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://cluster:6443" || o.Namespace != "team" || o.Class != spaceapi.DefaultDriverName || o.timeout != 2*time.Minute {
		t.Errorf("got %s and %+v", config.Host, o)
	}
	if want := holder.Image(version); o.Image != want {
		t.Errorf("the image is %s, want %s", o.Image, want)
	}
	_, other, err := newOptions([]Option{
		Namespace("other"), Driver("space.example.com"), Image("image"), Timeout(time.Hour), Parameters(spaceapi.SpaceClaimConfig{ClusterRoles: []string{"view"}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	if other.Namespace != "other" || other.Class != "space.example.com" || other.Image != "image" || other.timeout != time.Hour || other.Name == o.Name {
		t.Errorf("got %+v", other)
	}
	if parameters, errs := spaceapi.DecodeSpaceClaimConfig(other.Parameters, other.Driver); len(errs) > 0 || parameters.ClusterRoles[0] != "view" {
		t.Errorf("the parameters are %s: %v", other.Parameters, errs)
	}
	if _, named, _ := newOptions([]Option{Class("ci"), Driver("space.example.com")}); named.Class != "ci" {
		t.Errorf("the class is %s", named.Class)
	}
}

func TestVersion_isThatOfTheRelease(t *testing.T) {
	for file, line := range map[string]string{"../Makefile": "VERSION ?= " + version, "go.mod": "\tgithub.com/space-dra/space-dra-driver " + version} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), "\n"+line+"\n") {
			t.Errorf("%s has no line %q", file, line)
		}
	}
}
