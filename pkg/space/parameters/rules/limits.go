// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	ratioField    = "maxLimitRequestRatio"
	notForPods    = "Forbidden: must not be given for type Pod"
	storageNeeded = "type PersistentVolumeClaim needs a minimum or maximum of storage"
)

// bound is one of the maps in a LimitRangeItem.
type bound struct{ field, name string }

// bounds are in the order in which their values have to be.
func bounds() []bound {
	return []bound{
		{"min", "the minimum"},
		{"defaultRequest", "the default request"},
		{"default", "the default limit"},
		{"max", "the maximum"},
	}
}

func limitTypes() []string {
	return []string{string(corev1.LimitTypeContainer), string(corev1.LimitTypePod), string(corev1.LimitTypePersistentVolumeClaim)}
}

// limitRange is about the field limits of a LimitRange.
func limitRange() items {
	return items{most: len(limitTypes()), item: limits{}, distinct: ".type"}
}

// limits is about one item of it. What has to fit together is looked at when each
// value is as it should be.
type limits struct{}

// form is about the values, each on its own. Those of an unknown type are not looked at.
func (limits) form(kind string) object {
	out := object{fields: []field{{"type", text{empty: true, rules: []rule{oneOf(limitTypes())}}}}}
	container := knownIn(inContainers(), corev1.ResourceHugePagesPrefix)
	volume := knownIn([]corev1.ResourceName{corev1.ResourceStorage})
	known := invalidIf(
		func(name string) bool {
			if kind == string(corev1.LimitTypePersistentVolumeClaim) {
				return volume.broken(name)
			}
			return container.broken(name)
		},
		func(name string) string {
			return fmt.Sprintf("(e.?type.orValue('') == %s ? %s : %s)", celString(string(corev1.LimitTypePersistentVolumeClaim)), volume.celBroken(name), container.celBroken(name))
		}, notKnown)
	keys := append(keyRules("a resource's name"), known)
	for _, b := range bounds() {
		out.fields = append(out.fields, field{b.field, entries{keys: keys, value: func(string) check { return newQuantity() }}})
	}
	out.fields = append(out.fields, field{ratioField, entries{keys: keys, least: true, value: func(string) check { return newQuantity(atLeastOne(nil)) }}})
	return out
}

func atLeastOne(celBroken func(word string) string) rule {
	return invalidIf(func(word string) bool { return compare(word, "1") < 0 }, celBroken, "must be at least 1")
}

func (l limits) problems(path string, value any) []string {
	item, _ := value.(map[string]any)
	kind, _ := item["type"].(string)
	out := l.form(kind).problems(path, value)
	if len(out) > 0 {
		return out
	}
	if item["type"] == nil {
		return firstBroken([]rule{oneOf(limitTypes())}, path+".type", "")
	}
	if kind == string(corev1.LimitTypePod) {
		for _, name := range []string{"defaultRequest", "default"} {
			if len(amounts(item, name)) > 0 {
				return []string{path + "." + name + ": " + notForPods}
			}
		}
	}
	for i, lower := range bounds() {
		for _, upper := range bounds()[i+1:] {
			out = append(out, together(path, item, lower.field, upper.field, func(_, least, most string) string {
				if compare(least, most) <= 0 {
					return ""
				}
				return "must not be more than " + upper.name + ", " + most
			})...)
		}
	}
	// Of huge pages and devices, requests equal limits.
	out = append(out, together(path, item, "defaultRequest", "default", func(name, request, limit string) string {
		if compare(request, limit) == 0 || isNative(name) && !strings.HasPrefix(name, corev1.ResourceHugePagesPrefix) {
			return ""
		}
		return "must equal the default limit, " + limit
	})...)
	out = append(out, together(path, item, ratioField, "max", func(name, ratio, most string) string {
		least, ok := amounts(item, "min")[name]
		if !ok || !exceeds(ratio, least, most) {
			return ""
		}
		return "must not be more than the maximum by the minimum, " + most + " / " + least
	})...)
	if kind == string(corev1.LimitTypePersistentVolumeClaim) && amounts(item, "min")["storage"] == "" && amounts(item, "max")["storage"] == "" {
		out = append(out, path+": Required value: "+storageNeeded)
	}
	return out
}

// amounts are the quantities in a map of an item.
func amounts(item map[string]any, name string) map[string]string {
	given, _ := item[name].(map[string]any)
	out := make(map[string]string, len(given))
	for key, value := range given {
		out[key], _ = quantityOf(value)
	}
	return out
}

// together tells what is wrong with those amounts that both maps have.
func together(path string, item map[string]any, one, other string, why func(name, one, other string) string) []string {
	var out []string
	others := amounts(item, other)
	for name, value := range maps.All(amounts(item, one)) {
		if with, ok := others[name]; ok {
			if words := why(name, value, with); words != "" {
				out = append(out, invalid(path+"."+one+"["+Shortened(name)+"]", value, words))
			}
		}
	}
	slices.Sort(out)
	return out
}

