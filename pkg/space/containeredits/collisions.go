// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package containeredits

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
)

// If two spaces of a container set a variable or mount a directory, their order would decide which
// of them the container uses. The order of the requests of a claim is defined. The order of claims
// is not (k8s.io/kubernetes, pkg/kubelet/cm/dra/manager.go, GetResources).

// collisionMessages has the words of error messages about the spaces that are compared, which belong to requests
// of one claim, or to claims.
type collisionMessages struct {
	// plural and singular name the owners of the spaces.
	plural, singular string
	// variables, dirs and nested tell users what to do about variables with different values, equal
	// directories, and a directory below another.
	variables, dirs, nested string
}

var (
	// requestMessages is for the requests of a claim. The claim is rejected even if each container would
	// use only one of them, because the driver does not know which containers use which requests.
	requestMessages = collisionMessages{
		plural: "requests", singular: "request",
		variables: "set envPrefix, or use separate claims",
		dirs:      "set different values of mountPath, or use separate claims",
		nested:    "choose another mountPath",
	}
	// claimMessages is for the claims that a container uses.
	claimMessages = collisionMessages{
		plural: "ResourceClaims", singular: "ResourceClaim",
		variables: "set envPrefix, give one of them another name in the pod, or use them in different containers",
		dirs:      "set different values of mountPath, give one of them another name in the pod, or use them in different containers",
		nested:    "choose another mountPath, give one of them another name in the pod, or use them in different containers",
	}
)

// CheckClaims returns an error if a container cannot use the spaces of two claims together. It does
// not compare variables from the parameters of users and administrators: they do not decide which
// space a container uses, and users cannot change those of a class.
func CheckClaims(name string, edits []Edits, otherName string, others []Edits) error {
	var names []string
	var all []Edits
	for _, e := range edits {
		names, all = append(names, name), append(all, e.withoutParameters())
	}
	for _, e := range others {
		names, all = append(names, otherName), append(all, e.withoutParameters())
	}
	return checkCollisions(claimMessages, names, all)
}

// withoutParameters returns the edits without variables of parameters.
func (e Edits) withoutParameters() Edits {
	e.Env = slices.DeleteFunc(slices.Clone(e.Env), func(env string) bool {
		return strings.HasPrefix(env, adminPrefix) || strings.HasPrefix(env, userPrefix)
	})
	return e
}

// checkCollisions returns an error if a container cannot use spaces together. names are the names of
// their requests or claims. It does not compare spaces with the same name.
func checkCollisions(m collisionMessages, names []string, edits []Edits) error {
	if err := checkVariables(m, names, edits); err != nil {
		return err
	}
	return checkDirs(m, names, edits)
}

// checkVariables returns an error if a variable has two values.
func checkVariables(m collisionMessages, names []string, edits []Edits) error {
	type setting struct{ value, by string }
	seen := map[string]setting{}
	for i, e := range edits {
		for _, env := range e.Env {
			name, value, _ := strings.Cut(env, "=")
			if other, found := seen[name]; found && other.value != value {
				return fmt.Errorf("%s %s and %s set environment variable %s to different values: %s", m.plural, other.by, names[i], name, m.variables)
			}
			seen[name] = setting{value, names[i]}
		}
	}
	return nil
}

// checkDirs returns an error if two spaces have the same directory, or a directory is below
// another one: mounts are read-only, so that nothing can be mounted in them.
func checkDirs(m collisionMessages, names []string, edits []Edits) error {
	type mount struct{ dir, by string }
	var seen []mount
	for i, e := range edits {
		by := names[i]
		for _, dir := range e.Dirs {
			for _, other := range seen {
				switch here, there := resolveLinks(dir), resolveLinks(other.dir); {
				case here == there && by != other.by:
					return fmt.Errorf("%s %s and %s both have their files at %s: %s", m.plural, other.by, by, dir, m.dirs)
				case strings.HasPrefix(here, there+"/"):
					return m.nestedError(dir, by, other.dir, other.by)
				case strings.HasPrefix(there, here+"/"):
					return m.nestedError(other.dir, other.by, dir, by)
				}
			}
			seen = append(seen, mount{dir, by})
		}
	}
	return nil
}

// nestedError returns the error about a directory below another one.
func (m collisionMessages) nestedError(inner, innerBy, outer, outerBy string) error {
	return fmt.Errorf("the files of %[1]s %[2]s cannot be at %[3]s, because those of %[1]s %[4]s are at %[5]s, where nothing else can be mounted: %[6]s",
		m.singular, innerBy, inner, outerBy, outer, m.nested)
}

// resolveLinks replaces /var/run, which is a link to /run in nearly all images.
func resolveLinks(dir string) string {
	if below, found := strings.CutPrefix(dir, "/var/run/"); found {
		return "/run/" + below
	}
	return dir
}

// spaceNames returns the names of the spaces of an allocation in error messages: those of the requests.
func spaceNames(a *allocation.Allocation) []string {
	var out []string
	for _, result := range a.Results {
		out = append(out, cmp.Or(result.Subdir, result.Request))
	}
	return out
}
