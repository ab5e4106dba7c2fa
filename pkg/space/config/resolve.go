// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// Resolve resolves the configuration of a share's space. Of several parameters of class
// or claim, later ones win field by field; the claim's then restrict what the class
// gives. The error names the object to change and all its invalid fields.
func (s Defaults) Resolve(a *allocation.Allocation, result allocation.Result) (SpaceConfig, error) {
	var class spaceapi.SpaceClassConfig
	var claim spaceapi.SpaceClaimConfig
	for _, config := range a.Configs {
		if !isAbout(config, result.Request) || config.Opaque.Driver != s.Driver {
			continue
		}
		raw := config.Opaque.Parameters.Raw
		if config.Source == resourceapi.AllocationConfigSourceClass {
			more, errs := spaceapi.DecodeSpaceClassConfig(raw, s.Driver)
			if len(errs) > 0 {
				return SpaceConfig{}, fmt.Errorf("the DeviceClass has invalid parameters: %s", summary(errs))
			}
			mergeClass(&class, more)
			continue
		}
		more, errs := spaceapi.DecodeSpaceClaimConfig(raw, s.Driver)
		if requests := requestsOf(config, a.Requests()); more.EnvPrefix != "" && len(requests) > 1 {
			errs = append(errs, field.Forbidden(field.NewPath("envPrefix"), "several spaces would get variables of the same names: "+strings.Join(requests, ", ")))
		}
		if len(errs) > 0 {
			return SpaceConfig{}, fmt.Errorf("the ResourceClaim has invalid parameters: %s", summary(errs))
		}
		mergeClaim(&claim, more)
	}
	space := s.ofClass(&class)
	if q := space.ResourceQuota; q != nil && (len(q.Scopes) > 0 || q.ScopeSelector != nil) && hasBudget(result) {
		// The space's part of the budget would be limited within the scopes only.
		return SpaceConfig{}, errors.New("the DeviceClass has invalid parameters: resourceQuota: Forbidden: scopes are not possible with a pool that has a budget")
	}
	if errs := space.restrict(&class, &claim); len(errs) > 0 {
		return SpaceConfig{}, fmt.Errorf("the ResourceClaim has parameters that its DeviceClass does not allow: %s", summary(errs))
	}
	if result.AdminAccess {
		if !ptr.Deref(class.AllowAdminAccess, false) {
			return SpaceConfig{}, fmt.Errorf("request %s asks for admin access, which its DeviceClass does not allow for spaces", result.Request)
		}
		space.ClusterRoles, space.ClusterWideRoles = []string{spaceapi.AdminAccessClusterRole}, nil
	}
	return space, nil
}

