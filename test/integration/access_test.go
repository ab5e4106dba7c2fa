// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// accessOf returns an entry of access for a group.
func accessOf(group, role string, when spaceapi.AccessTime) string {
	return fmt.Sprintf(`{"subjects":[{"kind":"Group","name":%q}],"clusterRole":%q,"when":%q}`, group, role, when)
}

// testAccess has developers who work in a ready space, support and a ServiceAccount that read in the retained
// namespace, and auditors who read in both.
func testAccess(t *testing.T) {
	ns := env.Namespace(t)
	support := fmt.Sprintf(`{"subjects":[{"kind":"User","name":"jane"},{"kind":"ServiceAccount","namespace":%q,"name":"default"}],"clusterRole":"view","when":"Retained"}`, ns)
	space := readyClaimWith(t, ns, retained+`,"access":[`+strings.Join([]string{accessOf("developers", "edit", "Ready"), support, accessOf("auditors", "view", "Always")}, ",")+`]`).Namespace
	developer, jane, service, auditor := asUser(t, "developer", "developers"), asUser(t, "jane"), env.As(t, ns, "default"), asUser(t, "auditor", "auditors")
	reads, writes := get(core(space, "configmaps")), configMap(space, "any")
	framework.AwaitAllowed(t, "a developer writes in the ready space", writes.By(developer))
	framework.AwaitAllowed(t, "an auditor reads in the ready space", reads.By(auditor))
	onlyReads := func() []denial {
		return []denial{{"write", writes, byRBAC}, {"read Secrets", get(core(space, "secrets")), byRBAC}, {"read another namespace", get(core(ns, "configmaps")), byRBAC}}
	}
	denied(t, auditor, onlyReads()...)
	denied(t, jane, denial{"jane reads in the ready space", reads, byRBAC})

	// A change of the claim makes the controller compare them, as a resync does.
	env.Kubectl(t, "delete", "rolebinding", "space-access-1", "-n", space)
	env.Kubectl(t, "patch", "rolebinding", "space-access-3", "-n", space, "--type=merge", "-p", `{"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"mallory"}]}`)
	reserve(t, "claim", createPod(t, ns, framework.NewPod("second")))
	for name, group := range map[string]string{"space-access-1": "developers", "space-access-3": "auditors"} {
		framework.AwaitAny(t, env.Client.RbacV1().RESTClient(), "rolebindings", space, framework.That(name+" of "+group, func(b *rbacv1.RoleBinding) bool {
			return b.Name == name && len(b.Subjects) == 1 && b.Subjects[0].Name == group
		}))
		awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonRestored, "RoleBinding "+name)
	}
	framework.AwaitDenied(t, "the subject of the changed RoleBinding reads", reads.By(asUser(t, "mallory")))

	deallocate(t, env, ns, "claim")
	framework.AwaitAllowed(t, "jane reads in the retained namespace", reads.By(jane))
	framework.AwaitAllowed(t, "a ServiceAccount reads in the retained namespace", reads.By(service))
	framework.AwaitAllowed(t, "an auditor reads in the retained namespace", reads.By(auditor))
	for _, reader := range []string{"jane", "auditor"} {
		denied(t, asUser(t, reader, reader+"s"), onlyReads()...)
	}
	denied(t, developer, denial{"a developer reads in the retained namespace", reads, byRBAC})
	env.Kubectl(t, "delete", "namespace", space)
}
