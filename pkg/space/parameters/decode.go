// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package parameters

import (
	"errors"
	"fmt"
	"strings"

	kjson "sigs.k8s.io/json"

	"github.com/space-dra/space-dra-driver/pkg/space/parameters/rules"
)

// object is a config that was read, with the fields that it gives. That tells what
// is false from what is absent.
type object[T any] struct {
	config T
	fields map[string]any
}

func (o object[T]) gives(name string) bool { return o.fields[name] != nil }

// read reads parameters of a kind that keep its rules.
func read[T any](raw []byte, kind rules.Kind) (object[T], error) {
	var out object[T]
	strict, err := kjson.UnmarshalStrict(raw, &out.fields)
	if err != nil {
		return out, fmt.Errorf("that cannot be read: %w", err)
	}
	if why := kind.Foreign(out.fields); why != "" {
		return out, errors.New(why)
	}
	// Of a map, only what is given twice is told.
	problems := make([]string, 0, len(strict))
	for _, twice := range strict {
		name := strings.TrimSuffix(strings.TrimPrefix(twice.Error(), `duplicate field "`), `"`)
		problems = append(problems, "duplicate field "+rules.Quoted(name))
	}
	if problems = append(problems, kind.Problems(out.fields)...); len(problems) > 0 {
		return out, wrong(rules.Summary(problems))
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &out.config); err != nil {
		return out, wrong(err.Error())
	}
	return out, nil
}

func wrong(why string) error { return errors.New(rules.NotAsTheyShouldBe + why) }
