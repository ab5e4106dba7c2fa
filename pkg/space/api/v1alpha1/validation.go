// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ResourceQuotas and LimitRanges are validated by the API server, when the
// controller creates them.

const (
	// maxEntries is how many entries a map or a list can have.
	maxEntries = 64
	// maxName is the length of names and paths where Kubernetes has no shorter limit.
	maxName = 253
	// maxNamespacePrefix leaves room for the ten characters that follow.
	maxNamespacePrefix = validation.DNS1123LabelMaxLength - 10

	// minTokenLifetime and maxTokenLifetime are the API server's limits for a
	// TokenRequest: 10 minutes and 2^32 seconds.
	minTokenLifetime = 10 * time.Minute
	maxTokenLifetime = 1 << 32 * time.Second
)

var (
	envKey             = regexp.MustCompile(`^[A-Za-z0-9_]{1,63}$`)
	podSecurityVersion = regexp.MustCompile(`^(latest|v1\.(0|[1-9][0-9]{0,3}))$`)
	envPrefix          = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,62}$`)
)

// PodSecurityLevels returns the Pod Security Standards, the strictest last.
func PodSecurityLevels() []string { return []string{"privileged", "baseline", "restricted"} }

// validateClass returns all errors in a class's parameters, apart from what depends on the
// installation.
func validateClass(c *SpaceClassConfig, driver string) (errs field.ErrorList) {
	if at := field.NewPath("namespacePrefix"); len(c.NamespacePrefix) > maxNamespacePrefix {
		errs = append(errs, field.TooLong(at, c.NamespacePrefix, maxNamespacePrefix))
	} else {
		errs = append(errs, invalid(at, c.NamespacePrefix, validation.IsDNS1123Label(c.NamespacePrefix+"x"))...)
	}
	reserved := func(key string) string {
		switch {
		case inDomain(key, driver):
			return "labels of " + driver + " are set by the driver"
		case strings.HasPrefix(key, "pod-security.kubernetes.io/"):
			return "Pod Security Standards are set by podSecurity"
		case key == "kubernetes.io/metadata.name":
			return "it is set by the API server"
		}
		return ""
	}
	errs = append(errs, validateLabels(c.Labels, field.NewPath("labels"), reserved)...)
	errs = append(errs, validateList(c.InheritLabels, field.NewPath("inheritLabels"), func(key string, at *field.Path) field.ErrorList {
		if why := reserved(key); why != "" {
			return field.ErrorList{field.Forbidden(at, why)}
		}
		return invalid(at, key, validation.IsQualifiedName(key))
	})...)
	errs = append(errs, validateList(c.AllowedLabels, field.NewPath("allowedLabels"), validateAllowedLabel)...)
	annotations := field.NewPath("annotations")
	errs = append(errs, apivalidation.ValidateAnnotations(c.Annotations, annotations)...)
	for _, key := range slices.Sorted(maps.Keys(c.Annotations)) {
		if inDomain(strings.ToLower(key), driver) {
			errs = append(errs, field.Forbidden(annotations.Key(key), "annotations of "+driver+" are set by the driver"))
		}
	}
	errs = append(errs, validateSize(len(c.Annotations), annotations)...)
	errs = append(errs, validateClusterRoles(c.ClusterRoles, field.NewPath("clusterRoles"))...)
	errs = append(errs, validateList(c.AllowedClusterRoles, field.NewPath("allowedClusterRoles"), validateClusterRole)...)
	errs = append(errs, validateList(c.ClusterWideRoles, field.NewPath("clusterWideRoles"), validateClusterRole)...)
	errs = append(errs, validateAccess(c.Access, field.NewPath("access"))...)
	if security := c.PodSecurity; security != nil {
		at := field.NewPath("podSecurity")
		errs = append(errs, validateLevels(at, security.Enforce, security.Audit, security.Warn)...)
		errs = append(errs, validateVersion(security.EnforceVersion, at.Child("enforceVersion"))...)
		errs = append(errs, validateVersion(security.AuditVersion, at.Child("auditVersion"))...)
		errs = append(errs, validateVersion(security.WarnVersion, at.Child("warnVersion"))...)
	}
	if c.ResourceQuota != nil {
		errs = append(errs, validateSize(len(c.ResourceQuota.Hard), field.NewPath("resourceQuota", "hard"))...)
	}
	if c.Network != nil {
		errs = append(errs, validateEnum(c.Network.Mode, field.NewPath("network", "mode"), NetworkIsolated, NetworkOpen)...)
	}
	if lifetime := c.TokenLifetime; lifetime != nil && (lifetime.Duration < minTokenLifetime || lifetime.Duration > maxTokenLifetime) {
		errs = append(errs, field.Invalid(field.NewPath("tokenLifetime"), lifetime.Duration.String(), "must be between 10m and 1193046h"))
	}
	errs = append(errs, validatePositive(c.MaxLifetime, field.NewPath("maxLifetime"))...)
	errs = append(errs, validatePositive(c.MaxExtension, field.NewPath("maxExtension"))...)
	errs = append(errs, validatePositive(c.MaxTerminationGracePeriod, field.NewPath("maxTerminationGracePeriod"))...)
	if c.Retention != nil {
		errs = append(errs, validatePositive(&c.Retention.Period, field.NewPath("retention", "period"))...)
		errs = append(errs, validateEnum(c.Retention.When, field.NewPath("retention", "when"), RetainAlways, RetainOnFailure)...)
	}
	errs = append(errs, validateCopyFrom(c.CopyFrom, field.NewPath("copyFrom"))...)
	errs = append(errs, validateEnv(c.Env, field.NewPath("env"))...)
	return errs
}

// validateClaim returns all errors in a claim's parameters, apart from what depends on the class.
func validateClaim(c *SpaceClaimConfig, driver string) (errs field.ErrorList) {
	errs = append(errs, validateClusterRoles(c.ClusterRoles, field.NewPath("clusterRoles"))...)
	errs = append(errs, validateLabels(c.Labels, field.NewPath("labels"), func(key string) string {
		for _, domain := range []string{driver, "kubernetes.io", "k8s.io"} {
			if inDomain(key, domain) {
				return "claims cannot set labels of " + domain
			}
		}
		return ""
	})...)
	if security := c.PodSecurity; security != nil {
		errs = append(errs, validateLevels(field.NewPath("podSecurity"), security.Enforce, security.Audit, security.Warn)...)
	}
	if c.ResourceQuota != nil {
		errs = append(errs, validateSize(len(c.ResourceQuota.Hard), field.NewPath("resourceQuota", "hard"))...)
	}
	if c.Network != nil {
		errs = append(errs, validateEnum(c.Network.Mode, field.NewPath("network", "mode"), NetworkIsolated)...)
	}
	errs = append(errs, validatePositive(c.MaxLifetime, field.NewPath("maxLifetime"))...)
	if at := field.NewPath("envPrefix"); c.EnvPrefix != "" && !envPrefix.MatchString(c.EnvPrefix) {
		errs = append(errs, field.Invalid(at, c.EnvPrefix, "must have at most 63 upper case letters, digits and underscores, and start with a letter"))
	} else if why := ReservedEnvPrefix(c.EnvPrefix); why != "" {
		errs = append(errs, field.Invalid(at, c.EnvPrefix, "must not be reserved: "+why))
	}
	errs = append(errs, validateMountPath(c.MountPath, field.NewPath("mountPath"))...)
	errs = append(errs, validateEnv(c.Env, field.NewPath("env"))...)
	return errs
}

// inDomain reports whether the key of a label or annotation is in a domain or in one below it.
func inDomain(key, domain string) bool {
	keyDomain, _, qualified := strings.Cut(key, "/")
	return qualified && (keyDomain == domain || strings.HasSuffix(keyDomain, "."+domain))
}

func validateLabels(labels map[string]string, at *field.Path, forbidden func(key string) string) (errs field.ErrorList) {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if wrong := invalid(at, key, validation.IsQualifiedName(key)); len(wrong) > 0 {
			errs = append(errs, wrong...)
		} else if why := forbidden(key); why != "" {
			errs = append(errs, field.Forbidden(at.Key(key), why))
		} else {
			errs = append(errs, invalid(at.Key(key), labels[key], validation.IsValidLabelValue(labels[key]))...)
		}
	}
	return append(errs, validateSize(len(labels), at)...)
}

func validateAllowedLabel(allowed string, at *field.Path) field.ErrorList {
	key := allowed
	if domain, ok := strings.CutSuffix(allowed, "*"); ok && (domain == "" || strings.HasSuffix(domain, "/")) {
		key = domain + "any"
	}
	return invalid(at, allowed, validation.IsQualifiedName(key))
}

func validateClusterRole(name string, at *field.Path) field.ErrorList {
	switch {
	case name == "":
		return field.ErrorList{field.Required(at, "must be the name of a ClusterRole")}
	case len(name) > maxName:
		return field.ErrorList{field.TooLong(at, name, maxName)}
	}
	return invalid(at, name, content.IsPathSegmentName(name))
}

// validateClusterRoles validates the ClusterRoles that are bound in the namespace.
func validateClusterRoles(names []string, at *field.Path) field.ErrorList {
	errs := validateList(names, at, validateClusterRole)
	if len(names) > MaxClusterRoles {
		errs = append(errs, field.TooMany(at, len(names), MaxClusterRoles))
	}
	return errs
}

func validateLevels(at *field.Path, enforce, audit, warn string) (errs field.ErrorList) {
	errs = append(errs, validateEnum(enforce, at.Child("enforce"), PodSecurityLevels()...)...)
	errs = append(errs, validateEnum(audit, at.Child("audit"), PodSecurityLevels()...)...)
	return append(errs, validateEnum(warn, at.Child("warn"), PodSecurityLevels()...)...)
}

func validateVersion(version string, at *field.Path) field.ErrorList {
	if version == "" || podSecurityVersion.MatchString(version) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, version, "must be latest or a minor version, as in v1.34")}
}

func validatePositive(duration *metav1.Duration, at *field.Path) field.ErrorList {
	if duration == nil || duration.Duration > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, duration.Duration.String(), "must be greater than zero")}
}

func validateCopyFrom(from *CopyFrom, at *field.Path) (errs field.ErrorList) {
	if from == nil {
		return nil
	}
	if from.Namespace == "" {
		errs = append(errs, field.Required(at.Child("namespace"), "must be the namespace to copy from"))
	} else {
		errs = append(errs, invalid(at.Child("namespace"), from.Namespace, validation.IsDNS1123Label(from.Namespace))...)
	}
	if len(from.Secrets)+len(from.ConfigMaps)+len(from.ImagePullSecrets) == 0 {
		errs = append(errs, field.Required(at, "must have secrets, configMaps or imagePullSecrets"))
	}
	errs = append(errs, validateSources(from.Secrets, at.Child("secrets"))...)
	errs = append(errs, validateSources(from.ImagePullSecrets, at.Child("imagePullSecrets"))...)
	errs = append(errs, validateSources(from.ConfigMaps, at.Child("configMaps"))...)
	for i, source := range from.ConfigMaps {
		if source.Name == RootCAName {
			errs = append(errs, field.Forbidden(at.Child("configMaps").Index(i).Child("name"), "Kubernetes creates "+RootCAName+" in each namespace"))
		}
	}
	return errs
}

func validateSources(sources []CopySource, at *field.Path) field.ErrorList {
	var names []string
	for _, source := range sources {
		names = append(names, source.Name)
	}
	return validateList(names, at, func(name string, at *field.Path) field.ErrorList {
		return invalid(at.Child("name"), name, validation.IsDNS1123Subdomain(name))
	})
}

func validateEnv(variables map[string]string, at *field.Path) (errs field.ErrorList) {
	for _, key := range slices.Sorted(maps.Keys(variables)) {
		if !envKey.MatchString(key) {
			errs = append(errs, field.Invalid(at, key, "a key has at most 63 letters, digits and underscores"))
		} else if strings.Contains(variables[key], "\x00") {
			errs = append(errs, field.Invalid(at.Key(key), variables[key], "must not contain NUL"))
		}
	}
	return append(errs, validateSize(len(variables), at)...)
}

// ReservedEnvPrefix returns why environment variables cannot have a prefix, or "" if they can.
// What follows the prefix is fixed, so that no variable can be one like PATH or HOME.
func ReservedEnvPrefix(prefix string) string {
	switch {
	case hasEnvPrefix(prefix, "KUBERNETES"):
		return "variables that begin with KUBERNETES_ belong to Kubernetes"
	case hasEnvPrefix(prefix, "LD"):
		return "variables that begin with LD_ belong to the dynamic linker"
	case prefix == "POD":
		return "by convention, POD_NAMESPACE is the namespace of the pod itself"
	}
	return ""
}

// hasEnvPrefix reports whether variables with a prefix begin with the words of a reserved prefix: LD
// and LD_LIBRARY do for LD, and LDAP does not.
func hasEnvPrefix(prefix, reserved string) bool {
	return strings.HasPrefix(prefix+"_", reserved+"_")
}

// ReservedPaths are directories where a claim's files cannot be.
type ReservedPaths struct {
	// Paths are absolute.
	Paths []string
	// Below means that all directories below Paths are reserved, too.
	Below bool
	// Why is a clause for error messages.
	Why string
}

// ReservedMountPaths returns the directories that can be neither a claim's mountPath nor its
// /etc/<claim>. They keep users from breaking their own containers, and are no security boundary:
// an image can have symbolic links to these directories. A directory in /etc is reserved if covering it
// breaks a base image, or a program in its usual image, and not only a package of a distribution.
func ReservedMountPaths() []ReservedPaths {
	return []ReservedPaths{
		{
			Paths: []string{"/proc", "/sys", "/dev"}, Below: true,
			Why: "they belong to the kernel, and container runtimes reject mounts there",
		},
		{
			Paths: []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/boot", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64"}, Below: true,
			Why: "they hold the image's programs and libraries",
		},
		{
			Paths: []string{"/var/run/claim-artifacts", "/run/claim-artifacts"}, Below: true,
			Why: "the driver mounts the files of spaces there",
		},
		{
			Paths: []string{"/var/run/secrets/kubernetes.io", "/run/secrets/kubernetes.io"}, Below: true,
			Why: "the kubelet mounts the pod's own token there; inCluster replaces it",
		},
		{
			Paths: []string{"/var/run/kubernetes.io", "/run/kubernetes.io"}, Below: true,
			Why: "DRA drivers mount device metadata there",
		},
		{
			Paths: []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}, Below: true,
			Why: "they are files that the kubelet mounts",
		},
		{
			Paths: []string{
				"/etc/adjtime", "/etc/alpine-release", "/etc/bash.bashrc", "/etc/bashrc", "/etc/ca-certificates.conf", "/etc/crontab", "/etc/debian_version", "/etc/environment",
				"/etc/fstab", "/etc/gai.conf", "/etc/group", "/etc/gshadow", "/etc/host.conf", "/etc/inittab", "/etc/inputrc", "/etc/issue", "/etc/krb5.conf", "/etc/ld.so.cache",
				"/etc/ld.so.conf", "/etc/ld.so.preload", "/etc/localtime", "/etc/login.defs", "/etc/machine-id", "/etc/mime.types", "/etc/modules", "/etc/motd", "/etc/mtab",
				"/etc/netconfig", "/etc/networks", "/etc/nsswitch.conf", "/etc/os-release", "/etc/pam.conf", "/etc/passwd", "/etc/profile", "/etc/protocols", "/etc/redhat-release",
				"/etc/rpc", "/etc/securetty", "/etc/services", "/etc/shadow", "/etc/shells", "/etc/subgid", "/etc/subuid", "/etc/sudoers", "/etc/sysctl.conf",
				"/etc/system-release", "/etc/timezone", "/etc/vconsole.conf", "/etc/xattr.conf", "/etc/yum.conf",
			}, Below: true,
			Why: "they are files of images, and a container in which a directory is mounted there does not start",
		},
		{
			Paths: []string{
				"/etc/alternatives", "/etc/apk", "/etc/apt", "/etc/authselect", "/etc/ca-certificates", "/etc/cni", "/etc/conf.d", "/etc/containerd", "/etc/containers", "/etc/cron.d",
				"/etc/cron.daily", "/etc/crontabs", "/etc/crypto-policies", "/etc/dbus-1", "/etc/default", "/etc/dnf", "/etc/docker", "/etc/dpkg", "/etc/fonts", "/etc/gnupg",
				"/etc/gss", "/etc/init.d", "/etc/kernel", "/etc/krb5.conf.d", "/etc/kubernetes", "/etc/ld.so.conf.d", "/etc/logrotate.d", "/etc/modprobe.d",
				"/etc/openldap", "/etc/opt", "/etc/pam.d", "/etc/periodic", "/etc/pki", "/etc/profile.d", "/etc/rpm", "/etc/sasl2", "/etc/security", "/etc/selinux", "/etc/skel",
				"/etc/ssh", "/etc/ssl", "/etc/ssl/certs", "/etc/ssl/private", "/etc/sudoers.d", "/etc/sysconfig", "/etc/sysctl.d", "/etc/systemd", "/etc/terminfo", "/etc/tmpfiles.d",
				"/etc/udev", "/etc/xdg", "/etc/yum", "/etc/yum.repos.d",
			},
			Why: "images have files there",
		},
		{
			Paths: []string{
				"/etc/apache2", "/etc/caddy", "/etc/cassandra", "/etc/clickhouse-server", "/etc/envoy", "/etc/fluent", "/etc/gitlab", "/etc/grafana", "/etc/haproxy", "/etc/httpd",
				"/etc/influxdb", "/etc/java", "/etc/loki", "/etc/mysql", "/etc/nginx", "/etc/otelcol", "/etc/php", "/etc/prometheus", "/etc/python3", "/etc/rabbitmq", "/etc/squid",
				"/etc/telegraf", "/etc/traefik", "/etc/varnish",
			},
			Why: "programs of common images have their configuration there",
		},
		{
			Paths: []string{"/", "/etc", "/usr", "/usr/local", "/usr/share", "/var", "/var/lib", "/var/tmp", "/var/run", "/run", "/tmp", "/var/run/secrets", "/run/secrets"},
			Why:   "a read-only mount would hide what is in them",
		},
	}
}

// ReservedMountPath returns why a claim's files cannot be at a directory, or "" if they can.
func ReservedMountPath(dir string) string {
	for _, reserved := range ReservedMountPaths() {
		if slices.ContainsFunc(reserved.Paths, func(r string) bool { return dir == r || reserved.Below && strings.HasPrefix(dir, r+"/") }) {
			return reserved.Why
		}
	}
	return ""
}

func validateMountPath(dir string, at *field.Path) field.ErrorList {
	if dir == "" {
		return nil
	}
	if why := ReservedMountPath(dir); why != "" {
		return field.ErrorList{field.Invalid(at, dir, "must not be a system directory: "+why)}
	}
	switch {
	case len(dir) > maxName:
		return field.ErrorList{field.TooLong(at, dir, maxName)}
	case !path.IsAbs(dir) || path.Clean(dir) != dir:
		return field.ErrorList{field.Invalid(at, dir, "must be an absolute path without empty, . or .. parts and without a slash at the end")}
	case strings.ContainsFunc(dir, unicode.IsControl):
		return field.ErrorList{field.Invalid(at, dir, "must not contain control characters")}
	}
	return nil
}

// validateList validates each item of a list, and rejects duplicates.
func validateList(items []string, at *field.Path, validate func(item string, at *field.Path) field.ErrorList) (errs field.ErrorList) {
	for i, item := range items {
		errs = append(errs, validate(item, at.Index(i))...)
		if slices.Contains(items[:i], item) {
			errs = append(errs, field.Duplicate(at.Index(i), item))
		}
	}
	return append(errs, validateSize(len(items), at)...)
}

func validateSize(entries int, at *field.Path) field.ErrorList {
	if entries <= maxEntries {
		return nil
	}
	return field.ErrorList{field.TooMany(at, entries, maxEntries)}
}

// validateEnum accepts an empty value and those that are supported.
func validateEnum[T ~string](value T, at *field.Path, supported ...T) field.ErrorList {
	if value == "" || slices.Contains(supported, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(at, value, supported)}
}

// invalid returns an error for each message about a value from Kubernetes' validation.
func invalid(at *field.Path, value string, messages []string) (errs field.ErrorList) {
	for _, message := range messages {
		errs = append(errs, field.Invalid(at, value, message))
	}
	return errs
}
