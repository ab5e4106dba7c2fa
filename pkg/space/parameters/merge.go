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
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// mergeClass merges later parameters of a class into earlier ones.
func mergeClass(to, from *spaceapi.SpaceClassConfig) {
	replace(&to.NamespacePrefix, from.NamespacePrefix)
	merge(&to.Labels, from.Labels)
	replaceList(&to.AllowedLabels, from.AllowedLabels)
	merge(&to.Annotations, from.Annotations)
	replace(&to.ClusterRole, from.ClusterRole)
	replaceList(&to.AllowedClusterRoles, from.AllowedClusterRoles)
	replaceList(&to.ClusterWideRoles, from.ClusterWideRoles)
	mergePodSecurity(&to.PodSecurity, from.PodSecurity)
	merge(&to.ResourceQuota, from.ResourceQuota)
	replace(&to.NestedSpaces, from.NestedSpaces)
	replaceList(&to.LimitRange, from.LimitRange)
	replace(&to.Network, from.Network)
	replace(&to.TokenLifetime, from.TokenLifetime)
	replace(&to.MaxLifetime, from.MaxLifetime)
	replace(&to.Retain, from.Retain)
	replace(&to.Copy, from.Copy)
	replace(&to.AdminAccess, from.AdminAccess)
	// The admission policy for exclusive claims looks for any that has it.
	to.Exclusive = to.Exclusive || from.Exclusive
	merge(&to.Parameters, from.Parameters)
}

// mergeClaim merges later parameters of a claim into earlier ones.
func mergeClaim(to, from *spaceapi.SpaceClaimConfig) {
	replace(&to.ClusterRole, from.ClusterRole)
	merge(&to.Labels, from.Labels)
	mergePodSecurity(&to.PodSecurity, from.PodSecurity)
	merge(&to.ResourceQuota, from.ResourceQuota)
	replace(&to.Network, from.Network)
	replace(&to.MaxLifetime, from.MaxLifetime)
	replace(&to.VariablePrefix, from.VariablePrefix)
	replace(&to.MountPath, from.MountPath)
	replace(&to.InCluster, from.InCluster)
	replace(&to.KubeconfigEnv, from.KubeconfigEnv)
	// The admission policy for exclusive claims looks for any that has it.
	to.Exclusive = to.Exclusive || from.Exclusive
	merge(&to.Parameters, from.Parameters)
}

// with is what holds for a space of a class.
func (i Installation) with(class *spaceapi.SpaceClassConfig) Effective {
	out := Effective{
		NamespacePrefix:  class.NamespacePrefix,
		Labels:           class.Labels,
		Annotations:      class.Annotations,
		ClusterRole:      cmp.Or(class.ClusterRole, i.ClusterRole),
		ClusterWideRoles: class.ClusterWideRoles,
		PodSecurity:      spaceapi.PodSecurity{Enforce: i.PodSecurity},
		ResourceQuota:    class.ResourceQuota,
		LimitRange:       class.LimitRange,
		NestedSpaces:     ptr.Deref(class.NestedSpaces, false),
		Network:          cmp.Or(class.Network, i.Network),
		Copy:             class.Copy,
		TokenLifetime:    lifetime(class.TokenLifetime),
		MaxLifetime:      lifetime(class.MaxLifetime),
		Retain:           lifetime(class.Retain),
		AdminAccess:      ptr.Deref(class.AdminAccess, false),
		Exclusive:        class.Exclusive,
		AdminParameters:  class.Parameters,
	}
	if class.PodSecurity != nil {
		out.PodSecurity = *class.PodSecurity
		replace(&out.PodSecurity.Enforce, cmp.Or(class.PodSecurity.Enforce, i.PodSecurity))
	}
	return out
}

// restrict applies the parameters of a claim, which can only restrict what its class
// gives.
func (e *Effective) restrict(class *spaceapi.SpaceClassConfig, claim *spaceapi.SpaceClaimConfig) (errs field.ErrorList) {
	// The installation's ClusterRole is no choice: it can change while the claim lives.
	if role := claim.ClusterRole; role != "" {
		allowed := class.AllowedClusterRoles
		if class.ClusterRole != "" {
			allowed = append([]string{class.ClusterRole}, allowed...)
		}
		if !slices.Contains(allowed, role) {
			errs = append(errs, field.Invalid(field.NewPath("clusterRole"), role, "the class allows "+orNone(allowed)))
		}
		e.ClusterRole = role
	}

	labels := field.NewPath("labels")
	for _, key := range slices.Sorted(maps.Keys(claim.Labels)) {
		if value, set := e.Labels[key]; set {
			errs = append(errs, field.Forbidden(labels.Key(key), fmt.Sprintf("the class sets it to %q", value)))
		} else if !slices.ContainsFunc(class.AllowedLabels, func(allowed string) bool { return labelMatches(key, allowed) }) {
			errs = append(errs, field.Forbidden(labels.Key(key), "the class allows "+orNone(class.AllowedLabels)))
		}
	}
	e.Labels = union(e.Labels, claim.Labels)

	if given := claim.PodSecurity; given != nil {
		at := field.NewPath("podSecurity")
		errs = append(errs, restrictLevel(&e.PodSecurity.Enforce, given.Enforce, at.Child("enforce"))...)
		errs = append(errs, restrictLevel(&e.PodSecurity.Audit, given.Audit, at.Child("audit"))...)
		errs = append(errs, restrictLevel(&e.PodSecurity.Warn, given.Warn, at.Child("warn"))...)
	}

	for _, name := range slices.Sorted(maps.Keys(claim.ResourceQuota)) {
		value := claim.ResourceQuota[name]
		if limit, ok := e.ResourceQuota[name]; ok && value.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(field.NewPath("resourceQuota").Key(string(name)), value.String(), "the class allows at most "+limit.String()))
		}
	}
	e.ResourceQuota = union(e.ResourceQuota, claim.ResourceQuota)

	replace(&e.Network, claim.Network)

	if given := lifetime(claim.MaxLifetime); given > 0 {
		if e.MaxLifetime > 0 && given > e.MaxLifetime {
			errs = append(errs, field.Invalid(field.NewPath("maxLifetime"), given.String(), "the class allows at most "+e.MaxLifetime.String()))
		}
		e.MaxLifetime = given
	}

	e.VariablePrefix = claim.VariablePrefix
	e.MountPath = claim.MountPath
	e.InCluster = ptr.Deref(claim.InCluster, false)
	e.KubeconfigEnv = ptr.Deref(claim.KubeconfigEnv, false)
	e.Exclusive = e.Exclusive || claim.Exclusive
	e.UserParameters = claim.Parameters
	return errs
}

// restrictLevel replaces a Pod Security Standard by one that is as strict or stricter.
func restrictLevel(level *string, to string, at *field.Path) (errs field.ErrorList) {
	if to == "" {
		return nil
	}
	levels := spaceapi.PodSecurityLevels()
	// Without one, the least strict holds.
	least := max(0, slices.Index(levels, *level))
	if slices.Index(levels, to) < least {
		errs = append(errs, field.Invalid(at, to, "the class allows "+strings.Join(levels[least:], ", ")))
	}
	*level = to
	return errs
}

func orNone(allowed []string) string {
	return cmp.Or(strings.Join(allowed, ", "), "none")
}

// labelMatches says whether an allowed label is about a key.
func labelMatches(key, allowed string) bool {
	domain, ok := strings.CutSuffix(allowed, "*")
	return key == allowed || ok && strings.HasPrefix(key, domain)
}

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
