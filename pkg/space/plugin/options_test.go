// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/client-go/rest"
)

func TestOptionsAPIServer_prefersFlags(t *testing.T) {
	ca := certificates(t, 1)
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	caFile, otherFile := file("ca.crt", ca), file("other.crt", append([]byte("# other\n"), ca...))
	inline := rest.TLSClientConfig{CAData: ca}
	for name, test := range map[string]struct {
		args   []string
		tls    rest.TLSClientConfig
		server string
		ca     string
		err    string
	}{
		"the plugin's server, with CA data":   {nil, inline, "https://own:6443", string(ca), ""},
		"the plugin's server, with a CA file": {nil, rest.TLSClientConfig{CAFile: caFile}, "https://own:6443", string(ca), ""},
		"another URL":                         {[]string{"--advertise-apiserver-url=https://other"}, inline, "https://other", string(ca), ""},
		"another CA file":                     {[]string{"--advertise-apiserver-ca-file=" + otherFile}, inline, "https://own:6443", "# other\n" + string(ca), ""},
		"the system's CA certificates":        {nil, rest.TLSClientConfig{}, "https://own:6443", "", ""},
		"a file that does not exist":          {[]string{"--advertise-apiserver-ca-file=" + dir + "/none"}, inline, "", "", dir + "/none"},
		"a file without certificates":         {[]string{"--advertise-apiserver-ca-file=" + file("junk", []byte("junk"))}, inline, "", "", "CA certificates for pods"},
		"a file that is too large":            {[]string{"--advertise-apiserver-ca-file=/dev/zero"}, inline, "", "", "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			s := apiServerWithCA{APIServer: parse(t, test.args...).apiServer(&rest.Config{Host: "https://own:6443", TLSClientConfig: test.tls})}
			_, err := s.load()
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got error %v, want one that contains %q", err, test.err)
				}
				return
			}
			if err != nil || s.URL != test.server || string(*s.ca.Load()) != test.ca {
				t.Errorf("got server %q, CA %q, error %v; want server %q, CA %q", s.URL, *s.ca.Load(), err, test.server, test.ca)
			}
		})
	}
}

// parse returns the options for these arguments.
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

func TestOptionsValidate_requiresTheNodeName(t *testing.T) {
	if err := parse(t, "--node-name=node-7").validate(); err != nil {
		t.Error(err)
	}
	err := parse(t).validate()
	if err == nil || !strings.Contains(err.Error(), "--node-name is required") || !strings.Contains(err.Error(), "spec.nodeName") {
		t.Errorf("got error %v, want one about --node-name and spec.nodeName", err)
	}
}

func TestOptionsValidate_rejectsInvalidValues(t *testing.T) {
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
		{"--pprof-bind-address=:6060", "--pprof-bind-address"},
		{"--pprof-bind-address=0.0.0.0:6060", "--pprof-bind-address"},
		{"--pprof-bind-address=10.0.0.1:6060", "--pprof-bind-address"},
		{"--pprof-bind-address=127.0.0.1", "--pprof-bind-address"},
		{"--pprof-bind-address=localhost:6060", "--pprof-bind-address"},
	} {
		t.Run(test.arg, func(t *testing.T) {
			err := parse(t, "--node-name=node-7", test.arg).validate()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one that contains %q", err, test.want)
			}
		})
	}
	for _, arg := range []string{"--token-lifetime=10m", "--prepare-timeout=40s", "--driver-name=a.b", "--pprof-bind-address=127.0.0.1:6060", "--pprof-bind-address=[::1]:6060"} {
		t.Run("accepts "+arg, func(t *testing.T) {
			if err := parse(t, "--node-name=node-7", arg).validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOptionsValidate_limitsSocketPaths(t *testing.T) {
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

func TestOptionsValidate_returnsAllErrors(t *testing.T) {
	err := parse(t, "--token-lifetime=1s", "--cdi-root=x").validate()
	for _, flag := range []string{"--node-name", "--token-lifetime", "--cdi-root"} {
		if err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("no error about %s: %v", flag, err)
		}
	}
}
