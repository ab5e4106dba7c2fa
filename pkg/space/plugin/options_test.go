// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
)

// parse returns the options that a command line gives.
func parse(t *testing.T, args ...string) *Options {
	t.Helper()
	o := &Options{}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	o.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestTheNodeNameIsAllThatMustBeSet(t *testing.T) {
	if err := parse(t, "--node-name=node-7").validate(); err != nil {
		t.Error(err)
	}
	err := parse(t).validate()
	if err == nil || !strings.Contains(err.Error(), "--node-name is required") || !strings.Contains(err.Error(), "spec.nodeName") {
		t.Errorf("got error %v, want one that says where the node's name comes from", err)
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	for _, test := range []struct{ arg, want string }{
		{"--driver-name=Not A Name", `driver name "Not A Name"`},
		{"--driver-name=", `driver name ""`},
		{"--kubelet-root-dir=var/lib/kubelet", `--kubelet-root-dir "var/lib/kubelet": must be an absolute path`},
		{"--cdi-root=cdi", "--cdi-root"},
		{"--credentials-dir=", "--credentials-dir"},
		{"--token-lifetime=9m59s", "--token-lifetime 9m59s"},
		{"--prepare-timeout=0", "--prepare-timeout 0s"},
		{"--prepare-timeout=-1s", "--prepare-timeout -1s"},
		{"--prepare-timeout=41s", "45s"},
	} {
		t.Run(test.arg, func(t *testing.T) {
			err := parse(t, "--node-name=node-7", test.arg).validate()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one that says %q", err, test.want)
			}
		})
	}
	for _, arg := range []string{"--token-lifetime=10m", "--prepare-timeout=40s", "--driver-name=a.b"} {
		t.Run("but not "+arg, func(t *testing.T) {
			if err := parse(t, "--node-name=node-7", arg).validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOptions_socketsFitIntoTheirPaths(t *testing.T) {
	const podUID = "7791ecd8-b343-4545-821c-d5b05db2d590"
	for _, test := range []struct {
		dir, driver string
		fits        bool
	}{
		{"/var/lib/kubelet", "space.resource.example.com", true},
		{"/var/snap/microk8s/common/var/lib/kubelet", "space.resource.example.com", true},
		{"/var/lib/k0s/kubelet", strings.Repeat("a", resourceapi.DriverNameMaxLength), true},
		{"/" + strings.Repeat("a", 80), "space.resource.example.com", false},
	} {
		o := parse(t, "--node-name=node", "--pod-uid="+podUID, "--kubelet-root-dir="+test.dir, "--driver-name="+test.driver)
		if err := o.validate(); (err == nil) != test.fits || err != nil && !strings.Contains(err.Error(), "socket") {
			t.Errorf("%s in %s: got error %v", test.driver, test.dir, err)
		}
		next := parse(t, "--node-name=node", "--pod-uid=8"+podUID[1:], "--kubelet-root-dir="+test.dir, "--driver-name="+test.driver)
		if o.servingPath() == next.servingPath() || o.registrationPath() == next.registrationPath() {
			t.Errorf("%s in %s: two plugins have the same socket", test.driver, test.dir)
		}
	}
}

func TestAllThatIsWrongIsSaidAtOnce(t *testing.T) {
	err := parse(t, "--token-lifetime=1s", "--cdi-root=x").validate()
	for _, flag := range []string{"--node-name", "--token-lifetime", "--cdi-root"} {
		if err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("nothing is said about %s: %v", flag, err)
		}
	}
}

func TestRunChecksTheOptionsFirst(t *testing.T) {
	if err := parse(t).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "--node-name") {
		t.Errorf("got error %v, want the one about the node's name", err)
	}
}

func TestTwoInstallationsOnANodeHaveNoArtifactsInCommon(t *testing.T) {
	dir := t.TempDir()
	place := func(name string) string {
		t.Helper()
		o := parse(t, "--driver-name="+name, "--credentials-dir="+dir+"/artifacts", "--cdi-root="+dir+"/cdi", "--kubelet-root-dir="+dir+"/kubelet")
		driver, err := o.driver(fake.NewClientset(), APIServer{}, record.NewFakeRecorder(0), prometheus.NewRegistry(), func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		return driver.store.credentialsPath("claim-uid", "slot")
	}
	if got, want := place("a.example.com"), dir+"/artifacts/a.example.com/claim-uid/credentials/slot"; got != want {
		t.Errorf("the artifacts are in %s, want %s", got, want)
	}
	if place("a.example.com") == place("b.example.com") {
		t.Error("two drivers have the same place")
	}
}