// CheckAllowed returns why spaces of this installation can't have this configuration:
// the controller has no right to more than the settings allow.
func (s Defaults) CheckAllowed(c Recorded) error {
	var errs field.ErrorList
	for n, role := range c.ClusterRoles {
		if !slices.Contains(s.Roles(), role) {
			errs = append(errs, field.Invalid(field.NewPath("clusterRoles").Index(n), role, "add it to the Helm value space.allowedClusterRoles"))
		}
	}
	for n, role := range c.ClusterWideRoles {
		if !slices.Contains(s.ClusterWideRoles, role) {
			errs = append(errs, field.Invalid(field.NewPath("clusterWideRoles").Index(n), role, "add it to the Helm value space.clusterWideRoles"))
		}
	}
	if c.CopyFrom != nil && !slices.Contains(s.CopyFromNamespaces, c.CopyFrom.Namespace) {
		errs = append(errs, field.Invalid(field.NewPath("copyFrom", "namespace"), c.CopyFrom.Namespace, "add it to the Helm value space.copyFromNamespaces"))
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("the DeviceClass has parameters that the installation does not allow: %s", summary(errs))
}

// hasBudget reports whether the share consumes a part of a pool's budget.
func hasBudget(result allocation.Result) bool {
	for capacity := range result.ConsumedCapacity {
		if spaceapi.QuotaResource(string(capacity)) != "" {
			return true
		}
	}
	return false
}

// mergeClass merges later parameters of a class into earlier ones.
func mergeClass(to, from *spaceapi.SpaceClassConfig) {
	replace(&to.NamespacePrefix, from.NamespacePrefix)
	merge(&to.Labels, from.Labels)
	replaceList(&to.InheritLabels, from.InheritLabels)
	replaceList(&to.AllowedLabels, from.AllowedLabels)
	merge(&to.Annotations, from.Annotations)
	replaceList(&to.ClusterRoles, from.ClusterRoles)
	replaceList(&to.AllowedClusterRoles, from.AllowedClusterRoles)
	replaceList(&to.ClusterWideRoles, from.ClusterWideRoles)
	if given := from.PodSecurity; given != nil {
		to.PodSecurity = cmp.Or(to.PodSecurity, &spaceapi.PodSecurity{})
		replace(&to.PodSecurity.Enforce, given.Enforce)
		replace(&to.PodSecurity.EnforceVersion, given.EnforceVersion)
		replace(&to.PodSecurity.Audit, given.Audit)
		replace(&to.PodSecurity.AuditVersion, given.AuditVersion)
		replace(&to.PodSecurity.Warn, given.Warn)
		replace(&to.PodSecurity.WarnVersion, given.WarnVersion)
	}
	if given := from.ResourceQuota; given != nil {
		to.ResourceQuota = cmp.Or(to.ResourceQuota, &corev1.ResourceQuotaSpec{})
		merge(&to.ResourceQuota.Hard, given.Hard)
		replaceList(&to.ResourceQuota.Scopes, given.Scopes)
		replace(&to.ResourceQuota.ScopeSelector, given.ScopeSelector)
	}
	replace(&to.LimitRange, from.LimitRange)
	if given := from.Network; given != nil {
		to.Network = cmp.Or(to.Network, &spaceapi.Network{})
		replace(&to.Network.Mode, given.Mode)
		replaceList(&to.Network.Ingress, given.Ingress)
		replaceList(&to.Network.Egress, given.Egress)
	}
	replace(&to.TokenLifetime, from.TokenLifetime)
	replace(&to.MaxLifetime, from.MaxLifetime)
	replace(&to.Retention, from.Retention)
	replace(&to.CopyFrom, from.CopyFrom)
	replace(&to.AllowAdminAccess, from.AllowAdminAccess)
	replace(&to.AllowNestedSpaces, from.AllowNestedSpaces)
	merge(&to.Env, from.Env)
}

// mergeClaim merges later parameters of a claim into earlier ones.
func mergeClaim(to, from *spaceapi.SpaceClaimConfig) {
	replaceList(&to.ClusterRoles, from.ClusterRoles)
	merge(&to.Labels, from.Labels)
	if given := from.PodSecurity; given != nil {
		to.PodSecurity = cmp.Or(to.PodSecurity, &spaceapi.ClaimPodSecurity{})
		replace(&to.PodSecurity.Enforce, given.Enforce)
		replace(&to.PodSecurity.Audit, given.Audit)
		replace(&to.PodSecurity.Warn, given.Warn)
	}
	if given := from.ResourceQuota; given != nil {
		to.ResourceQuota = cmp.Or(to.ResourceQuota, &spaceapi.ClaimResourceQuota{})
		merge(&to.ResourceQuota.Hard, given.Hard)
	}
	replace(&to.Network, from.Network)
	replace(&to.MaxLifetime, from.MaxLifetime)
	replace(&to.EnvPrefix, from.EnvPrefix)
	replace(&to.MountPath, from.MountPath)
	replace(&to.InCluster, from.InCluster)
	replace(&to.KubeconfigEnv, from.KubeconfigEnv)
	merge(&to.Env, from.Env)
}

// ofClass returns the complete configuration of a space of a class.
func (s Defaults) ofClass(class *spaceapi.SpaceClassConfig) SpaceConfig {
	out := SpaceConfig{
		NamespacePrefix:   cmp.Or(class.NamespacePrefix, s.NamespacePrefix),
		Labels:            class.Labels,
		Annotations:       class.Annotations,
		InheritLabels:     class.InheritLabels,
		PodSecurity:       ptr.Deref(class.PodSecurity, spaceapi.PodSecurity{}),
		AllowNestedSpaces: ptr.Deref(class.AllowNestedSpaces, false),
		Recorded: Recorded{
			ClusterRoles:     class.ClusterRoles,
			ClusterWideRoles: class.ClusterWideRoles,
			ResourceQuota:    class.ResourceQuota.DeepCopy(),
			LimitRange:       class.LimitRange,
			Network:          ptr.Deref(class.Network, spaceapi.Network{}),
			CopyFrom:         class.CopyFrom,
			MaxLifetime:      ptr.Deref(class.MaxLifetime, metav1.Duration{}),
			Retention:        ptr.Deref(class.Retention, spaceapi.Retention{}).Period,
		},
		Container: Container{
			TokenLifetime: ptr.Deref(class.TokenLifetime, metav1.Duration{}).Duration,
			AdminEnv:      class.Env,
		},
	}
	if len(out.ClusterRoles) == 0 {
		out.ClusterRoles = []string{s.ClusterRole}
	}
	replace(&out.PodSecurity.Enforce, cmp.Or(out.PodSecurity.Enforce, s.PodSecurity))
	replace(&out.Network.Mode, cmp.Or(out.Network.Mode, s.Network))
	return out
}

// restrict applies the parameters of a claim, which can only restrict what its class
// gives.
func (s *SpaceConfig) restrict(class *spaceapi.SpaceClassConfig, claim *spaceapi.SpaceClaimConfig) (errs field.ErrorList) {
	// The installation's ClusterRole is no choice: it can change while the claim lives.
	allowed := slices.Concat(class.ClusterRoles, class.AllowedClusterRoles)
	for i, role := range claim.ClusterRoles {
		if !slices.Contains(allowed, role) {
			errs = append(errs, field.Invalid(field.NewPath("clusterRoles").Index(i), role, "the class allows "+orNone(allowed)))
		}
	}
	if len(claim.ClusterRoles) > 0 {
		s.ClusterRoles = claim.ClusterRoles
	}

	labels := field.NewPath("labels")
	for _, key := range slices.Sorted(maps.Keys(claim.Labels)) {
		if value, set := s.Labels[key]; set {
			errs = append(errs, field.Forbidden(labels.Key(key), fmt.Sprintf("the class sets it to %q", value)))
		} else if !slices.ContainsFunc(class.AllowedLabels, func(allowed string) bool { return labelMatches(key, allowed) }) {
			errs = append(errs, field.Forbidden(labels.Key(key), "the class allows "+orNone(class.AllowedLabels)))
		}
	}
	s.Labels = union(s.Labels, claim.Labels)

	if given := claim.PodSecurity; given != nil {
		at := field.NewPath("podSecurity")
		errs = append(errs, restrictLevel(&s.PodSecurity.Enforce, given.Enforce, at.Child("enforce"))...)
		errs = append(errs, restrictLevel(&s.PodSecurity.Audit, given.Audit, at.Child("audit"))...)
		errs = append(errs, restrictLevel(&s.PodSecurity.Warn, given.Warn, at.Child("warn"))...)
	}

	if given := claim.ResourceQuota; given != nil {
		s.ResourceQuota = cmp.Or(s.ResourceQuota, &corev1.ResourceQuotaSpec{})
		for _, name := range slices.Sorted(maps.Keys(given.Hard)) {
			value := given.Hard[name]
			if limit, ok := s.ResourceQuota.Hard[name]; ok && value.Cmp(limit) > 0 {
				errs = append(errs, field.Invalid(field.NewPath("resourceQuota", "hard").Key(string(name)), value.String(), "the class allows at most "+limit.String()))
			}
		}
		merge(&s.ResourceQuota.Hard, given.Hard)
	}
	if given := claim.Network; given != nil {
		replace(&s.Network.Mode, given.Mode)
	}
	if given := claim.MaxLifetime; given != nil {
		if most := s.MaxLifetime.Duration; most > 0 && given.Duration > most {
			errs = append(errs, field.Invalid(field.NewPath("maxLifetime"), given.Duration.String(), "the class allows at most "+most.String()))
		}
		s.MaxLifetime = *given
	}

	s.EnvPrefix = claim.EnvPrefix
	s.MountPath = claim.MountPath
	s.InCluster = ptr.Deref(claim.InCluster, false)
	s.KubeconfigEnv = ptr.Deref(claim.KubeconfigEnv, false)
	s.UserEnv = claim.Env
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

func isAbout(config resourceapi.DeviceAllocationConfiguration, request string) bool {
	return len(resourceclaim.ConfigForResult([]resourceapi.DeviceAllocationConfiguration{config}, resourceapi.DeviceRequestAllocationResult{Request: request})) > 0
}

// requestsOf are those of the requests that parameters are for.
func requestsOf(config resourceapi.DeviceAllocationConfiguration, all []string) []string {
	var out []string
	for _, request := range all {
		if isAbout(config, request) {
			out = append(out, request)
		}
	}
	return out
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
