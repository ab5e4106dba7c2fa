// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package parameters

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The API server refuses a ResourceQuota or a LimitRange that breaks the rules
// here, in k8s.io/kubernetes/pkg/apis/core/validation. They are repeated because a
// space that can be known to fail is refused at once.

// counted are what a quota counts without fractions.
var counted = []corev1.ResourceName{
	corev1.ResourcePods, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceQuotas,
	corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims,
	corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
}

// measured are what a quota measures.
var measured = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsStorage, corev1.ResourceRequestsEphemeralStorage,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
}

// inContainers are what a container can ask for, of Kubernetes' own resources.
var inContainers = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}

var limitTypes = []corev1.LimitType{corev1.LimitTypeContainer, corev1.LimitTypePod, corev1.LimitTypePersistentVolumeClaim}

// countsSpaces says why a claim must not limit what the driver itself limits, to
// keep pods in the space from asking for spaces.
func countsSpaces(name, driver string) string {
	if strings.HasSuffix(name, corev1.ResourceClaimsPerClass) ||
		strings.HasPrefix(name, corev1.ResourceImplicitExtendedClaimsPerClass) ||
		strings.HasPrefix(name, corev1.DefaultResourceRequestsPrefix+driver+"/") {
		return "how many spaces there can be in a space is the class's to say"
	}
	return ""
}

// validateQuota asks of each name why it is reserved, if there is somebody to ask.
func validateQuota(quota corev1.ResourceList, reserved func(name string) string) field.ErrorList {
	at := field.NewPath("resourceQuota")
	problems := validateSize(len(quota), at)
	for _, name := range slices.Sorted(maps.Keys(quota)) {
		at := at.Key(shortened(string(name)))
		problems = append(problems, validateResource(name, at, slices.Concat(counted, measured), corev1.ResourceHugePagesPrefix, corev1.ResourceRequestsHugePagesPrefix)...)
		if reserved != nil {
			if why := reserved(string(name)); why != "" {
				problems = append(problems, field.Forbidden(at, why))
			}
		}
		value := quota[name]
		problems = append(problems, validateQuantity(value, at)...)
		if isCounted(name) && value.MilliValue()%1000 != 0 {
			problems = append(problems, invalid(at, value.String(), "must be an integer"))
		}
	}
	return problems
}

// isCounted says that there are no fractions of a resource: of Kubernetes' objects,
// and of what other domains define.
func isCounted(name corev1.ResourceName) bool {
	return slices.Contains(counted, name) || !isNative(name) && !strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
}

func isNative(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// validateResource is about the name of a resource: one of Kubernetes' own, by name
// or prefix, or one of another domain.
func validateResource(name corev1.ResourceName, at *field.Path, known []corev1.ResourceName, prefixes ...string) (problems field.ErrorList) {
	for _, msg := range validation.IsQualifiedName(string(name)) {
		problems = append(problems, invalid(at, name, msg))
	}
	if len(problems) > 0 || strings.Contains(string(name), "/") || slices.Contains(known, name) {
		return problems
	}
	if slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(string(name), prefix) }) {
		return nil
	}
	return field.ErrorList{invalid(at, name, "must be a resource that Kubernetes knows here, or have a domain")}
}

func validateQuantity(value resource.Quantity, at *field.Path) field.ErrorList {
	if value.Sign() >= 0 {
		return nil
	}
	return field.ErrorList{invalid(at, value.String(), "must not be negative")}
}

func validateLimitRange(items []corev1.LimitRangeItem) field.ErrorList {
	at := field.NewPath("limitRange")
	problems := validateSize(len(items), at)
	var seen []corev1.LimitType
	for i := range items {
		at := at.Index(i)
		item := &items[i]
		switch {
		case !slices.Contains(limitTypes, item.Type):
			problems = append(problems, field.NotSupported(at.Child("type"), corev1.LimitType(shortened(string(item.Type))), limitTypes))
		case slices.Contains(seen, item.Type):
			problems = append(problems, field.Duplicate(at.Child("type"), item.Type))
		default:
			problems = append(problems, validateLimits(item, at)...)
		}
		seen = append(seen, item.Type)
	}
	return problems
}

