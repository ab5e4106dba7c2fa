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

const ratioField = "maxLimitRequestRatio"

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
	atLeastOne := invalidIf(
		func(word string) bool { return compare(word, "1") < 0 },
		func(word string) string { return celCompare(word, "'1'") + " < 0" }, "must be at least 1")
	out.fields = append(out.fields, field{ratioField, entries{keys: keys, value: func(string) check { return newQuantity(atLeastOne) }}})
	return out
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
				return []string{path + "." + name + ": Forbidden: must not be given for type Pod"}
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
		out = append(out, path+": Required value: type PersistentVolumeClaim needs a minimum or maximum of storage")
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

func (l limits) cel(path, value string) string {
	is := func(kind corev1.LimitType) string { return value + ".type == " + celString(string(kind)) }
	has := func(name string) string {
		return fmt.Sprintf("has(%[1]s.%[2]s) && %[1]s.%[2]s != null", value, name)
	}
	var lists []string
	both := func(one, other, broken, why string) {
		lists = append(lists, fmt.Sprintf("(%s && %s ? %s : [])", has(one), has(other), celSorted(fmt.Sprintf(
			"%[1]s.%[2]s.filter(k, k in %[1]s.%[3]s && %[4]s).map(k, %[5]s + %[6]s + %[7]s + ']: Invalid value: ' + %[8]s + string(%[1]s.%[2]s[k]) + %[8]s + ': ' + %[9]s)",
			value, one, other, broken, path, celString("."+one+"["), celShortened("k"), celString(mark), why))))
	}
	amount := func(name string) string { return fmt.Sprintf("string(%s.%s[k])", value, name) }
	for i, lower := range bounds() {
		for _, upper := range bounds()[i+1:] {
			both(lower.field, upper.field, celCompare(amount(lower.field), amount(upper.field))+" > 0",
				celString("must not be more than "+upper.name+", ")+" + "+amount(upper.field))
		}
	}
	both("defaultRequest", "default",
		fmt.Sprintf("%s != 0 && (!%s || k.startsWith(%s))", celCompare(amount("defaultRequest"), amount("default")), celNative("k"), celString(corev1.ResourceHugePagesPrefix)),
		"'must equal the default limit, ' + "+amount("default"))
	both(ratioField, "max",
		fmt.Sprintf("%s && k in %s.min && %s", has("min"), value, celExceeds(amount(ratioField), amount("min"), amount("max"))),
		fmt.Sprintf("'must not be more than the maximum by the minimum, ' + %s + ' / ' + %s", amount("max"), amount("min")))
	lists = append(lists, fmt.Sprintf("(%s && !(%s && 'storage' in %s.min) && !(%s && 'storage' in %[3]s.max) ? [%[5]s + ': Required value: type PersistentVolumeClaim needs a minimum or maximum of storage'] : [])",
		is(corev1.LimitTypePersistentVolumeClaim), has("min"), value, has("max"), path))

	fitting := strings.Join(lists, " + ")
	for _, name := range []string{"default", "defaultRequest"} {
		fitting = fmt.Sprintf("%s && %s && size(%s.%s) > 0 ? [%s + '.%s: Forbidden: must not be given for type Pod'] : %s", is(corev1.LimitTypePod), has(name), value, name, path, name, fitting)
	}
	known := oneOf(limitTypes())
	return fmt.Sprintf("[%s].map(form, size(form) > 0 ? form : !(%s) ? [%s] : %s)[0]", l.form("").cel(path, value), has("type"), known.celProblem(path+" + '.type'", "''"), fitting)
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
