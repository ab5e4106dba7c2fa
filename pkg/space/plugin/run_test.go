// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
)

func TestOptionsRun_validatesOptions(t *testing.T) {
	if err := parse(t).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "--node-name") {
		t.Errorf("got error %v, want the one about the node's name", err)
	}
}

func TestOptionsNewDriver_separatesInstallations(t *testing.T) {
	dir := t.TempDir()
	credentialsPath := func(name string) string {
		t.Helper()
		o := parse(t, "--driver-name="+name, "--credentials-dir="+dir+"/claims", "--cdi-root="+dir+"/cdi", "--kubelet-root-dir="+dir+"/kubelet")
		driver, err := o.newDriver(fake.NewClientset(), nil, APIServer{}, record.NewFakeRecorder(0), prometheus.NewRegistry(), func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		return driver.store.credentialsPath("claim-uid", "subdir")
	}
	if got, want := credentialsPath("a.example.com"), dir+"/claims/a.example.com/claim-uid/credentials/subdir"; got != want {
		t.Errorf("the credentials are in %s, want %s", got, want)
	}
	if credentialsPath("a.example.com") == credentialsPath("b.example.com") {
		t.Error("two drivers have the same directory")
	}
}
