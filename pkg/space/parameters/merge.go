// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package parameters

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters/rules"
)

// addClass puts what a class's parameters say over what was said before.
func addClass(to *spaceapi.SpaceClassConfig, raw []byte, driver string) error {
	more, err := read[spaceapi.SpaceClassConfig](raw, rules.Class(driver))
	if err != nil {
		return err
	}
	from := more.config
	replace(&to.NamespacePrefix, from.NamespacePrefix)
	merge(&to.Labels, from.Labels)
	replaceList(&to.AllowedLabels, from.AllowedLabels)
	merge(&to.Annotations, from.Annotations)
	replace(&to.ClusterRole, from.ClusterRole)
	replaceList(&to.AllowedClusterRoles, from.AllowedClusterRoles)
	replaceList(&to.ClusterWideRoles, from.ClusterWideRoles)
	mergePodSecurity(&to.PodSecurity, from.PodSecurity)
	merge(&to.ResourceQuota, from.ResourceQuota)
	if more.gives("nestedSpaces") {
		to.NestedSpaces = from.NestedSpaces
	}
	replaceList(&to.LimitRange, from.LimitRange)
	replace(&to.Network, from.Network)
	replace(&to.TokenLifetime, from.TokenLifetime)
	replace(&to.MaxLifetime, from.MaxLifetime)
	replace(&to.Retain, from.Retain)
	replace(&to.Copy, from.Copy)
	if more.gives("adminAccess") {
		to.AdminAccess = from.AdminAccess
	}
	// The admission policy that holds the second pod back asks whether any says so.
	to.Exclusive = to.Exclusive || from.Exclusive
	merge(&to.Parameters, from.Parameters)
	return nil
}

// addClaim puts what a claim's parameters say over what was said before. requests
// are those that the parameters are for.
func addClaim(to *spaceapi.SpaceClaimConfig, raw []byte, driver string, requests []string) error {
	more, err := read[spaceapi.SpaceClaimConfig](raw, rules.Claim(driver))
	if err != nil {
		return err
	}
	from := more.config
	if from.VariablePrefix != "" && len(requests) > 1 {
		return wrong(fmt.Sprintf("variablePrefix: Forbidden: the parameters are for several spaces, which would get variables of the same names: %s; give each request its own", rules.Shortened(strings.Join(requests, ", "))))
	}
	replace(&to.ClusterRole, from.ClusterRole)
	merge(&to.Labels, from.Labels)
	mergePodSecurity(&to.PodSecurity, from.PodSecurity)
	merge(&to.ResourceQuota, from.ResourceQuota)
	replace(&to.Network, from.Network)
	replace(&to.MaxLifetime, from.MaxLifetime)
	replace(&to.VariablePrefix, from.VariablePrefix)
	replace(&to.MountPath, from.MountPath)
	if more.gives("inCluster") {
		to.InCluster = from.InCluster
	}
	if more.gives("kubeconfigEnv") {
		to.KubeconfigEnv = from.KubeconfigEnv
	}
	// The admission policy that holds the second pod back asks whether any says so.
	to.Exclusive = to.Exclusive || from.Exclusive
	merge(&to.Parameters, from.Parameters)
	return nil
}

// with is what holds for a space of a class.
func (i Installation) with(class spaceapi.SpaceClassConfig) Effective {
	out := Effective{
		NamespacePrefix:  class.NamespacePrefix,
		Labels:           class.Labels,
		Annotations:      class.Annotations,
		ClusterRole:      cmp.Or(class.ClusterRole, i.ClusterRole),
		ClusterWideRoles: class.ClusterWideRoles,
		PodSecurity:      spaceapi.PodSecurity{Enforce: i.PodSecurity},
		ResourceQuota:    class.ResourceQuota,
		LimitRange:       class.LimitRange,
		NestedSpaces:     class.NestedSpaces,
		Network:          cmp.Or(class.Network, i.Network),
		Copy:             class.Copy,
		TokenLifetime:    lifetime(class.TokenLifetime),
		MaxLifetime:      lifetime(class.MaxLifetime),
		Retain:           lifetime(class.Retain),
		AdminAccess:      class.AdminAccess,
		Exclusive:        class.Exclusive,
		AdminParameters:  class.Parameters,
	}
	if class.PodSecurity != nil {
		out.PodSecurity = *class.PodSecurity
		replace(&out.PodSecurity.Enforce, cmp.Or(class.PodSecurity.Enforce, i.PodSecurity))
	}
	return out
}

