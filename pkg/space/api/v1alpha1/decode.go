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

	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
)

// DecodeSpaceClassConfig decodes and validates the opaque parameters of a
// DeviceClass for the driver of that name. It returns all errors together.
func DecodeSpaceClassConfig(raw []byte, driver string) (*SpaceClassConfig, field.ErrorList) {
	config := &SpaceClassConfig{}
	return config, decode(raw, config, SpaceClassConfigKind, func() field.ErrorList { return ValidateSpaceClassConfig(config, driver) })
}

// DecodeSpaceClaimConfig decodes and validates the opaque parameters of a
// ResourceClaim for the driver of that name. It returns all errors together.
func DecodeSpaceClaimConfig(raw []byte, driver string) (*SpaceClaimConfig, field.ErrorList) {
	config := &SpaceClaimConfig{}
	return config, decode(raw, config, SpaceClaimConfigKind, func() field.ErrorList { return ValidateSpaceClaimConfig(config, driver) })
}

// decode decodes an object field by field, so that one error does not hide others.
func decode(raw []byte, into any, kind string, validate func() field.ErrorList) field.ErrorList {
	var fields map[string]json.RawMessage
	duplicates, err := kjson.UnmarshalStrict(raw, &fields)
	if err != nil {
		return field.ErrorList{field.TypeInvalid(nil, field.OmitValueType{}, "must be an object: "+err.Error())}
	}
	if errs := slices.Concat(constant(fields, "apiVersion", APIVersion), constant(fields, "kind", kind)); len(errs) > 0 {
		return errs
	}
	errs := strictErrors(duplicates)
	failed := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		strict, err := decodeField(name, fields[name], into)
		found := strictErrors(strict)
		if err != nil {
			found = append(found, err)
		}
		failed[name] = len(found) > 0
		errs = append(errs, found...)
	}
	// What could not be decoded is incomplete: its values say nothing.
	for _, err := range validate() {
		if root := strings.FieldsFunc(err.Field, func(r rune) bool { return r == '.' || r == '[' })[0]; !failed[root] {
			errs = append(errs, err)
		}
	}
	return errs
}

// constant returns an error unless the field has this value.
func constant(fields map[string]json.RawMessage, name, want string) field.ErrorList {
	var got any
	if raw, given := fields[name]; given {
		if err := json.Unmarshal(raw, &got); err != nil {
			got = string(raw)
		}
	}
	if got == want {
		return nil
	}
	if got == nil {
		got = ""
	}
	return field.ErrorList{field.NotSupported(field.NewPath(name), got, []string{want})}
}

func decodeField(name string, raw json.RawMessage, into any) (strict []error, invalid *field.Error) {
	path := field.NewPath(name)
	if name == "resourceQuota" || name == "limitRange" {
		if quantity := hugeQuantity(raw); quantity != "" {
			return nil, field.Invalid(path, quantity, "an exponent has at most two digits")
		}
	}
	object, err := json.Marshal(map[string]json.RawMessage{name: raw})
	if err != nil {
		return nil, field.Invalid(path, field.OmitValueType{}, err.Error())
	}
	strict, err = kjson.UnmarshalStrict(object, into)
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &mismatch):
		return strict, &field.Error{Type: field.ErrorTypeTypeInvalid, Field: mismatch.Field, BadValue: field.OmitValueType{}, Detail: "must be a " + typeName(mismatch) + ", not a " + mismatch.Value}
	case err != nil:
		return strict, field.Invalid(path, field.OmitValueType{}, err.Error())
	}
	return strict, nil
}

// typeName is what users call a type of Go.
func typeName(mismatch *json.UnmarshalTypeError) string {
	switch mismatch.Type.Kind().String() {
	case "map", "struct":
		return "map"
	case "slice":
		return "list"
	case "bool":
		return "boolean"
	default:
		return "string"
	}
}

func strictErrors(errs []error) (out field.ErrorList) {
	for _, err := range errs {
		kind, path, _ := strings.Cut(err.Error(), " field ")
		out = append(out, &field.Error{Type: field.ErrorTypeForbidden, Field: strings.Trim(path, `"`), Detail: kind + " field"})
	}
	return out
}

// It takes minutes and gigabytes to parse or to compare quantities with exponents of
// nine digits.
var hugeExponent = regexp.MustCompile(`^[-+]?[0-9.]+[eE][-+]?[0-9]{3,}$`)

// hugeQuantity returns a quantity that must not be parsed, or nothing.
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
