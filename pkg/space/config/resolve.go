// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/utils/ptr"
	utilstrings "k8s.io/utils/strings"
	kjson "sigs.k8s.io/json"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

const (
	// defaultMaxTerminationGracePeriod is ten times Kubernetes' default grace period.
	defaultMaxTerminationGracePeriod = 5 * time.Minute
	// maxParameters is the size of all parameters of a claim, counted for each of its spaces, in
	// bytes. Kubernetes allows 320 KiB, and 32 spaces.
	maxParameters = 64 << 10
	// maxSummary is the maximum length of a message, so that it fits into an event, whose
	// messages have at most 1024 bytes.
	maxSummary = 800
)

// Resolve returns the configuration of the space of a result. Later parameters of a class or a
// claim replace earlier ones field by field. Those of the claim then restrict those of the class.
// The error names the object to change and all its invalid fields.
func (d Defaults) Resolve(a *allocation.Allocation, result allocation.Result) (SpaceConfig, error) {
	if size := d.sizeOfClaimParameters(a); size > maxParameters {
		return SpaceConfig{}, fmt.Errorf("the ResourceClaim has too many parameters: for all its spaces together, they have %d bytes, and may have %d", size, maxParameters)
	}
	var classParameters, claimParameters json.RawMessage
	for _, config := range a.Configs {
		if !appliesTo(config, result.Request) || config.Opaque.Driver != d.Driver {
			continue
		}
		raw := config.Opaque.Parameters.Raw
		if config.Source == resourceapi.AllocationConfigSourceClass {
			if _, errs := spaceapi.DecodeSpaceClassConfig(raw, d.Driver); len(errs) > 0 {
				return SpaceConfig{}, fmt.Errorf("the DeviceClass has invalid parameters: %s", summary(errs))
			}
			classParameters = merge(classParameters, raw)
			continue
		}
		claim, errs := spaceapi.DecodeSpaceClaimConfig(raw, d.Driver)
		if requests := requestsOf(config, a.Results); claim.EnvPrefix != "" && len(requests) > 1 {
			errs = append(errs, field.Forbidden(field.NewPath("envPrefix"), "several spaces would have variables of the same names: "+strings.Join(requests, ", ")))
		}
		if len(errs) > 0 {
			return SpaceConfig{}, fmt.Errorf("the ResourceClaim has invalid parameters: %s", summary(errs))
		}
		claimParameters = merge(claimParameters, raw)
	}
	var class spaceapi.SpaceClassConfig
	if err := unmarshal(classParameters, &class); err != nil {
		return SpaceConfig{}, fmt.Errorf("the DeviceClass has parameters that cannot be merged: %w", err)
	}
	var claim spaceapi.SpaceClaimConfig
	if err := unmarshal(claimParameters, &claim); err != nil {
		return SpaceConfig{}, fmt.Errorf("the ResourceClaim has parameters that cannot be merged: %w", err)
	}
	space := d.fromClass(&class)
	if q := space.ResourceQuota; q != nil && (len(q.Scopes) > 0 || q.ScopeSelector != nil) {
		for capacity := range result.ConsumedCapacity {
			if spaceapi.QuotaResource(string(capacity)) != "" {
				// The space's part of the budget would be limited within the scopes only.
				return SpaceConfig{}, errors.New("the DeviceClass has invalid parameters: resourceQuota: Forbidden: scopes are not possible with a pool that has a budget")
			}
		}
	}
	if errs := space.restrict(&class, &claim); len(errs) > 0 {
		return SpaceConfig{}, fmt.Errorf("the ResourceClaim has parameters that its DeviceClass does not allow: %s", summary(errs))
	}
	if ptr.Deref(result.AdminAccess, false) {
		if !ptr.Deref(class.AllowAdminAccess, false) {
			return SpaceConfig{}, fmt.Errorf("request %s has adminAccess, but its DeviceClass does not set allowAdminAccess", result.Request)
		}
		space.ClusterRoles, space.ClusterWideRoles = []string{spaceapi.AdminAccessClusterRole}, nil
	}
	return space, nil
}

// sizeOfClaimParameters returns the size of the claim's parameters. Those for several spaces count
// several times.
func (d Defaults) sizeOfClaimParameters(a *allocation.Allocation) (size int) {
	for _, config := range a.Configs {
		if config.Source == resourceapi.AllocationConfigSourceClaim && config.Opaque != nil && config.Opaque.Driver == d.Driver {
			size += len(config.Opaque.Parameters.Raw) * len(requestsOf(config, a.Results))
		}
	}
	return size
}