// narrow makes what holds for a class that which holds for a claim of the class.
// Nothing that a claim says can give it more.
func (e *Effective) narrow(class spaceapi.SpaceClassConfig, claim spaceapi.SpaceClaimConfig) (problems []string) {
	refuse := func(path, value, why string) {
		problems = append(problems, rules.Invalid(path, value, why))
	}

	// What the installation has is no choice: it can change while a claim lives.
	if role := claim.ClusterRole; role != "" {
		allowed := slices.Clone(class.AllowedClusterRoles)
		if class.ClusterRole != "" && !slices.Contains(allowed, class.ClusterRole) {
			allowed = append([]string{class.ClusterRole}, allowed...)
		}
		if !slices.Contains(allowed, role) {
			refuse("clusterRole", role, "the class allows "+cmp.Or(rules.Shortened(strings.Join(allowed, ", ")), "no choice"))
		}
		e.ClusterRole = role
	}

	for _, key := range slices.Sorted(maps.Keys(claim.Labels)) {
		at := entry("labels", key)
		if value, ok := e.Labels[key]; ok {
			refuse(at, claim.Labels[key], fmt.Sprintf("the class sets %s", rules.Quoted(value)))
		} else if !slices.ContainsFunc(class.AllowedLabels, func(allowed string) bool { return labelMatches(key, allowed) }) {
			problems = append(problems, at+": Forbidden: the class allows "+cmp.Or(rules.Shortened(strings.Join(class.AllowedLabels, ", ")), "no labels"))
		}
	}
	e.Labels = union(e.Labels, claim.Labels)

	if given := claim.PodSecurity; given != nil {
		for _, mode := range []struct {
			name  string
			given string
			has   *string
		}{
			{"enforce", given.Enforce, &e.PodSecurity.Enforce},
			{"audit", given.Audit, &e.PodSecurity.Audit},
			{"warn", given.Warn, &e.PodSecurity.Warn},
		} {
			if mode.given == "" {
				continue
			}
			if strictness(mode.given) < strictness(*mode.has) {
				refuse("podSecurity."+mode.name, mode.given, "the class allows "+strings.Join(rules.PodSecurityLevels()[strictness(*mode.has):], ", "))
			}
			*mode.has = mode.given
		}
	}

	for _, name := range slices.Sorted(maps.Keys(claim.ResourceQuota)) {
		value := claim.ResourceQuota[name]
		if limit, ok := e.ResourceQuota[name]; ok && value.Cmp(limit) > 0 {
			refuse(entry("resourceQuota", string(name)), value.String(), "the class allows at most "+limit.String())
		}
	}
	e.ResourceQuota = union(e.ResourceQuota, claim.ResourceQuota)

	replace(&e.Network, claim.Network)

	if given := lifetime(claim.MaxLifetime); given > 0 {
		if e.MaxLifetime > 0 && given > e.MaxLifetime {
			refuse("maxLifetime", given.String(), "the class allows at most "+e.MaxLifetime.String())
		}
		e.MaxLifetime = given
	}

	e.VariablePrefix = claim.VariablePrefix
	e.MountPath = claim.MountPath
	e.InCluster = claim.InCluster
	e.KubeconfigEnv = claim.KubeconfigEnv
	e.Exclusive = e.Exclusive || claim.Exclusive
	e.UserParameters = claim.Parameters
	return problems
}

// strictness orders Pod Security Standards. None counts as the least strict.
func strictness(level string) int {
	return max(0, slices.Index(rules.PodSecurityLevels(), level))
}

// labelMatches says whether an allowed label is about a key.
func labelMatches(key, allowed string) bool {
	domain, ok := strings.CutSuffix(allowed, "*")
	return key == allowed || ok && strings.HasPrefix(key, domain)
}

// entry is the path of an entry of a map.
func entry(field, key string) string { return field + "[" + rules.Shortened(key) + "]" }

// replace lets what was given win over what was there.
func replace[T comparable](to *T, from T) {
	*to = cmp.Or(from, *to)
}

// replaceList lets an empty list win too, but not an absent one.
func replaceList[T any](to *[]T, from []T) {
	if from != nil {
		*to = from
	}
}

func merge[M ~map[K]V, K comparable, V any](to *M, from M) {
	*to = union(*to, from)
}

// union leaves both maps as they are, and no entries are no map.
func union[M ~map[K]V, K comparable, V any](one, other M) M {
	if len(one)+len(other) == 0 {
		return nil
	}
	out := make(M, len(one)+len(other))
	maps.Copy(out, one)
	maps.Copy(out, other)
	return out
}

func mergePodSecurity(to **spaceapi.PodSecurity, from *spaceapi.PodSecurity) {
	if from == nil {
		return
	}
	out := spaceapi.PodSecurity{}
	if *to != nil {
		out = **to
	}
	replace(&out.Enforce, from.Enforce)
	replace(&out.Audit, from.Audit)
	replace(&out.Warn, from.Warn)
	*to = &out
}

func lifetime(d *metav1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return d.Duration
}
