// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// usersWithAccess have the access of a class.
var usersWithAccess = []scenario{
	{"Keep access after the space is deprovisioned", retained + `,"access":[` + accessOf("leavers", "admin", spaceapi.AccessReady) + `]`, func(s *fixture) {
		leaver := asUser(s.T, "leaver", "leavers")
		s.allow("the user works in the space", leaver, configMap(s.space, "of-leaver"))
		accomplice := s.account("accomplice")
		s.allow("the user grants the role to an accomplice", leaver, grant(s.space, "accomplice", "admin", s.ns, "accomplice"))
		s.allow("the accomplice works in the space", accomplice, configMap(s.space, "of-accomplice"))
		s.deallocate()
		s.awaitDenied("the user reads", leaver, s.read(), byRBAC)
		s.awaitDenied("the accomplice reads", accomplice, s.read(), byRBAC)
	}},
	{"Grant permissions in a retained namespace", retained + `,"access":[` + accessOf("keepers", "admin", spaceapi.AccessRetained) + `]`, func(s *fixture) {
		keeper := asUser(s.T, "keeper", "keepers")
		s.deny("the user reads in the space", keeper, s.read(), byRBAC)
		s.deallocate()
		s.allow("the user reads in the retained namespace", keeper, s.read())
		s.deny("the user grants the role to another", keeper, grant(s.space, "another", "admin", s.ns, "default"), byPolicy("tenant-rolebindings"))
		s.deny("the user adds another to its own", keeper, patch(s.bindingOfAccess(), `{"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"another"}]}`), byPolicy("tenant-rolebindings"))
		s.deny("the user lowers the Pod Security Standard", keeper, patch(namespacePath(s.space), set("labels", "pod-security.kubernetes.io/enforce", "privileged")), byRBAC)
	}},
	{"Read in spaces of other classes", `"access":[` + accessOf("readers", "view", spaceapi.AccessAlways) + `]`, func(s *fixture) {
		reader, other := asUser(s.T, "reader", "readers"), s.provision("other", "")
		s.allow("the user reads in the space", reader, s.read())
		s.deny("the user writes", reader, configMap(s.space, "of-reader"), byRBAC)
		s.deny("the user requests a token of the space", reader, post(core(s.space, "serviceaccounts/space/token"), `{}`), byRBAC)
		s.deny("the user reads in a space of another class", reader, get(core(other, "configmaps")), byRBAC)
		s.deny("the user reads the claim", reader, get(claimPath(s.ns, "claim")), byRBAC)
	}},
}