// bound is one of the lists in a LimitRangeItem.
type bound struct {
	field, name string
	values      corev1.ResourceList
}

func validateLimits(item *corev1.LimitRangeItem, at *field.Path) (problems field.ErrorList) {
	validateName := func(name corev1.ResourceName, at *field.Path) field.ErrorList {
		if item.Type == corev1.LimitTypePersistentVolumeClaim {
			return validateResource(name, at, []corev1.ResourceName{corev1.ResourceStorage})
		}
		return validateResource(name, at, inContainers, corev1.ResourceHugePagesPrefix)
	}
	// In the order in which their values have to be.
	bounds := []bound{
		{"min", "the minimum", item.Min},
		{"defaultRequest", "the default request", item.DefaultRequest},
		{"default", "the default limit", item.Default},
		{"max", "the maximum", item.Max},
	}
	for i, b := range bounds {
		at := at.Child(b.field)
		problems = append(problems, validateSize(len(b.values), at)...)
		if i%3 != 0 && item.Type == corev1.LimitTypePod && len(b.values) > 0 {
			problems = append(problems, field.Forbidden(at, "must not be given for type Pod"))
		}
		for _, name := range slices.Sorted(maps.Keys(b.values)) {
			at := at.Key(shortened(string(name)))
			problems = append(problems, validateName(name, at)...)
			value := b.values[name]
			problems = append(problems, validateQuantity(value, at)...)
			for _, upper := range bounds[i+1:] {
				if most, ok := upper.values[name]; ok && value.Cmp(most) > 0 {
					problems = append(problems, invalid(at, value.String(), fmt.Sprintf("must not be more than %s, %s", upper.name, most.String())))
				}
			}
		}
	}
	problems = append(problems, validateNotOvercommitted(item, at)...)
	problems = append(problems, validateRatio(item, at.Child("maxLimitRequestRatio"), validateName)...)
	if _, ok := item.Min[corev1.ResourceStorage]; !ok && item.Type == corev1.LimitTypePersistentVolumeClaim {
		if _, ok := item.Max[corev1.ResourceStorage]; !ok {
			problems = append(problems, field.Required(at, "type PersistentVolumeClaim needs a minimum or maximum of storage"))
		}
	}
	return problems
}

// validateNotOvercommitted is about huge pages and devices: requests equal limits.
func validateNotOvercommitted(item *corev1.LimitRangeItem, at *field.Path) (problems field.ErrorList) {
	for _, name := range slices.Sorted(maps.Keys(item.DefaultRequest)) {
		request := item.DefaultRequest[name]
		limit, ok := item.Default[name]
		if ok && request.Cmp(limit) != 0 && (!isNative(name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)) {
			problems = append(problems, invalid(at.Child("defaultRequest").Key(shortened(string(name))), request.String(), "must equal the default limit, "+limit.String()))
		}
	}
	return problems
}

func validateRatio(item *corev1.LimitRangeItem, at *field.Path, validateName func(corev1.ResourceName, *field.Path) field.ErrorList) field.ErrorList {
	problems := validateSize(len(item.MaxLimitRequestRatio), at)
	for _, name := range slices.Sorted(maps.Keys(item.MaxLimitRequestRatio)) {
		at := at.Key(shortened(string(name)))
		problems = append(problems, validateName(name, at)...)
		ratio := item.MaxLimitRequestRatio[name]
		if ratio.Cmp(resource.MustParse("1")) < 0 {
			problems = append(problems, invalid(at, ratio.String(), "must be at least 1"))
		}
		least, hasLeast := item.Min[name]
		most, hasMost := item.Max[name]
		product := ratio.DeepCopy()
		dec := product.AsDec()
		if dec.Mul(dec, least.AsDec()); hasLeast && hasMost && dec.Cmp(most.AsDec()) > 0 {
			problems = append(problems, invalid(at, ratio.String(), fmt.Sprintf("must not be more than the maximum by the minimum, %s / %s", most.String(), least.String())))
		}
	}
	return problems
}
