// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package containeredits_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
)

func TestCheckClaims_rejectsCollisions(t *testing.T) {
	type claim struct {
		name     string // in the pod
		requests []string
		config   config.ContainerConfig
	}
	one := []string{"space"}
	for name, test := range map[string]struct {
		first, second claim
		// want are words of the error. If there are none, there is no error.
		want []string
	}{
		"two claims": {claim{"a", one, config.ContainerConfig{}}, claim{"b", one, config.ContainerConfig{}}, nil},
		"the name of a claim and that of another in the pod": {
			claim{"a", one, config.ContainerConfig{}}, claim{"a", one, config.ContainerConfig{EnvPrefix: "B"}}, []string{"ResourceClaims first and second both have their files at /etc/a", "another name in the pod"},
		},
		"the same name, but a class without files in /etc": {
			claim{"a", one, config.ContainerConfig{}}, claim{"a", one, config.ContainerConfig{EnvPrefix: "B", DisableEtcMount: true}}, nil,
		},
		"the same name, with one and several requests": {
			claim{"a", one, config.ContainerConfig{}}, claim{"a", []string{"x", "y"}, config.ContainerConfig{}}, []string{"ResourceClaim second cannot be at /etc/a/x", "ResourceClaim first are at /etc/a"},
		},
		"names that differ in their punctuation": {
			claim{"a-b", one, config.ContainerConfig{}}, claim{"a.b", one, config.ContainerConfig{}}, []string{"first and second set environment variable A_B_NAMESPACE", "envPrefix"},
		},
		"a name that is another and its request": {
			claim{"a", []string{"b", "c"}, config.ContainerConfig{}}, claim{"a-b", one, config.ContainerConfig{}}, []string{"environment variable A_B_NAMESPACE"},
		},
		"KUBECONFIG of both": {
			claim{"a", one, config.ContainerConfig{KubeconfigEnv: true}}, claim{"b", one, config.ContainerConfig{KubeconfigEnv: true}}, []string{"environment variable KUBECONFIG"},
		},
		"inCluster in both": {
			claim{"a", one, config.ContainerConfig{InCluster: true}}, claim{"b", one, config.ContainerConfig{InCluster: true}}, []string{"/var/run/secrets/kubernetes.io/serviceaccount"},
		},
		"a mountPath among the files of another": {
			claim{"a", one, config.ContainerConfig{}}, claim{"b", one, config.ContainerConfig{MountPath: "/etc/a/b"}}, []string{"second cannot be at /etc/a/b", "first are at /etc/a"},
		},
		"other values of parameters": {
			claim{"a", one, config.ContainerConfig{AdminEnv: map[string]string{"k": "1"}, UserEnv: map[string]string{"k": "1"}}},
			claim{"b", one, config.ContainerConfig{AdminEnv: map[string]string{"k": "2"}, UserEnv: map[string]string{"k": "2"}}}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			edits := func(c claim, uid types.UID) []containeredits.Edits {
				a := allocated(c.requests...)
				a.PodClaimName, a.ClaimUID = c.name, uid
				configs := make([]config.ContainerConfig, len(c.requests))
				for i := range configs {
					configs[i] = c.config
				}
				out, err := containeredits.Build(driver, server, a, configs, []string{string(uid) + "-1", string(uid) + "-2"})
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			err := containeredits.CheckClaims("first", edits(test.first, "uid-1"), "second", edits(test.second, "uid-2"))
			if (err != nil) != (test.want != nil) {
				t.Fatalf("got error %v", err)
			}
			for _, words := range test.want {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("the error lacks %q: %v", words, err)
				}
			}
		})
	}
}
