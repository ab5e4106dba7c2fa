// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"strings"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// Foreign says why parameters are not of the kind. It is empty if they are.
func (k Kind) Foreign(parameters map[string]any) string {
	kind, version := parameters["kind"], parameters["apiVersion"]
	switch {
	case version == spaceapi.APIVersion && kind == k.Name:
		return ""
	case version == spaceapi.APIVersion && kind == k.other:
		return k.misplaced()
	}
	return "of unknown kind " + shownKind(kind) + ", apiVersion " + shownKind(version) + knownKinds()
}

func (k Kind) misplaced() string {
	return fmt.Sprintf("of kind %s, which only a %s can have", k.other, k.elsewhere)
}

func knownKinds() string {
	return fmt.Sprintf(": this version knows %s, in a DeviceClass, and %s, in a ResourceClaim, both of %s", spaceapi.SpaceClassConfigKind, spaceapi.SpaceClaimConfigKind, spaceapi.APIVersion)
}

func shownKind(value any) string {
	if value == nil {
		value = ""
	}
	if word, ok := value.(string); ok {
		return Quoted(word)
	}
	return show(value)
}

// Problems tells what is wrong with parameters of the kind.
func (k Kind) Problems(parameters map[string]any) []string {
	k = k.complete()
	problems := k.unknown("", parameters)
	for _, f := range k.fields {
		if value := parameters[f.name]; value != nil {
			problems = append(problems, f.problems(f.name, value)...)
		}
	}
	for i := range problems {
		problems[i] = told(problems[i])
	}
	return problems
}

// complete adds the fields that every kind has, which are looked at by [Kind.Foreign].
func (k Kind) complete() Kind {
	k.fields = append([]field{{"apiVersion", text{}}, {"kind", text{}}}, k.fields...)
	return k
}

// NotAsTheyShouldBe is in front of problems.
const NotAsTheyShouldBe = "that are not as they should be: "

// Variable is an expression in CEL, with a name that others can use it by.
type Variable struct{ Name, Expression string }

// Variables returns variables for an admission policy. The last one, message, says
// what is wrong with the first of the parameters that are not as they should be: what
// the controller says of them. It is empty if there are none. configs is an expression
// for the list of a claim's or class's configurations, and of is what has them.
func (k Kind) Variables(driver, configs, of string) []Variable {
	k = k.complete()
	out := []Variable{
		{"given", fmt.Sprintf("%s.filter(c, has(c.opaque) && c.opaque.driver == %s).map(c, c.opaque.?parameters.orValue(null)).map(p, type(p) == map ? p : {})", configs, celString(driver))},
		{"foreign", "variables.given.map(p, " + k.celForeign("p") + ")"},
		// What is of another kind has nothing to look at.
		{"ours", "variables.given.transformList(i, p, variables.foreign[i] == '' ? p : {})"},
		{"unknown", "variables.ours.map(p, " + k.celUnknown("", "p") + ")"},
	}
	lists := []string{"variables.unknown[n]"}
	for _, f := range k.fields {
		out = append(out, Variable{f.name, "variables.ours.map(p, " + f.celIn("p", celString(f.name)) + ")"})
		lists = append(lists, "variables."+f.name+"[n]")
	}
	told := fmt.Sprintf("variables.foreign[n] != '' ? variables.foreign[n] : [%s].map(all, size(all) == 0 ? '' : %s + %s)[0]", strings.Join(lists, " + "), celString(NotAsTheyShouldBe), celSummary("all"))
	out = append(out,
		Variable{"wrong", "variables.given.transformList(n, p, " + told + ").filter(t, t != '')"},
		Variable{"message", fmt.Sprintf("size(variables.wrong) == 0 ? '' : %s + ' has parameters for driver %s ' + variables.wrong[0]", of, driver)})
	for i := range out {
		// Literals that were put together are one.
		out[i].Expression = strings.ReplaceAll(out[i].Expression, "' + '", "")
	}
	return out
}

// celForeign is [Kind.Foreign].
func (k Kind) celForeign(p string) string {
	word := func(name string) string {
		return fmt.Sprintf("[%s.?%s.orValue('')].map(w, w == null ? '\"\"' : type(w) == string ? %s : %s)[0]", p, name, celQuoted("w"), celShow("w"))
	}
	return fmt.Sprintf("%[1]s.?apiVersion.orValue('') == %[2]s && %[1]s.?kind.orValue('') == %[3]s ? '' : %[1]s.?apiVersion.orValue('') == %[2]s && %[1]s.?kind.orValue('') == %[4]s ? %[5]s : 'of unknown kind ' + %[6]s + ', apiVersion ' + %[7]s + %[8]s",
		p, celString(spaceapi.APIVersion), celString(k.Name), celString(k.other), celString(k.misplaced()), word("kind"), word("apiVersion"), celString(knownKinds()))
}

// Fields returns the names of the kind's fields.
func (k Kind) Fields() []string { return k.names() }