// cel goes through the maps of an item in loops: API servers take seconds to check
// the types of what is written out.
func (l limits) cel(path, value string) string {
	form := l.form("")
	kind, amounts := form.fields[0], form.fields[1:]
	var names []string
	for _, f := range amounts {
		names = append(names, f.name)
	}
	last := amounts[len(amounts)-1].check.(entries)
	last.value = func(string) check {
		return newQuantity(atLeastOne(func(word string) string {
			return fmt.Sprintf("b == %s && %s < 0", celString(ratioField), celCompare(word, "'1'"))
		}))
	}
	shape := fmt.Sprintf("(type(%[1]s) != map ? [%[2]s] : %[3]s + %[4]s + %[5]s.filter(b, b in %[1]s && %[1]s[b] != null).map(b, %[6]s).filter(l, size(l) > 0).map(l, l[0]))",
		value, celMistyped(path, value, "an object"), celLeast(form.celUnknownTexts(path+" + '.' + ", value)), kind.celIn(value, path+" + '.type'"),
		celList(names), last.cel(path+" + '.' + b", value+"[b]"))

	var pairs []string
	for i, lower := range bounds() {
		for _, upper := range bounds()[i+1:] {
			pairs = append(pairs, celList([]string{lower.field, upper.field, "must not be more than " + upper.name + ", "}))
		}
	}
	has := func(field string) string {
		return fmt.Sprintf("%[1]s in %[2]s && %[2]s[%[1]s] != null", field, value)
	}
	amount := func(field string) string { return fmt.Sprintf("string(%s[%s][k])", value, field) }
	both := func(one, other, broken, why string) string {
		return fmt.Sprintf("(%s && %s ? %s : [])", has(one), has(other), celLeast(fmt.Sprintf(
			"%[1]s[%[2]s].filter(k, k in %[1]s[%[3]s] && %[4]s).map(k, %[5]s + '.' + %[2]s + '[' + %[6]s + ']: Invalid value: ' + %[7]s + %[8]s + %[7]s + ': ' + %[9]s)",
			value, one, other, broken, path, celShortened("k"), celString(mark), amount(one), why)))
	}
	const least, most, request, limit, ratio = "'min'", "'max'", "'defaultRequest'", "'default'", "'" + ratioField + "'"
	is := func(kind corev1.LimitType) string { return value + ".type == " + celString(string(kind)) }
	fitting := strings.Join([]string{
		fmt.Sprintf("[%s].map(q, %s).filter(l, size(l) > 0).map(l, l[0])", strings.Join(pairs, ", "),
			both("q[0]", "q[1]", celCompare(amount("q[0]"), amount("q[1]"))+" > 0", "q[2] + "+amount("q[1]"))),
		both(request, limit,
			fmt.Sprintf("%s != 0 && (!%s || k.startsWith(%s))", celCompare(amount(request), amount(limit)), celNative("k"), celString(corev1.ResourceHugePagesPrefix)),
			"'must equal the default limit, ' + "+amount(limit)),
		both(ratio, most,
			fmt.Sprintf("%s && k in %s.min && %s", has(least), value, celExceeds(amount(ratio), amount(least), amount(most))),
			fmt.Sprintf("'must not be more than the maximum by the minimum, ' + %s + ' / ' + %s", amount(most), amount(least))),
		fmt.Sprintf("(%s && !['min', 'max'].exists(b, %s && 'storage' in %s[b]) ? [%s + ': Required value: %s'] : [])",
			is(corev1.LimitTypePersistentVolumeClaim), has("b"), value, path, storageNeeded),
	}, " + ")
	forbidden := fmt.Sprintf("['defaultRequest', 'default'].filter(b, %s && %s && size(%s[b]) > 0).map(b, %s + '.' + b + ': %s')",
		is(corev1.LimitTypePod), has("b"), value, path, notForPods)
	return fmt.Sprintf("[%s].map(form, size(form) > 0 ? form : !(%s) ? [%s] : [%s].map(not, size(not) > 0 ? not : %s)[0])[0]",
		shape, has("'type'"), oneOf(limitTypes()).celProblem(path+" + '.type'", "''"), forbidden, fitting)
}

// compare is of words that are quantities.
func compare(one, other string) int {
	a, b := parsed(one), parsed(other)
	return a.Cmp(b)
}

// celCompare is [compare].
func celCompare(one, other string) string {
	return fmt.Sprintf("quantity(%s).compareTo(quantity(%s))", one, other)
}

// exceeds says whether a product is more than a quantity.
func exceeds(ratio, least, most string) bool {
	product, factor, limit := parsed(ratio), parsed(least), parsed(most)
	dec := product.AsDec()
	return dec.Mul(dec, factor.AsDec()).Cmp(limit.AsDec()) > 0
}

// celExceeds is [exceeds], but for products that are hardly more: CEL knows no exact
// products of quantities.
func celExceeds(ratio, least, most string) string {
	return fmt.Sprintf("quantity(%s).asApproximateFloat() * quantity(%s).asApproximateFloat() > quantity(%s).asApproximateFloat() * 1.000000001", ratio, least, most)
}

// parsed is of a word of the right form, which the parser knows.
func parsed(word string) resource.Quantity {
	q, err := resource.ParseQuantity(word)
	if err != nil {
		return resource.Quantity{}
	}
	return q
}
