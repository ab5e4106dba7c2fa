// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

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

func TestOptionsThatWork(t *testing.T) {
	for _, args := range [][]string{
		{"--leader-elect-resource-namespace=space-system"},
		{"--leader-elect=false"},
		{"--leader-elect=false", "--advertise-apiserver-url=https://kubernetes.default.svc"},
		{"--leader-elect=false", "--advertise-apiserver-url=https://[fd00::1]:6443"},
		{"--leader-elect=false", "--namespace-prefix=" + strings.Repeat("p", 53)},
		{"--leader-elect=false", "--namespace-prefix="},
		{"--leader-elect=false", "--network-mode=Open", "--api-server-cidrs=10.0.0.0/8,fd00::/64", "--dns-namespace=openshift-dns", "--dns-labels=a=b,c=d", "--dns-port=5353", "--dns-cidrs=169.254.20.10/32", "--allowed-cluster-roles="},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			if err := parse(t, args...).validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	for _, test := range []struct{ arg, want string }{
		{"--leader-elect=true", "--leader-elect-resource-namespace is required"},
		{"--driver-name=Not A Name", `driver name "Not A Name"`},
		{"--namespace-prefix=Upper-", `--namespace-prefix "Upper-"`},
		{"--namespace-prefix=-dash", "--namespace-prefix"},
		{"--namespace-prefix=a.b-", "--namespace-prefix"},
		{"--namespace-prefix=" + strings.Repeat("p", 54), "--namespace-prefix"},
		{"--cluster-role=", "--cluster-role"},
		{"--network-mode=Closed", `--network-mode "Closed"`},
		{"--dns-cidrs=169.254.20.10", `--dns-cidrs "169.254.20.10"`},
		{"--dns-port=0", `--dns-port 0: must be`},
		{"--dns-namespace=", `--dns-namespace must not be empty`},
		{"--api-server-cidrs=10.0.0.1", `--api-server-cidrs "10.0.0.1"`},
		{"--advertise-apiserver-url=http://10.96.0.1", "--advertise-apiserver-url"},
		{"--advertise-apiserver-url=10.96.0.1:443", "--advertise-apiserver-url"},
		{"--advertise-apiserver-url=https://", "--advertise-apiserver-url"},
		{"--exclusive-device-count=0", "--exclusive-device-count 0"},
		{"--concurrent-claim-syncs=0", "--concurrent-claim-syncs 0"},
	} {
		t.Run(test.arg, func(t *testing.T) {
			err := parse(t, "--leader-elect=false", test.arg).validate()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one that says %q", err, test.want)
			}
		})
	}
}

// What the options call the length of a suffix is the length that package allocation gives them.
func TestThePrefixIsCheckedWithTheRealSuffix(t *testing.T) {
	result := allocationOf(t, claimFor("a")).Results[0]
	if got := len(result.NamespaceName("")); got != maxSuffix {
		t.Errorf("names have %d characters after the prefix, but prefixes are checked for %d", got, maxSuffix)
	}
}
