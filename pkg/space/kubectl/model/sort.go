// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/util/jsonpath"
)

// sortKeys are the short names of what spaces can be sorted by.
var sortKeys = map[string]string{
	"age": "{.metadata.creationTimestamp}", "claim": "{.metadata.name}", "namespace": "{.metadata.namespace}",
	"space": "{.space}", "state": "{.state}", "pods": "{.pods}", "nodes": "{.nodes}", "pool": "{.pool}", "quota": "{.quota[0].percent}",
}

// SortKeys are the short names of what spaces can be sorted by.
func SortKeys() []string {
	out := make([]string, 0, len(sortKeys))
	for key := range sortKeys {
		out = append(out, key)
	}
	slices.Sort(out)
	return out
}

// Sort sorts spaces by one of SortKeys or a JSONPath. By age, the youngest come first;
// what has no value comes first too.
func Sort(spaces []Space, by string) error {
	if by == "" {
		return nil
	}
	expression, short := sortKeys[by]
	if !short {
		expression = by
		if !strings.HasPrefix(expression, "{") {
			expression = "{." + strings.TrimPrefix(expression, ".") + "}"
		}
	}
	path := jsonpath.New("sort").AllowMissingKeys(true)
	if err := path.Parse(expression); err != nil {
		return fmt.Errorf("sort by %q, which is neither a JSONPath nor one of %s: %w", by, strings.Join(SortKeys(), ", "), err)
	}
	type keyed struct {
		key   string
		space Space
	}
	all := make([]keyed, len(spaces))
	found := false
	for i, space := range spaces {
		raw, err := json.Marshal(space)
		if err != nil {
			return fmt.Errorf("sort by %q: %w", by, err)
		}
		var object any
		if err := json.Unmarshal(raw, &object); err != nil {
			return fmt.Errorf("sort by %q: %w", by, err)
		}
		var text strings.Builder
		// What is not there, such as the first quota of none, has no value.
		if err := path.Execute(&text, object); err == nil {
			found = found || text.Len() > 0
		}
		all[i] = keyed{text.String(), space}
	}
	if !found && !short && len(spaces) > 0 {
		return fmt.Errorf("sort by %q: no space has that field", by)
	}
	slices.SortStableFunc(all, func(a, b keyed) int {
		order := compare(a.key, b.key)
		if by == "age" {
			return -order
		}
		return order
	})
	for i := range all {
		spaces[i] = all[i].space
	}
	return nil
}

func compare(a, b string) int {
	if x, err := strconv.ParseFloat(a, 64); err == nil {
		if y, err := strconv.ParseFloat(b, 64); err == nil {
			return cmp.Compare(x, y)
		}
	}
	if x, err := time.Parse(time.RFC3339, a); err == nil {
		if y, err := time.Parse(time.RFC3339, b); err == nil {
			return x.Compare(y)
		}
	}
	return cmp.Compare(a, b)
}
