// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package parameters

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

const (
	// suffixLength is the length of what follows the prefix in a namespace's name.
	suffixLength = 10
	// maxEntries is what one map or list may have.
	maxEntries = 64
	// maxName is the length that names and paths may have, where Kubernetes has no
	// shorter limit.
	maxName = 253
	// maxVariable is the length of variables' prefixes and of parameters' keys.
	maxVariable = 63

	// minTokenLifetime and maxTokenLifetime are what the API server's TokenRequest
	// takes: 10 minutes to 2^32 seconds.
	minTokenLifetime = 10 * time.Minute
	maxTokenLifetime = 1 << 32 * time.Second
)

var (
	// podSecurityLevels are Kubernetes' Pod Security Standards, the strictest last.
	podSecurityLevels = []string{"privileged", "baseline", "restricted"}

	parameterKey   = regexp.MustCompile(`^[A-Za-z0-9_]+$`)
	variablePrefix = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
)

// strictness orders Pod Security Standards. None counts as the least strict.
func strictness(level string) int {
	return max(0, slices.Index(podSecurityLevels, level))
}

func validateClass(class *spaceapi.SpaceClassConfig, driver string) field.ErrorList {
	var problems field.ErrorList
	if prefix := class.NamespacePrefix; prefix != "" {
		for _, msg := range validation.IsDNS1123Label(prefix + strings.Repeat("x", suffixLength)) {
			problems = append(problems, invalid(field.NewPath("namespacePrefix"), prefix, fmt.Sprintf("followed by %d characters, must be a namespace's name: %s", suffixLength, msg)))
		}
	}
	problems = append(problems, validateLabels(class.Labels, func(domain, key string) string {
		switch {
		case domain == "pod-security.kubernetes.io":
			return "Pod Security Standards are set by podSecurity"
		case key == "kubernetes.io/metadata.name":
			return "the API server sets it"
		}
		return ofDriver(domain, driver)
	})...)
	problems = append(problems, validateNames(class.AllowedLabels, field.NewPath("allowedLabels"), validateAllowedLabel)...)
	problems = append(problems, validateAnnotations(class.Annotations, driver)...)
	if class.ClusterRole != "" {
		problems = append(problems, validateClusterRole(class.ClusterRole, field.NewPath("clusterRole"))...)
	}
	problems = append(problems, validateNames(class.AllowedClusterRoles, field.NewPath("allowedClusterRoles"), validateClusterRole)...)
	problems = append(problems, validateNames(class.ClusterWideRoles, field.NewPath("clusterWideRoles"), validateClusterRole)...)
	problems = append(problems, validatePodSecurity(class.PodSecurity)...)
	problems = append(problems, validateQuota(class.ResourceQuota, nil)...)
	problems = append(problems, validateLimitRange(class.LimitRange)...)
	problems = append(problems, validateNetwork(class.Network, spaceapi.NetworkIsolated, spaceapi.NetworkOpen)...)
	if life := class.TokenLifetime; life != nil {
		switch at := field.NewPath("tokenLifetime"); {
		case life.Duration < minTokenLifetime:
			problems = append(problems, invalid(at, life.Duration.String(), "must be at least 10m, the API server's own limit"))
		case life.Duration > maxTokenLifetime:
			problems = append(problems, invalid(at, life.Duration.String(), "must be at most "+maxTokenLifetime.String()+", the API server's own limit"))
		}
	}
	problems = append(problems, validateDuration(class.MaxLifetime, field.NewPath("maxLifetime"))...)
	problems = append(problems, validateDuration(class.Retain, field.NewPath("retain"))...)
	problems = append(problems, validateCopy(class.Copy)...)
	return append(problems, validateParameters(class.Parameters)...)
}

