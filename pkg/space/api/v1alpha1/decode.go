// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
)

// DecodeSpaceClassConfig decodes and validates the opaque parameters of a
// DeviceClass for the driver of that name. It returns all errors together.
func DecodeSpaceClassConfig(raw []byte, driver string) (*SpaceClassConfig, field.ErrorList) {
	config := &SpaceClassConfig{}
	return config, decode(raw, config, SpaceClassConfigKind, func() field.ErrorList { return validateClass(config, driver) })
}

// DecodeSpaceClaimConfig decodes and validates the opaque parameters of a
// ResourceClaim for the driver of that name. It returns all errors together.
func DecodeSpaceClaimConfig(raw []byte, driver string) (*SpaceClaimConfig, field.ErrorList) {
	config := &SpaceClaimConfig{}
	return config, decode(raw, config, SpaceClaimConfigKind, func() field.ErrorList { return validateClaim(config, driver) })
}

// decode decodes an object of a kind field by field, so that one error does not hide others, and
// validates what it could decode.
func decode(raw []byte, into any, kind string, validate func() field.ErrorList) field.ErrorList {
	var object metav1.TypeMeta
	var fields map[string]json.RawMessage
	err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &object)
	if err != nil {
		return field.ErrorList{field.Invalid(nil, field.OmitValueType{}, err.Error())}
	}
	if object.APIVersion != APIVersion {
		return field.ErrorList{field.NotSupported(field.NewPath("apiVersion"), object.APIVersion, []string{APIVersion})}
	}
	if object.Kind != kind {
		return field.ErrorList{field.NotSupported(field.NewPath("kind"), object.Kind, []string{kind})}
	}
	duplicates, err := kjson.UnmarshalStrict(raw, &fields)
	if err != nil {
		return field.ErrorList{field.Invalid(nil, field.OmitValueType{}, err.Error())}
	}
	errs := strictErrors(duplicates)
	failed := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		found := decodeField(name, fields[name], into)
		failed[name] = len(found) > 0
		errs = append(errs, found...)
	}
	// Fields that could not be decoded are incomplete, and not validated.
	for _, err := range validate() {
		if root := strings.FieldsFunc(err.Field, func(r rune) bool { return r == '.' || r == '[' })[0]; !failed[root] {
			errs = append(errs, err)
		}
	}
	return errs
}

func decodeField(name string, raw json.RawMessage, into any) field.ErrorList {
	if name == "resourceQuota" || name == "limitRange" {
		if quantity := hugeQuantity(raw); quantity != "" {
			return field.ErrorList{field.Invalid(field.NewPath(name), quantity, "an exponent has at most two digits")}
		}
	}
	object, err := json.Marshal(map[string]json.RawMessage{name: raw})
	if err != nil {
		return field.ErrorList{field.Invalid(field.NewPath(name), field.OmitValueType{}, err.Error())}
	}
	strict, err := kjson.UnmarshalStrict(object, into)
	errs := strictErrors(strict)
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		name = mismatch.Field
	}
	if err != nil {
		errs = append(errs, field.Invalid(field.NewPath(name), field.OmitValueType{}, err.Error()))
	}
	return errs
}

// strictErrors converts the errors about unknown and duplicate fields, whose texts end with the path.
func strictErrors(errs []error) (out field.ErrorList) {
	for _, err := range errs {
		kind, path, _ := strings.Cut(err.Error(), " field ")
		out = append(out, &field.Error{Type: field.ErrorTypeForbidden, Field: strings.Trim(path, `"`), Detail: kind + " field"})
	}
	return out
}

// hugeExponent matches quantities with exponents of three digits or more. It takes minutes and
// gigabytes to parse or to compare those with exponents of nine digits.
var hugeExponent = regexp.MustCompile(`^[-+]?[0-9.]+[eE][-+]?[0-9]{3,}$`)

// hugeQuantity returns the first quantity in JSON that must not be parsed, or an empty string.
func hugeQuantity(raw json.RawMessage) string {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err != nil {
			return ""
		}
		text, ok := token.(string)
		if number, is := token.(json.Number); is {
			text, ok = number.String(), true
		}
		if ok && hugeExponent.MatchString(text) {
			return text
		}
	}
}
