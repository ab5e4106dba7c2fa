// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"strings"
	"testing"
)

// onePool returns values with one pool.
func onePool(fields values) values {
	return values{"pools": []any{merge(values{"name": "a"}, fields)}}
}

// oneClass returns values with one DeviceClass.
func oneClass(fields values) values {
	return values{"deviceClasses": []any{merge(values{"name": "a"}, fields)}}
}

func budget(parts values) values {
	return onePool(values{"budget": merge(values{"total": values{"cpu": 8}, "default": values{"cpu": 1}}, parts)})
}

func TestValues_invalidOnesAreRejectedWithTheirPath(t *testing.T) {
	for name, c := range map[string]struct {
		values values
		// words that the error contains
		words []string
	}{
		"an unknown key":                                  {values{"replicas": 2}, []string{"'replicas' not allowed"}},
		"an unknown key below":                            {at("controller.replica", 2), []string{"'/controller'", "'replica' not allowed"}},
		"a driver's name with capitals":                   {values{"driverName": "Space"}, []string{"'/driverName'"}},
		"a driver's name that is too long":                {values{"driverName": strings.Repeat("a", 64)}, []string{"'/driverName'", "63"}},
		"a repository with a tag and spaces":              {at("image.repository", "a b"), []string{"'/image/repository'"}},
		"a tag that is a number":                          {at("image.tag", 1), []string{"'/image/tag'", "want string"}},
		"a pull policy in other case":                     {at("image.pullPolicy", "always"), []string{"'/image/pullPolicy'", "Always"}},
		"a pull Secret that is a string":                  {values{"imagePullSecrets": []any{"a"}}, []string{"'/imagePullSecrets/0'", "want object"}},
		"a prefix that is too long":                       {at("space.namespacePrefix", strings.Repeat("a", 54)), []string{"'/space/namespacePrefix'"}},
		"no ClusterRole":                                  {at("space.clusterRole", ""), []string{"'/space/clusterRole'"}},
		"a ClusterRole with a comma":                      {at("space.allowedClusterRoles", []any{"a,b"}), []string{"'/space/allowedClusterRoles/0'"}},
		"a ClusterRole twice":                             {at("space.clusterWideRoles", []any{"a", "a"}), []string{"'/space/clusterWideRoles'"}},
		"a string instead of a list":                      {at("space.clusterWideRoles", "a"), []string{"'/space/clusterWideRoles'", "want array"}},
		"an unknown Pod Security Standard":                {at("space.podSecurity", "strict"), []string{"'/space/podSecurity'", "baseline"}},
		"an unknown network":                              {at("space.networkMode", "Closed"), []string{"'/space/networkMode'", "Isolated"}},
		"a DNS server without a prefix length":            {at("space.dns.cidrs", []any{"169.254.20.10"}), []string{"'/space/dns/cidrs/0'"}},
		"an address without a prefix length":              {at("space.apiServerCIDRs", []any{"10.0.0.1"}), []string{"'/space/apiServerCIDRs/0'"}},
		"an unknown field of the class":                   {at("defaultDeviceClass.config.maxLivetime", "8h"), []string{"'/defaultDeviceClass/config'", "'maxLivetime' not allowed"}},
		"a lifetime without a unit":                       {at("defaultDeviceClass.config.maxLifetime", "8"), []string{"'/defaultDeviceClass/config/maxLifetime'"}},
		"a lifetime that is a number":                     {at("defaultDeviceClass.config.maxLifetime", 8), []string{"'/defaultDeviceClass/config/maxLifetime'", "want string"}},
		"a retention that the class does not know":        {at("defaultDeviceClass.config.retention", values{"period": "1h", "when": "Never"}), []string{"'/defaultDeviceClass/config/retention/when'"}},
		"a retention of zero in the class":                {at("defaultDeviceClass.config.retention.period", "0s"), []string{"'/defaultDeviceClass/config/retention/period'"}},
		"a quota of text":                                 {at("defaultDeviceClass.config.resourceQuota.hard", values{"cpu": "lots"}), []string{"'/defaultDeviceClass/config/resourceQuota/hard/cpu'"}},
		"a copy without a namespace":                      {at("defaultDeviceClass.config.copyFrom", values{"secrets": []any{values{"name": "a"}}}), []string{"'/defaultDeviceClass/config/copyFrom'", "'namespace'"}},
		"a label that is a boolean":                       {at("defaultDeviceClass.config.labels", values{"a": true}), []string{"'/defaultDeviceClass/config/labels/a'", "want string"}},
		"a server without TLS":                            {at("space.apiServerURL", "http://a"), []string{"'/space/apiServerURL'"}},
		"certificates that are a file's name":             {at("space.apiServerCA", "/ca.crt"), []string{"'/space/apiServerCA'"}},
		"no pools":                                        {values{"pools": []any{}}, []string{"'/pools'"}},
		"a pool without a name":                           {values{"pools": []any{values{"limit": 1}}}, []string{"'/pools/0'", "'name'"}},
		"a pool with an unknown field":                    {onePool(values{"limits": 1}), []string{"'/pools/0'", "'limits' not allowed"}},
		"a pool's name with capitals":                     {onePool(values{"name": "A"}), []string{"'/pools/0/name'"}},
		"two pools with the same name":                    {values{"pools": []any{values{"name": "a"}, values{"name": "a"}}}, []string{`pools[1].name: duplicate`, `"a"`}},
		"a limit of zero":                                 {onePool(values{"limit": 0}), []string{"'/pools/0/limit'"}},
		"a limit of text":                                 {onePool(values{"limit": "1"}), []string{"'/pools/0/limit'", "want integer"}},
		"a pool for each node without a limit":            {onePool(values{"perNode": values{}}), []string{"'/pools/0/perNode'", "'limit'"}},
		"a pool for each node with a limit":               {onePool(values{"limit": 1, "perNode": values{"limit": 1}}), []string{"pools[0].perNode:", "limit"}},
		"a budget of an unknown resource":                 {budget(values{"total": values{"gpu": 1}}), []string{"'/pools/0/budget/total'", "'gpu' not allowed"}},
		"a budget without defaults":                       {onePool(values{"budget": values{"total": values{"cpu": 1}}}), []string{"'/pools/0/budget'", "'default'"}},
		"a budget without one default":                    {budget(values{"total": values{"pods": 1}}), []string{"pools[0].budget.default.pods: required"}},
		"a budget with a default that has no total":       {budget(values{"default": values{"pods": 1}}), []string{"pools[0].budget.default.pods:", "total"}},
		"a reserved attribute":                            {onePool(values{"attributes": values{"pool": "b"}}), []string{"'/pools/0/attributes/pool'"}},
		"an attribute with a dot":                         {onePool(values{"attributes": values{"a.b": "c"}}), []string{"'/pools/0/attributes'", "'a.b' not allowed"}},
		"an attribute that is a list":                     {onePool(values{"attributes": values{"a": []any{}}}), []string{"'/pools/0/attributes/a'"}},
		"an attribute with an incomplete version":         {onePool(values{"attributes": values{"a": values{"version": "1.2"}}}), []string{"'/pools/0/attributes/a/version'"}},
		"a class without a name":                          {values{"deviceClasses": []any{values{"pool": "spaces"}}}, []string{"'/deviceClasses/0'", "'name'"}},
		"a class with an unknown field":                   {oneClass(values{"selectors": "true"}), []string{"'/deviceClasses/0'", "'selectors' not allowed"}},
		"a class of a pool that does not exist":           {oneClass(values{"pool": "gold"}), []string{"deviceClasses[0].pool:", `"gold"`}},
		"an extended resource without a domain":           {oneClass(values{"extendedResourceName": "gold"}), []string{"'/deviceClasses/0/extendedResourceName'"}},
		"an unknown field of a class's config":            {oneClass(values{"config": values{"inCluster": true}}), []string{"'/deviceClasses/0/config'", "'inCluster' not allowed"}},
		"the default class of a pool that does not exist": {at("defaultDeviceClass.pool", "gold"), []string{"defaultDeviceClass.pool:", `"gold"`}},
		"a negative verbosity":                            {values{"logVerbosity": -1}, []string{"'/logVerbosity'"}},
		"replicas of text":                                {at("controller.replicas", "2"), []string{"'/controller/replicas'", "want integer"}},
		"a resync period of zero":                         {at("controller.resyncPeriod", "0s"), []string{"'/controller/resyncPeriod'"}},
		"a port too high":                                 {at("controller.metricsPort", 65536), []string{"'/controller/metricsPort'"}},
		"a toleration with an unknown effect":             {at("controller.tolerations", []any{values{"effect": "Never"}}), []string{"'/controller/tolerations/0/effect'"}},
		"an affinity of an unknown kind":                  {at("controller.affinity", values{"node": values{}}), []string{"'/controller/affinity'", "'node' not allowed"}},
		"resources of an unknown kind":                    {at("controller.resources.limit", values{"cpu": 1}), []string{"'/controller/resources'", "'limit' not allowed"}},
		"a node label that is a boolean":                  {at("kubeletPlugin.nodeSelector", values{"a": true}), []string{"'/kubeletPlugin/nodeSelector/a'", "want string"}},
		"a directory that is not absolute":                {at("kubeletPlugin.kubeletRootDir", "var/lib/kubelet"), []string{"'/kubeletPlugin/kubeletRootDir'"}},
		"a directory with a slash at its end":             {at("kubeletPlugin.kubeletRootDir", "/var/lib/kubelet/"), []string{"'/kubeletPlugin/kubeletRootDir'"}},
		"a token lifetime of nine minutes":                {at("kubeletPlugin.tokenLifetime", "9m"), []string{"'/kubeletPlugin/tokenLifetime'"}},
		"both monitors":                                   {merge(at("metrics.podMonitor.enabled", true), at("metrics.serviceMonitor.enabled", true)), []string{"metrics.podMonitor.enabled:", "metrics.serviceMonitor.enabled"}},
		"a PodMonitor without a token":                    {merge(at("metrics.podMonitor.enabled", true), at("metrics.secure.enabled", true)), []string{"metrics.secure.token.existingSecret: required"}},
		"metrics at the port of health checks":            {at("controller.metricsPort", 8081), []string{"controller.metricsPort:", "controller.healthPort"}},
		"a certificate that is a file's name":             {at("metrics.secure.certificate.existingSecret", "/tls.crt"), []string{"'/metrics/secure/certificate/existingSecret'"}},
		"a token lifetime of 599 seconds":                 {at("kubeletPlugin.tokenLifetime", "599s"), []string{"'/kubeletPlugin/tokenLifetime'"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := tryRender(t, release, c.values)
			if err == nil {
				t.Fatalf("helm accepts %v", c.values)
			}
			for _, word := range c.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the error lacks %q: %v", word, err)
				}
			}
		})
	}
}

func TestValues_unusualOnesAreAccepted(t *testing.T) {
	for _, v := range []values{
		{"global": values{"anything": true}, "enabled": true},
		{"driverName": "a"},
		at("image.repository", "registry.example.com:5000/a/b_c"),
		at("space.apiServerCIDRs", []any{"10.0.0.0/8", "fd00::/8"}),
		at("defaultDeviceClass.config.tokenLifetime", "1.5h"),
		at("kubeletPlugin.tokenLifetime", "600s"),
		at("kubeletPlugin.tokenLifetime", "10m30s"),
		at("kubeletPlugin.tokenLifetime", "1.5h"),
		at("controller.replicas", 0),
		at("controller.resources", nil),
	} {
		if _, err := tryRender(t, release, v); err != nil {
			t.Error(err)
		}
	}
}
