// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package containeredits

import (
	"fmt"
	"strings"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
)

// A container may use all spaces of a claim. If two spaces set a variable or mount a
// directory, their order would decide which of them the container uses. The driver does not
// know which containers use which requests, so that it rejects the claim although each
// container might use only one.

// checkVariables returns an error if a variable has two values.
func checkVariables(a *allocation.Allocation, edits []Edits) error {
	type setting struct{ value, by string }
	seen := map[string]setting{}
	for i, e := range edits {
		by := label(a.Results[i])
		for _, env := range e.Env {
			name, value, _ := strings.Cut(env, "=")
			other, found := seen[name]
			if found && other.value != value {
				return fmt.Errorf("requests %s and %s set environment variable %s to different values: "+
					"set envPrefix, or use separate claims", other.by, by, name)
			}
			seen[name] = setting{value, by}
		}
	}
	return nil
}

// checkDirs returns an error if two spaces have the same directory, or a directory is below
// another one: mounts are read-only, so that nothing can be mounted in them.
func checkDirs(a *allocation.Allocation, edits []Edits) error {
	type mount struct{ dir, by string }
	var seen []mount
	for i, e := range edits {
		by := label(a.Results[i])
		for _, dir := range e.Dirs {
			for _, other := range seen {
				switch here, there := resolveLinks(dir), resolveLinks(other.dir); {
				case here == there && by != other.by:
					return fmt.Errorf("requests %s and %s both have their files at %s: "+
						"set different values of mountPath, or use separate claims", other.by, by, dir)
				case strings.HasPrefix(here, there+"/"):
					return nested(dir, by, other.dir, other.by)
				case strings.HasPrefix(there, here+"/"):
					return nested(other.dir, other.by, dir, by)
				}
			}
			seen = append(seen, mount{dir, by})
		}
	}
	return nil
}

func nested(inner, innerBy, outer, outerBy string) error {
	return fmt.Errorf("the files of request %s can't be at %s, because those of request %s are at %s, where nothing else can be mounted: choose another mountPath",
		innerBy, inner, outerBy, outer)
}

// resolveLinks returns where a directory is in nearly all images: /var/run is a link.
func resolveLinks(dir string) string {
	if below, found := strings.CutPrefix(dir, "/var/run/"); found {
		return "/run/" + below
	}
	return dir
}

// label returns the name of a space in messages.
func label(result allocation.Result) string {
	if result.Subdir != "" {
		return result.Subdir
	}
	return result.Request
}