func validateClaim(claim *spaceapi.SpaceClaimConfig, driver string) field.ErrorList {
	var problems field.ErrorList
	if claim.ClusterRole != "" {
		problems = append(problems, validateClusterRole(claim.ClusterRole, field.NewPath("clusterRole"))...)
	}
	problems = append(problems, validateLabels(claim.Labels, func(domain, _ string) string {
		if within(domain, "kubernetes.io") || within(domain, "k8s.io") {
			return "keys of kubernetes.io and k8s.io are not a claim's to set"
		}
		return ofDriver(domain, driver)
	})...)
	problems = append(problems, validatePodSecurity(claim.PodSecurity)...)
	problems = append(problems, validateQuota(claim.ResourceQuota, func(name string) string { return countsSpaces(name, driver) })...)
	problems = append(problems, validateNetwork(claim.Network, spaceapi.NetworkIsolated)...)
	problems = append(problems, validateDuration(claim.MaxLifetime, field.NewPath("maxLifetime"))...)
	if prefix := claim.VariablePrefix; prefix != "" {
		at := field.NewPath("variablePrefix")
		if !variablePrefix.MatchString(prefix) {
			problems = append(problems, invalid(at, prefix, "must have capital letters, digits and underscores, with a letter first"))
		}
		problems = append(problems, validateLength(prefix, at, maxVariable)...)
	}
	problems = append(problems, validateMountPath(claim.MountPath)...)
	return append(problems, validateParameters(claim.Parameters)...)
}

// within says whether a domain is another one or below it.
func within(domain, of string) bool {
	return domain == of || strings.HasSuffix(domain, "."+of)
}

func ofDriver(domain, driver string) string {
	if within(domain, driver) {
		return "keys of " + driver + " are the driver's own"
	}
	return ""
}

// validateLabels asks of each key, by its domain and as a whole, why it is reserved.
func validateLabels(labels map[string]string, reserved func(domain, key string) string) field.ErrorList {
	at := field.NewPath("labels")
	problems := validateSize(len(labels), at)
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		at := at.Key(shortened(key))
		problems = append(problems, validateKey(key, at, reserved)...)
		for _, msg := range validation.IsValidLabelValue(labels[key]) {
			problems = append(problems, invalid(at, labels[key], msg))
		}
	}
	return problems
}

// validateAllowedLabel is about a label's key, or one with a star in place of its
// name, or for all of it.
func validateAllowedLabel(allowed string, at *field.Path) (problems field.ErrorList) {
	key := allowed
	if key == "*" {
		return nil
	}
	if domain, ok := strings.CutSuffix(key, "/*"); ok {
		key = domain + "/name"
	}
	for _, msg := range validation.IsQualifiedName(key) {
		problems = append(problems, invalid(at, allowed, msg))
	}
	return problems
}

// labelMatches says whether an allowed label is about a key.
func labelMatches(key, allowed string) bool {
	domain, ok := strings.CutSuffix(allowed, "*")
	return key == allowed || ok && strings.HasPrefix(key, domain)
}

func validateAnnotations(annotations map[string]string, driver string) field.ErrorList {
	at := field.NewPath("annotations")
	problems := validateSize(len(annotations), at)
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		problems = append(problems, validateKey(key, at.Key(shortened(key)), func(domain, _ string) string { return ofDriver(domain, driver) })...)
	}
	return problems
}

func validateKey(key string, at *field.Path, reserved func(domain, key string) string) (problems field.ErrorList) {
	for _, msg := range validation.IsQualifiedName(key) {
		problems = append(problems, invalid(at, key, msg))
	}
	if domain, _, ok := strings.Cut(key, "/"); ok {
		// The API server takes annotations' keys without regard to case.
		if why := reserved(strings.ToLower(domain), key); why != "" {
			problems = append(problems, field.Forbidden(at, why))
		}
	}
	return problems
}

// validateNames is about a list of names of objects.
func validateNames(names []string, at *field.Path, validate func(string, *field.Path) field.ErrorList) field.ErrorList {
	problems := validateSize(len(names), at)
	for i, name := range names {
		problems = append(problems, validate(name, at.Index(i))...)
		if slices.Contains(names[:i], name) {
			problems = append(problems, field.Duplicate(at.Index(i), shortened(name)))
		}
	}
	return problems
}

