// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/util/diff"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// observer lets a controller's requests pass, but for those about a resource, and records which
// objects it deletes.
type observer struct {
	notServed string
	mutex     sync.Mutex
	deletions []faults.Call
}

func (o *observer) intercept(call faults.Call, _ func()) faults.Answer {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if call.Resource == o.notServed {
		return faults.NotServed
	}
	if strings.HasPrefix(call.Verb, "delete") {
		o.deletions = append(o.deletions, call)
	}
	return faults.Forwarded
}

// deleted returns what was deleted in a namespace, or of the cluster.
func (o *observer) deleted(namespace string) (out []faults.Call) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	for _, call := range o.deletions {
		if call.Namespace == namespace || call.Namespace == "" && strings.HasPrefix(call.Name, namespace) {
			out = append(out, call)
		}
	}
	return out
}

// During an upgrade of the control plane, API servers of two versions serve one cluster. A
// controller whose requests reach the one that does not serve claims sees the spaces that another
// controller provisions, and no claims that they belong to.
func TestNotServedKind_byOneAPIServerKeepsSpaces(t *testing.T) {
	t.Parallel()
	const driver = "two-servers.example.com"
	t.Cleanup(func() {
		if err := env.Cluster.KillAnotherAPIServer(context.Background()); err != nil {
			t.Error(err)
		}
	})
	older, err := env.Cluster.StartAnotherAPIServer(t.Context(), "--runtime-config=resource.k8s.io/v1=false")
	if err != nil {
		t.Fatal(err)
	}
	newer, err := env.Cluster.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	ns := env.Namespace(t)
	stuck, leader := install(t, driver), install(t, driver)
	stuck.start(t)
	leader.start(t)
	before := provision(t, driver, ns, "before")
	requests := &observer{}
	stuck.proxy.Intercept(requests.intercept)
	stuck.proxy.SetUpstream(t, older)
	stuck.proxy.CloseConnections()

	after := provision(t, driver, ns, "after")
	framework.AwaitLog(t, stuck.controller.Log, regexp.MustCompile(`(?s)(read ResourceClaim `+ns+`/after: the server could not find the requested resource \(get resourceclaims.*){3}`))
	leader.kill(t)
	deallocate(t, env, ns, "before")
	for _, space := range []string{before, after} {
		if deleted := requests.deleted(space); len(deleted) > 0 {
			t.Errorf("the controller could read no claims, but requested %v", deleted)
		}
	}
	wantSpaces(t, driver, before, after)

	stuck.proxy.SetUpstream(t, newer)
	stuck.proxy.CloseConnections()
	env.AwaitNamespaceDeleted(t, before)
	awaitConsistent(t, driver)
	wantSpaces(t, driver, after)
	deallocate(t, env, ns, "after")
	awaitNoNamespaces(t, driver)
}

// wantSpaces fails the test unless these are the spaces.
func wantSpaces(t *testing.T, driver string, names ...string) {
	t.Helper()
	living := activeNamespaces(t, driver)
	for _, name := range names {
		if living[name] == "" {
			t.Errorf("namespace %s was deleted", name)
		}
	}
	if len(living) != len(names) {
		t.Errorf("the namespaces are %v, want %q", living, names)
	}
}

// A kind that is not served keeps spaces from being created and from being deleted as far as they
// need it, and changes nothing of those in use.
func TestNotServedKind_keepsSpaces(t *testing.T) {
	originals := env.Namespace(t)
	env.Kubectl(t, "create", "secret", "generic", "original", "-n", originals)
	env.Kubectl(t, "create", "configmap", "original", "-n", originals)
	for resource, deprovision := range map[string]bool{
		"clusterrolebindings": true, "namespaces": true, "rolebindings": true, "serviceaccounts": true,
		"configmaps": false, "limitranges": false, "networkpolicies": false, "resourcequotas": false, "secrets": false, "subjectaccessreviews": false,
	} {
		t.Run(resource, func(t *testing.T) {
			t.Parallel()
			testKindNotServed(t, resource+".example.com", originals, resource, deprovision)
		})
	}
}

// testKindNotServed answers requests for a resource as an API server that does not serve it, while one
// claim is in use, another is allocated, and a third is deallocated. deprovision is whether the controller
// needs the resource to deprovision the third.
func testKindNotServed(t *testing.T, driver, originals, resource string, deprovision bool) {
	class := framework.WithClassConfig(fmt.Sprintf(`"clusterWideRoles":["view"],"resourceQuota":{"hard":{"pods":"4"}},"limitRange":{"limits":[{"type":"Container","max":{"cpu":"1"}}]},
		"copyFrom":{"namespace":%q,"configMaps":[{"name":"original"}],"secrets":[{"name":"original"}]}`, originals))
	ns := env.Namespace(t)
	i := install(t, driver, "--cluster-wide-roles=view", "--copy-from-namespaces="+originals)
	i.start(t)
	inUse, ended := provision(t, driver, ns, "in-use", class), provision(t, driver, ns, "ended", class)
	before := contentsOf(t, inUse)

	requests := &observer{notServed: resource}
	i.proxy.Intercept(requests.intercept)
	i.proxy.CloseConnections()
	env.CreateClaim(t, ns, framework.NewClaim("new"))
	allocateTo(t, driver, ns, "new", class)
	deallocate(t, env, ns, "ended")
	framework.Await(t, framework.Claim(env.Client, ns, "new"), framework.NotReadyBecause(spaceapi.ReasonProvisioningFailed, resource))
	if deprovision {
		awaitEvent(t, ns, "ResourceClaim", "ended", spaceapi.ReasonDeprovisioningFailed, resource)
		if activeNamespaces(t, driver)[ended] == "" {
			t.Errorf("namespace %s was deleted, although not all of its credentials could be revoked", ended)
		}
	} else {
		env.AwaitNamespaceDeleted(t, ended)
	}
	// One that starts knows no objects of the kind.
	i.kill(t)
	i.start(t)
	framework.AwaitLog(t, i.controller.Log, regexp.MustCompile("the server could not find the requested resource"))
	if deleted := requests.deleted(inUse); len(deleted) > 0 {
		t.Errorf("of a space in use, the controller deleted %v", deleted)
	}

	i.proxy.Intercept(nil)
	i.proxy.CloseConnections()
	readySpace(t, ns, "new")
	env.AwaitNamespaceDeleted(t, ended)
	awaitConsistent(t, driver)
	if now := contentsOf(t, inUse); now != before {
		t.Errorf("a space in use was changed: %s", diff.Diff(before, now))
	}
	deallocate(t, env, ns, "in-use")
	deallocate(t, env, ns, "new")
	awaitNoNamespaces(t, driver)
}
