// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package parameters

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

const (
	// maxProblems and maxValue keep what is said short: an event's message has room
	// for 1024 bytes.
	maxProblems = 3
	maxValue    = 100
)

// keyed are the fields with keys of the user's choice, which errors name.
var keyed = []string{"labels", "annotations", "resourceQuota", "parameters"}

// longExponent are quantities that take Kubernetes' parser, or a comparison, seconds
// to minutes and gigabytes.
var longExponent = regexp.MustCompile(`^[-+.0-9]+[eE][-+]?0*[1-9][0-9]{2,}$`)

// object is a config that was read, with the fields that it gives. That tells what
// is false from what is absent.
type object[T any] struct {
	config T
	fields map[string]json.RawMessage
}

func (o object[T]) gives(name string) bool {
	value, ok := o.fields[name]
	return ok && string(value) != "null"
}

// read reads parameters of a kind that belongs in the given object.
func read[T any](raw []byte, kind string) (object[T], error) {
	var out object[T]
	var meta metav1.TypeMeta
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &meta); err != nil {
		return out, fmt.Errorf("that cannot be read: %w", err)
	}
	ours := meta.APIVersion == spaceapi.APIVersion
	switch {
	case ours && meta.Kind == kind:
	case ours && meta.Kind == spaceapi.SpaceClassConfigKind:
		return out, fmt.Errorf("of kind %s, which only a DeviceClass can have", meta.Kind)
	case ours && meta.Kind == spaceapi.SpaceClaimConfigKind:
		return out, fmt.Errorf("of kind %s, which only a ResourceClaim can have", meta.Kind)
	default:
		return out, fmt.Errorf("of unknown kind %s, apiVersion %s: this version knows %s, in a DeviceClass, and %s, in a ResourceClaim, both of %s",
			quoted(meta.Kind), quoted(meta.APIVersion), spaceapi.SpaceClassConfigKind, spaceapi.SpaceClaimConfigKind, spaceapi.APIVersion)
	}
	if problem := checkQuantities(raw); problem != nil {
		return out, wrong(problem)
	}
	strict, err := kjson.UnmarshalStrict(raw, &out.config)
	if err != nil {
		return out, wrong(blame[T](raw, err))
	}
	if len(strict) > 0 {
		return out, wrong(summary(strict))
	}
	if err := json.Unmarshal(raw, &out.fields); err != nil {
		return out, fmt.Errorf("that cannot be read: %w", err)
	}
	// In a map, null would count as an empty string or a quantity of zero.
	for _, name := range keyed {
		var entries map[string]json.RawMessage
		if err := json.Unmarshal(out.fields[name], &entries); err != nil {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			if string(entries[key]) == "null" {
				return out, wrong(field.Invalid(field.NewPath(name).Key(shortened(key)), "null", "must have a value"))
			}
		}
	}
	return out, nil
}

// checkQuantities looks at the places where quantities are expected, before they
// are parsed. It goes by tokens, because it has to see duplicate fields too.
func checkQuantities(raw []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	depth, top, isKey := 0, "", false
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the quantities: %w", err)
		}
		switch token := token.(type) {
		case json.Delim:
			depth += map[json.Delim]int{'{': 1, '[': 1, '}': -1, ']': -1}[token]
		default:
			if isKey && depth == 1 {
				top, isKey = fmt.Sprint(token), false
				continue
			}
			value := strings.TrimSpace(fmt.Sprint(token))
			if (top == "resourceQuota" || top == "limitRange") && longExponent.MatchString(value) {
				return field.Invalid(field.NewPath(top), shortened(value), "must have an exponent of at most two digits")
			}
		}
		// At the top, keys and values take turns.
		isKey = depth == 1
	}
}

// blame names the field that cannot be read: the errors of durations and quantities
// do not.
func blame[T any](raw []byte, cause error) error {
	reads := func(names ...string) func(json.RawMessage) error {
		return func(value json.RawMessage) error {
			for _, name := range slices.Backward(names) {
				value, _ = json.Marshal(map[string]json.RawMessage{name: value})
			}
			var into T
			return kjson.UnmarshalCaseSensitivePreserveInts(value, &into)
		}
	}
	found := firstWrong(raw, func(name string) func(json.RawMessage) error { return reads(name) })
	if found == nil {
		return cause
	}
	path := field.NewPath(shortened(found.name))
	if slices.Contains(keyed, found.name) {
		if entry := firstWrong(found.value, func(key string) func(json.RawMessage) error { return reads(found.name, key) }); entry != nil {
			path, found = path.Key(shortened(entry.name)), entry
		}
	}
	var text string
	if json.Unmarshal(found.value, &text) != nil {
		text = string(found.value)
	}
	return field.Invalid(path, shortened(text), shortened(found.why.Error()))
}

// unreadable is a field that cannot be read.
type unreadable struct {
	name  string
	value json.RawMessage
	why   error
}

// firstWrong returns the first field of an object that cannot be read, by name.
func firstWrong(raw []byte, reads func(name string) func(json.RawMessage) error) *unreadable {
	var fields map[string]json.RawMessage
	// Of what is no object, no field is to blame.
	_ = json.Unmarshal(raw, &fields)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if err := reads(name)(fields[name]); err != nil {
			return &unreadable{name, fields[name], err}
		}
	}
	return nil
}

func wrong(problem error) error {
	return fmt.Errorf("that are not as they should be: %w", problem)
}

// summary joins problems, and leaves some out where there are many.
func summary[E error](problems []E) error {
	var errs []string
	for _, problem := range problems[:min(len(problems), maxProblems)] {
		text := problem.Error()
		// The decoder's own errors have fields' names in full.
		if _, ok := any(problem).(*field.Error); !ok {
			text = shortened(text)
		}
		errs = append(errs, text)
	}
	if more := len(problems) - len(errs); more > 0 {
		errs = append(errs, fmt.Sprintf("and %d more", more))
	}
	return errors.New(strings.Join(errs, "; "))
}

func shortened(value string) string {
	if len(value) <= maxValue {
		return value
	}
	return strings.ToValidUTF8(value[:maxValue], "") + "…"
}

func quoted(value string) string {
	return fmt.Sprintf("%q", shortened(value))
}

// invalid is the error about a value in parameters, which may be of any length.
func invalid[V ~string](path *field.Path, value V, detail string) *field.Error {
	return field.Invalid(path, shortened(string(value)), detail)
}
