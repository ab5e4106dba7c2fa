// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func parse(t *testing.T, args ...string) (*Options, error) {
	t.Helper()
	o := &Options{}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	o.AddFlags(fs)
	return o, fs.Parse(args)
}

func TestOptionsValidate_namesTheInvalidFlag(t *testing.T) {
	for _, test := range []struct {
		args string
		// flag is the invalid flag, if any.
		flag string
	}{
		{"--leader-elect-resource-namespace=space-system", ""},
		{"", ""},
		{"--advertise-apiserver-url=https://kubernetes.default.svc", ""},
		{"--advertise-apiserver-url=https://[fd00::1]:6443", ""},
		{"--namespace-prefix=" + strings.Repeat("p", 53), ""},
		{"--namespace-prefix=", ""},
		{"--network-mode=Open --apiserver-cidrs=10.0.0.0/8,fd00::/64 --dns-namespace=openshift-dns --dns-pod-labels=a=b,c=d --dns-port=5353 --dns-cidrs=169.254.20.10/32 --allowed-cluster-roles=", ""},
		{"--pprof-bind-address=127.0.0.1:6060", ""},
		{"--metrics-secure --tls-cert-file=c --tls-private-key-file=k", ""},

		{"--leader-elect=true", "--leader-elect-resource-namespace"},
		{"--driver-name=Not-A-Name", "--driver-name"},
		{"--namespace-prefix=Upper-", "--namespace-prefix"},
		{"--namespace-prefix=-dash", "--namespace-prefix"},
		{"--namespace-prefix=a.b-", "--namespace-prefix"},
		{"--namespace-prefix=" + strings.Repeat("p", 54), "--namespace-prefix"},
		{"--cluster-role=", "--cluster-role"},
		{"--pod-security=", "--pod-security"},
		{"--network-mode=Closed", "--network-mode"},
		{"--dns-port=0", "--dns-port"},
		{"--dns-namespace=", "--dns-namespace"},
		{"--advertise-apiserver-url=http://10.96.0.1", "--advertise-apiserver-url"},
		{"--advertise-apiserver-url=10.96.0.1:443", "--advertise-apiserver-url"},
		{"--advertise-apiserver-url=https://", "--advertise-apiserver-url"},
		{"--dedicated-device-count=0", "--dedicated-device-count"},
		{"--concurrent-claim-syncs=0", "--concurrent-claim-syncs"},
		{"--resync-period=0", "--resync-period"},
		{"--stuck-terminating-after=0", "--stuck-terminating-after"},
		{"--pprof-bind-address=0.0.0.0:6060", "--pprof-bind-address"},
		{"--metrics-secure --tls-cert-file=c", "--tls-cert-file"},
		{"--tls-cert-file=c --tls-private-key-file=k", "--tls-cert-file"},
	} {
		t.Run(test.args, func(t *testing.T) {
			o, err := parse(t, append([]string{"--leader-elect=false"}, strings.Fields(test.args)...)...)
			if err != nil {
				t.Fatal(err)
			}
			err = o.validate()
			if test.flag == "" && err != nil {
				t.Error(err)
			}
			if test.flag != "" && (err == nil || !strings.HasPrefix(err.Error(), test.flag+":")) {
				t.Errorf("got error %v, want one about %s", err, test.flag)
			}
		})
	}
}
