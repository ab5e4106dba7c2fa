// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"fmt"
	"strings"
)

// Kinds that an argument can name.
const (
	aClaim     = "ResourceClaim"
	aPod       = "Pod"
	aNamespace = "Namespace"
)

// kinds are what may stand before a name, as kubectl takes and prints it.
var kinds = map[string]string{
	"resourceclaim": aClaim, "resourceclaims": aClaim, "resourceclaim.resource.k8s.io": aClaim, "resourceclaims.resource.k8s.io": aClaim,
	"pod": aPod, "pods": aPod, "po": aPod,
	"namespace": aNamespace, "namespaces": aNamespace, "ns": aNamespace,
}

// target is what an argument names. Without a kind, it depends on the command.
type target struct{ kind, name string }

// parse takes an argument apart, for a command that takes only some kinds.
func parse(arg string, allowed ...string) (target, error) {
	kind, name, qualified := strings.Cut(arg, "/")
	if !qualified {
		return target{name: arg}, nil
	}
	for _, k := range allowed {
		if kinds[strings.ToLower(kind)] == k && name != "" {
			return target{k, name}, nil
		}
	}
	return target{}, fmt.Errorf("%q is not a name, nor that of a %s as in %s/NAME", arg, strings.Join(allowed, " or "), strings.ToLower(allowed[0]))
}