// validateClusterRole has the rules of RBAC, whose names may have colons.
func validateClusterRole(name string, at *field.Path) (problems field.ErrorList) {
	if name == "" {
		return field.ErrorList{field.Required(at, "must name a ClusterRole")}
	}
	for _, msg := range content.IsPathSegmentName(name) {
		problems = append(problems, invalid(at, name, msg))
	}
	return append(problems, validateLength(name, at, maxName)...)
}

// validateObjectName has the rules for Secrets and ConfigMaps.
func validateObjectName(name string, at *field.Path) (problems field.ErrorList) {
	for _, msg := range validation.IsDNS1123Subdomain(name) {
		problems = append(problems, invalid(at, name, msg))
	}
	return problems
}

func validatePodSecurity(levels *spaceapi.PodSecurity) (problems field.ErrorList) {
	if levels == nil {
		return nil
	}
	for _, mode := range []struct{ name, level string }{{"enforce", levels.Enforce}, {"audit", levels.Audit}, {"warn", levels.Warn}} {
		if mode.level != "" && !slices.Contains(podSecurityLevels, mode.level) {
			problems = append(problems, field.NotSupported(field.NewPath("podSecurity", mode.name), shortened(mode.level), podSecurityLevels))
		}
	}
	return problems
}

func validateNetwork(network spaceapi.NetworkIsolation, known ...spaceapi.NetworkIsolation) field.ErrorList {
	if network == "" || slices.Contains(known, network) {
		return nil
	}
	return field.ErrorList{field.NotSupported(field.NewPath("network"), spaceapi.NetworkIsolation(shortened(string(network))), known)}
}

func validateDuration(d *metav1.Duration, at *field.Path) field.ErrorList {
	if d == nil || d.Duration > 0 {
		return nil
	}
	return field.ErrorList{invalid(at, d.Duration.String(), "must be more than zero")}
}

func validateCopy(objects *spaceapi.Copy) (problems field.ErrorList) {
	if objects == nil {
		return nil
	}
	at := field.NewPath("copy")
	if objects.Namespace == "" {
		problems = append(problems, field.Required(at.Child("namespace"), "must name the namespace of the originals"))
	} else {
		for _, msg := range validation.IsDNS1123Label(objects.Namespace) {
			problems = append(problems, invalid(at.Child("namespace"), objects.Namespace, msg))
		}
	}
	if len(objects.Secrets)+len(objects.ConfigMaps)+len(objects.ImagePullSecrets) == 0 {
		problems = append(problems, field.Required(at, "must list secrets, configMaps or imagePullSecrets"))
	}
	problems = append(problems, validateNames(objects.Secrets, at.Child("secrets"), validateObjectName)...)
	problems = append(problems, validateNames(objects.ConfigMaps, at.Child("configMaps"), func(name string, at *field.Path) field.ErrorList {
		if name == spaceapi.RootCAName {
			return field.ErrorList{invalid(at, name, "each namespace has its own, which Kubernetes keeps")}
		}
		return validateObjectName(name, at)
	})...)
	return append(problems, validateNames(objects.ImagePullSecrets, at.Child("imagePullSecrets"), validateObjectName)...)
}

func validateParameters(parameters map[string]string) field.ErrorList {
	at := field.NewPath("parameters")
	problems := validateSize(len(parameters), at)
	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		at := at.Key(shortened(key))
		if !parameterKey.MatchString(key) {
			problems = append(problems, invalid(at, key, "a key must have letters, digits and underscores only"))
		}
		problems = append(problems, validateLength(key, at, maxVariable)...)
		// The environment is a list of strings that end there.
		if strings.ContainsRune(parameters[key], 0) {
			problems = append(problems, invalid(at, parameters[key], "must not contain NUL"))
		}
	}
	return problems
}

func validateSize(entries int, at *field.Path) field.ErrorList {
	if entries <= maxEntries {
		return nil
	}
	return field.ErrorList{field.TooMany(at, entries, maxEntries)}
}

func validateLength(value string, at *field.Path, most int) field.ErrorList {
	if len(value) <= most {
		return nil
	}
	return field.ErrorList{invalid(at, value, fmt.Sprintf("must have at most %d characters", most))}
}
