// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rules has the rules for opaque parameters, as far as they can be told
// from the parameters alone. Each is said twice: in Go, for the controller, and in
// CEL, for the API server's admission. Both tell of what breaks it in the same words.
package rules

import (
	"fmt"
	"regexp"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

const (
	// maxName is the length that names and paths may have, where Kubernetes has no
	// shorter limit.
	maxName = 253

	label     = `[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?`
	subdomain = `[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*`
	keyName   = `[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?`
)

var (
	prefixForm         = regexp.MustCompile(`^[a-z0-9][-a-z0-9]{0,52}$`)
	namespaceForm      = regexp.MustCompile(`^` + label + `$`)
	objectForm         = regexp.MustCompile(`^` + subdomain + `$`)
	clusterRoleForm    = regexp.MustCompile(`^[^/%]*$`)
	keyForm            = regexp.MustCompile(`^(` + subdomain + `/)?` + keyName + `$`)
	allowedLabelForm   = regexp.MustCompile(`^(\*|` + subdomain + `/\*|(` + subdomain + `/)?` + keyName + `)$`)
	labelValueForm     = regexp.MustCompile(`^(` + keyName + `)?$`)
	parameterKeyForm   = regexp.MustCompile(`^[A-Za-z0-9_]+$`)
	variablePrefixForm = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
)

// PodSecurityLevels returns Kubernetes' Pod Security Standards, the strictest last.
func PodSecurityLevels() []string { return []string{"privileged", "baseline", "restricted"} }

// Kind is the rules for one kind of parameters.
type Kind struct {
	// Name is the kind's own.
	Name string
	object
	// elsewhere is what to say about parameters of the other kind.
	elsewhere, other string
}

// Class returns the rules for SpaceClassConfigs of a driver.
func Class(driver string) Kind {
	return Kind{Name: spaceapi.SpaceClassConfigKind, other: spaceapi.SpaceClaimConfigKind, elsewhere: "ResourceClaim", object: object{fields: []field{
		{"namespacePrefix", text{rules: []rule{matches(prefixForm, "must have at most 53 small letters, digits and hyphens, with a letter or digit first")}}},
		{"labels", labels(
			outside("pod-security.kubernetes.io", "Pod Security Standards are set by podSecurity", false),
			forbidden(isNot("kubernetes.io/metadata.name", "the API server sets it")),
			ofDriver(driver))},
		{"allowedLabels", names(text{empty: true, rules: []rule{
			matches(allowedLabelForm, "must be a label's key, or have * for its name or for all of it"), domainNoLonger(maxName)}})},
		{"annotations", entries{keys: keyRules("an annotation's key"), reserved: []rule{ofDriver(driver)}, value: func(string) check { return text{} }}},
		{"clusterRole", clusterRole()},
		{"allowedClusterRoles", clusterRoles()},
		{"clusterWideRoles", clusterRoles()},
		{"podSecurity", podSecurity()},
		{"resourceQuota", quota()},
		{"nestedSpaces", boolean{}},
		{"limitRange", limitRange()},
		{"network", text{rules: []rule{oneOf([]string{string(spaceapi.NetworkIsolated), string(spaceapi.NetworkOpen)})}}},
		{"tokenLifetime", tokenLifetime()},
		{"maxLifetime", lifetime()},
		{"retain", lifetime()},
		{"copy", copied()},
		{"adminAccess", boolean{}},
		{"exclusive", boolean{}},
		{"parameters", variables()},
	}}}
}

// Claim returns the rules for SpaceClaimConfigs of a driver.
func Claim(driver string) Kind {
	const kubernetes = "keys of kubernetes.io and k8s.io are not a claim's to set"
	return Kind{Name: spaceapi.SpaceClaimConfigKind, other: spaceapi.SpaceClassConfigKind, elsewhere: "DeviceClass", object: object{fields: []field{
		{"clusterRole", clusterRole()},
		{"labels", labels(outside("kubernetes.io", kubernetes, true), outside("k8s.io", kubernetes, true), ofDriver(driver))},
		{"podSecurity", podSecurity()},
		{"resourceQuota", quota(countsNoSpaces(driver))},
		{"network", text{rules: []rule{oneOf([]string{string(spaceapi.NetworkIsolated)})}}},
		{"maxLifetime", lifetime()},
		{"variablePrefix", text{rules: []rule{
			matches(variablePrefixForm, "must have capital letters, digits and underscores, with a letter first"), noLonger(maxVariable)}}},
		{"mountPath", text{rules: mountPathRules()}},
		{"inCluster", boolean{}},
		{"kubeconfigEnv", boolean{}},
		{"exclusive", boolean{}},
		{"parameters", variables()},
	}}}
}

// maxVariable is the length of variables' prefixes and of parameters' keys.
const maxVariable = 63

func ofDriver(driver string) rule {
	return outside(driver, "keys of "+driver+" are the driver's own", true)
}

func keyRules(what string) []rule {
	return []rule{
		matches(keyForm, "must be "+what+": at most 63 letters, digits, -, _ and ., with a letter or digit first and last, behind a domain and a slash or nothing"),
		domainNoLonger(maxName),
	}
}

func labels(reserved ...rule) entries {
	return entries{keys: keyRules("a label's key"), reserved: reserved, value: func(string) check {
		return text{rules: []rule{matches(labelValueForm, "must be a label's value: at most 63 letters, digits, -, _ and ., with a letter or digit first and last")}}
	}}
}

// names is a list of names of objects.
func names(name text) items {
	name.empty = true
	return items{most: maxEntries, item: name}
}

// clusterRole has the rules of RBAC, whose names may have colons.
func clusterRole() text {
	const why = "must be the name of a ClusterRole, which has no / and no %, and is not . or .."
	return text{rules: []rule{matches(clusterRoleForm, why), isNot(".", why), isNot("..", why), noLonger(maxName)}}
}

func clusterRoles() items {
	role := clusterRole()
	role.rules = append([]rule{required("must name a ClusterRole")}, role.rules...)
	return names(role)
}

// objectName has the rules for Secrets and ConfigMaps.
func objectName(more ...rule) text {
	return text{rules: append(more,
		matches(objectForm, "must be an object's name: small letters, digits, - and ., with a letter or digit first and last in each part"), noLonger(maxName))}
}

func podSecurity() object {
	level := text{rules: []rule{oneOf(PodSecurityLevels())}}
	return object{fields: []field{{"enforce", level}, {"audit", level}, {"warn", level}}}
}

func copied() object {
	return object{
		fields: []field{
			{"namespace", text{rules: []rule{matches(namespaceForm, "must be a namespace's name: at most 63 small letters, digits and -, with a letter or digit first and last")}}},
			{"secrets", names(objectName())},
			{"configMaps", names(objectName(isNot(spaceapi.RootCAName, "each namespace has its own, which Kubernetes keeps")))},
			{"imagePullSecrets", names(objectName())},
		},
		whole: somethingCopied{},
	}
}

// somethingCopied is about what a copy needs.
type somethingCopied struct{}

const (
	copyFrom = ".namespace: Required value: must name the namespace of the originals"
	copyWhat = ": Required value: must list secrets, configMaps or imagePullSecrets"
)

func (somethingCopied) problems(path string, value any) (out []string) {
	given, _ := value.(map[string]any)
	if from := given["namespace"]; from == nil || from == "" {
		out = append(out, path+copyFrom)
	}
	for _, name := range []string{"secrets", "configMaps", "imagePullSecrets"} {
		if list, ok := given[name].([]any); given[name] != nil && (!ok || len(list) > 0) {
			return out
		}
	}
	return append(out, path+copyWhat)
}

func (somethingCopied) cel(path, value string) string {
	return fmt.Sprintf("([%[1]s.?namespace.orValue('')].exists(n, n == '' || n == null) ? [%[2]s + %[3]s] : []) + "+
		"(['secrets', 'configMaps', 'imagePullSecrets'].all(n, !(n in %[1]s) || %[1]s[n] == null || %[1]s[n] == []) ? [%[2]s + %[4]s] : [])",
		value, path, celString(copyFrom), celString(copyWhat))
}

func variables() entries {
	return entries{
		keys:  []rule{matches(parameterKeyForm, "a key must have letters, digits and underscores only"), noLonger(maxVariable)},
		value: func(string) check { return text{rules: []rule{hasNot("\x00", "must not contain NUL")}} },
	}
}
