// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pools

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/blang/semver/v4"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// maxLimit bounds the number of ResourceSlices: one has at most 128 dedicated devices.
const maxLimit = 10000

func validate(config Config) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("pools")
	if len(config.Pools) == 0 {
		errs = append(errs, field.Required(path, "must have a pool"))
	}
	seen := map[string]bool{}
	for i, p := range config.Pools {
		if seen[p.Name] {
			errs = append(errs, field.Duplicate(path.Index(i).Child("name"), p.Name))
		}
		seen[p.Name] = true
		errs = append(errs, p.validate(path.Index(i))...)
	}
	return errs
}

func (p Pool) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsDNS1123Label(p.Name) {
		errs = append(errs, field.Invalid(path.Child("name"), p.Name, msg))
	}
	errs = append(errs, validateLimit(p.Limit, path.Child("limit"))...)
	if p.PerNode != nil {
		path := path.Child("perNode")
		if p.PerNode.Limit == nil {
			errs = append(errs, field.Required(path.Child("limit"), "must be the number of spaces on each node"))
		}
		errs = append(errs, validateLimit(p.PerNode.Limit, path.Child("limit"))...)
		if p.Limit != nil || p.Budget != nil {
			errs = append(errs, field.Forbidden(path, "a pool with perNode cannot have limit or budget"))
		}
	}
	if p.Budget != nil {
		errs = append(errs, p.Budget.validate(path.Child("budget"))...)
	}
	errs = append(errs, metav1validation.ValidateLabels(p.NodeSelector, path.Child("nodeSelector"))...)
	for _, name := range slices.Sorted(maps.Keys(p.Attributes)) {
		errs = append(errs, validateAttribute(name, p.Attributes[name], path.Child("attributes").Key(name))...)
	}
	// A device can also have the capacity of the limit, and it has the attribute pool.
	maximum := resourceapi.ResourceSliceMaxAttributesAndCapacitiesPerDevice - 2
	if p.Budget != nil {
		maximum -= len(p.Budget.Total)
	}
	if len(p.Attributes) > maximum {
		errs = append(errs, field.TooMany(path.Child("attributes"), len(p.Attributes), maximum))
	}
	return errs
}

func validateLimit(limit *int64, path *field.Path) field.ErrorList {
	if limit != nil && (*limit < 1 || *limit > maxLimit) {
		return field.ErrorList{field.Invalid(path, *limit, validation.InclusiveRangeError(1, maxLimit))}
	}
	return nil
}

func validateAttribute(name string, value any, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsCIdentifier(name) {
		errs = append(errs, field.Invalid(path, name, msg))
	}
	if len(name) > resourceapi.DeviceMaxIDLength {
		errs = append(errs, field.TooLong(path, name, resourceapi.DeviceMaxIDLength))
	}
	if name == spaceapi.PoolAttribute {
		errs = append(errs, field.Forbidden(path, "the driver sets it to the name of the pool"))
	}
	if _, err := attribute(value); err != nil {
		errs = append(errs, field.Invalid(path, value, err.Error()))
	}
	return errs
}

// attribute converts an attribute of the configuration to one of a ResourceSlice.
func attribute(value any) (resourceapi.DeviceAttribute, error) {
	var a resourceapi.DeviceAttribute
	text := ""
	switch value := value.(type) {
	case string:
		a.StringValue, text = &value, value
	case bool:
		a.BoolValue = &value
	case int64:
		a.IntValue = &value
	case map[string]any:
		version, ok := value["version"].(string)
		if !ok || len(value) != 1 {
			return a, fmt.Errorf("a version is written as {version: %q}", "1.2.3")
		}
		if _, err := semver.Parse(version); err != nil {
			return a, fmt.Errorf("must be a semantic version: %w", err)
		}
		a.VersionValue, text = &version, version
	default:
		return a, fmt.Errorf("must be a string, an integer, a boolean, or {version: %q}", "1.2.3")
	}
	if len(text) > resourceapi.DeviceAttributeMaxValueLength {
		return a, fmt.Errorf("must have at most %d bytes", resourceapi.DeviceAttributeMaxValueLength)
	}
	return a, nil
}

func (b Budget) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(b.Total) == 0 {
		errs = append(errs, field.Required(path.Child("total"), "must have a capacity"))
	}
	for _, part := range []struct {
		name    string
		amounts map[string]resource.Quantity
	}{{"default", b.Default}, {"min", b.Min}, {"max", b.Max}, {"step", b.Step}} {
		for _, name := range slices.Sorted(maps.Keys(part.amounts)) {
			if _, found := b.Total[name]; !found {
				errs = append(errs, field.NotFound(path.Child(part.name).Key(name), path.Child("total").Key(name).String()))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.Total)) {
		if spaceapi.QuotaResource(name) == "" {
			errs = append(errs, field.NotSupported(path.Child("total").Key(name), name, spaceapi.BudgetCapacities()))
			continue
		}
		if _, found := b.Default[name]; !found {
			errs = append(errs, field.Required(path.Child("default").Key(name), "must be the amount for claims without a request"))
			continue
		}
		errs = append(errs, b.validateAmounts(name, path)...)
	}
	return errs
}

// validateAmounts validates the amounts of a capacity as the API server does.
func (b Budget) validateAmounts(name string, path *field.Path) field.ErrorList {
	total, amount, minimum := b.Total[name], b.Default[name], b.Min[name]
	maximum, limited := b.Max[name]
	if !limited {
		maximum = total
	}
	step, stepped := b.Step[name]
	var errs field.ErrorList
	invalid := func(part string, value resource.Quantity, msg string) {
		errs = append(errs, field.Invalid(path.Child(part).Key(name), value.String(), msg))
	}
	for _, q := range []struct {
		part  string
		value resource.Quantity
	}{{"total", total}, {"default", amount}, {"min", minimum}, {"max", maximum}, {"step", step}} {
		if q.value.Sign() < 0 || q.value.CmpInt64(math.MaxInt64/1000) > 0 {
			invalid(q.part, q.value, fmt.Sprintf("must be between 0 and %d", int64(math.MaxInt64/1000)))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	if total.IsZero() {
		invalid("total", total, "must be more than 0")
	}
	if maximum.Cmp(total) > 0 {
		invalid("max", maximum, "must not be more than the total, "+total.String())
	}
	if amount.Cmp(minimum) < 0 {
		invalid("default", amount, "must not be less than the minimum, "+minimum.String())
	}
	if amount.Cmp(maximum) > 0 {
		invalid("default", amount, "must not be more than the maximum, "+maximum.String())
	}
	if stepped {
		// Without the feature gate DRAFractionalCapacityRange, the scheduler takes 500m as 1. The
		// feature is not in effect in Kubernetes 1.37 while its minimum compatibility version is 1.36.
		for _, q := range []struct {
			part  string
			value resource.Quantity
		}{{"default", amount}, {"min", minimum}, {"step", step}} {
			if q.value.MilliValue()%1000 != 0 {
				invalid(q.part, q.value, "must be an integer if there is a step")
			}
		}
		if step.IsZero() {
			invalid("step", step, "must be more than 0")
		} else if (amount.MilliValue()-minimum.MilliValue())%step.MilliValue() != 0 {
			invalid("default", amount, fmt.Sprintf("must be a multiple of the step, %s, more than the minimum, %s", step.String(), minimum.String()))
		}
	}
	return errs
}