// merge merges two objects key by key. Values of later replace those of earlier. A list is replaced
// as a whole, also by an empty one. Both objects are valid parameters.
func merge(earlier, later json.RawMessage) json.RawMessage {
	var into, from map[string]json.RawMessage
	if json.Unmarshal(earlier, &into) != nil || json.Unmarshal(later, &from) != nil || into == nil {
		return later
	}
	for key, value := range from {
		switch {
		case string(value) == "null": // it stands for an absent field
		case key == "copyFrom": // its lists belong to one namespace
			into[key] = value
		default:
			into[key] = merge(into[key], value)
		}
	}
	merged, err := json.Marshal(into)
	utilruntime.Must(err)
	return merged
}

// unmarshal decodes merged parameters. There may be none.
func unmarshal(parameters json.RawMessage, into any) error {
	if parameters == nil {
		return nil
	}
	return kjson.UnmarshalCaseSensitivePreserveInts(parameters, into)
}

// CheckAllowed returns an error if the installation does not allow this configuration. The controller
// has no permissions for it.
func (d Defaults) CheckAllowed(space Recorded) error {
	var errs field.ErrorList
	for n, role := range space.ClusterRoles {
		if !slices.Contains(d.Roles(), role) {
			errs = append(errs, field.Invalid(field.NewPath("clusterRoles").Index(n), role, "add it to the Helm value space.allowedClusterRoles"))
		}
	}
	for n, role := range space.ClusterWideRoles {
		if !slices.Contains(d.ClusterWideRoles, role) {
			errs = append(errs, field.Invalid(field.NewPath("clusterWideRoles").Index(n), role, "add it to the Helm value space.clusterWideRoles"))
		}
	}
	for n, access := range space.Access {
		if !slices.Contains(d.Roles(), access.ClusterRole) {
			errs = append(errs, field.Invalid(field.NewPath("access").Index(n).Child("clusterRole"), access.ClusterRole, "add it to the Helm value space.allowedClusterRoles"))
		}
	}
	if space.CopyFrom != nil && !slices.Contains(d.CopyFromNamespaces, space.CopyFrom.Namespace) {
		errs = append(errs, field.Invalid(field.NewPath("copyFrom", "namespace"), space.CopyFrom.Namespace, "add it to the Helm value space.copyFromNamespaces"))
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("the DeviceClass has parameters that the Helm values do not allow: %s", summary(errs))
}

// fromClass returns the complete configuration of a space of a class.
func (d Defaults) fromClass(class *spaceapi.SpaceClassConfig) SpaceConfig {
	retention := ptr.Deref(class.Retention, spaceapi.Retention{})
	out := SpaceConfig{
		NamespacePrefix:           cmp.Or(class.NamespacePrefix, d.NamespacePrefix),
		Labels:                    class.Labels,
		Annotations:               class.Annotations,
		InheritLabels:             class.InheritLabels,
		PodSecurity:               ptr.Deref(class.PodSecurity, spaceapi.PodSecurity{}),
		AllowNestedSpaces:         ptr.Deref(class.AllowNestedSpaces, false),
		MaxTerminationGracePeriod: ptr.Deref(class.MaxTerminationGracePeriod, metav1.Duration{Duration: defaultMaxTerminationGracePeriod}).Duration,
		Recorded: Recorded{
			ClusterRoles:     class.ClusterRoles,
			ClusterWideRoles: class.ClusterWideRoles,
			Access:           complete(class.Access),
			ResourceQuota:    class.ResourceQuota,
			LimitRange:       class.LimitRange,
			Network:          ptr.Deref(class.Network, spaceapi.Network{}),
			CopyFrom:         class.CopyFrom,
			MaxLifetime:      ptr.Deref(class.MaxLifetime, metav1.Duration{}),
			MaxExtension:     ptr.Deref(class.MaxExtension, metav1.Duration{}),
			Retention:        retention.Period,
			RetentionWhen:    retention.When,
		},
		ContainerConfig: ContainerConfig{
			TokenLifetime:   ptr.Deref(class.TokenLifetime, metav1.Duration{}).Duration,
			DisableEtcMount: ptr.Deref(class.DisableEtcMount, false),
			AdminEnv:        class.Env,
		},
	}
	if len(out.ClusterRoles) == 0 {
		out.ClusterRoles = []string{d.ClusterRole}
	}
	out.PodSecurity.Enforce = cmp.Or(out.PodSecurity.Enforce, d.PodSecurity)
	out.Network.Mode = cmp.Or(out.Network.Mode, d.Network)
	return out
}

// restrict applies the parameters of a claim. It returns an error for each one that its class does
// not allow.
func (s *SpaceConfig) restrict(class *spaceapi.SpaceClassConfig, claim *spaceapi.SpaceClaimConfig) (errs field.ErrorList) {
	// The installation's ClusterRole is not among them: it can change while the claim exists.
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

	if requested := claim.PodSecurity; requested != nil {
		at := field.NewPath("podSecurity")
		errs = append(errs, restrictLevel(&s.PodSecurity.Enforce, requested.Enforce, at.Child("enforce"))...)
		errs = append(errs, restrictLevel(&s.PodSecurity.Audit, requested.Audit, at.Child("audit"))...)
		errs = append(errs, restrictLevel(&s.PodSecurity.Warn, requested.Warn, at.Child("warn"))...)
	}

	if requested := claim.ResourceQuota; requested != nil {
		s.ResourceQuota = cmp.Or(s.ResourceQuota, &corev1.ResourceQuotaSpec{})
		for _, name := range slices.Sorted(maps.Keys(requested.Hard)) {
			value := requested.Hard[name]
			if limit, ok := s.ResourceQuota.Hard[name]; ok && value.Cmp(limit) > 0 {
				errs = append(errs, field.Invalid(field.NewPath("resourceQuota", "hard").Key(string(name)), value.String(), "the class allows at most "+limit.String()))
			}
		}
		s.ResourceQuota.Hard = union(s.ResourceQuota.Hard, requested.Hard)
	}
	if requested := claim.Network; requested != nil {
		s.Network.Mode = cmp.Or(requested.Mode, s.Network.Mode)
	}
	if requested := claim.MaxLifetime; requested != nil {
		if limit := s.MaxLifetime.Duration; limit > 0 && requested.Duration > limit {
			errs = append(errs, field.Invalid(field.NewPath("maxLifetime"), requested.Duration.String(), "the class allows at most "+limit.String()))
		}
		s.MaxLifetime = *requested
	}

	s.EnvPrefix = claim.EnvPrefix
	s.MountPath = claim.MountPath
	s.InCluster = ptr.Deref(claim.InCluster, false)
	s.KubeconfigEnv = ptr.Deref(claim.KubeconfigEnv, false)
	s.EmbedToken = ptr.Deref(claim.EmbedToken, false)
	s.UserEnv = claim.Env
	return errs
}

// restrictLevel replaces a Pod Security Standard by the one that the claim requests. It returns an
// error if that is less strict.
func restrictLevel(level *string, requested string, at *field.Path) (errs field.ErrorList) {
	if requested == "" {
		return nil
	}
	levels := spaceapi.PodSecurityLevels()
	// If the class has none, the least strict applies.
	least := max(0, slices.Index(levels, *level))
	if slices.Index(levels, requested) < least {
		errs = append(errs, field.Invalid(at, requested, "the class allows "+strings.Join(levels[least:], ", ")))
	}
	*level = requested
	return errs
}

// appliesTo reports whether parameters apply to a request.
func appliesTo(config resourceapi.DeviceAllocationConfiguration, request string) bool {
	return len(resourceclaim.ConfigForResult([]resourceapi.DeviceAllocationConfiguration{config}, resourceapi.DeviceRequestAllocationResult{Request: request})) > 0
}

// requestsOf returns the requests of the results that parameters apply to.
func requestsOf(config resourceapi.DeviceAllocationConfiguration, results []allocation.Result) []string {
	var out []string
	for _, result := range results {
		if appliesTo(config, result.Request) {
			out = append(out, result.Request)
		}
	}
	return out
}

// orNone joins what is allowed, or returns "none".
func orNone(allowed []string) string {
	return cmp.Or(strings.Join(allowed, ", "), "none")
}

// labelMatches reports whether an allowed label includes a key.
func labelMatches(key, allowed string) bool {
	domain, ok := strings.CutSuffix(allowed, "*")
	return key == allowed || ok && strings.HasPrefix(key, domain)
}

// union returns a map with the entries of both. Later ones replace earlier ones.
func union[M ~map[K]V, K comparable, V any](earlier, later M) M {
	out := make(M, len(earlier)+len(later))
	maps.Copy(out, earlier)
	maps.Copy(out, later)
	return out
}

// summary joins errors to one line. It replaces control characters, which the names of fields
// can contain.
func summary(errs field.ErrorList) string {
	var texts []string
	for _, err := range errs {
		texts = append(texts, err.Error())
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, utilstrings.ShortenString(strings.Join(texts, "; "), maxSummary))
}
