// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// maker makes parameters that nobody thought of.
type maker struct {
	*rand.Rand
	// fields are names that mean something somewhere.
	fields []string
}

// words mean something to one rule or another, or are hard to show.
func words() []string {
	const driver = spaceapi.DefaultDriverName
	return []string{
		"", "a", "A", "ä", "a b", "x\ny", "x\x00", "\u200b", "\u2028", "\u00ad", "\ufffd", "…", "🎉", "\"\\'", "\x01", "a\x01b", "%", "*", ".", "..",
		"view", "Pod", "Container", "PersistentVolumeClaim", "Isolated", "Open", "baseline", "restricted", "privileged", "kube-root-ca.crt", "TEST", "1A", "A_",
		"1", "-1", "1e3", "1e300", "5.", ".5", "500m", "-0", "1000m", "1Gi", "E", "1E", "1e", " 1", "+1",
		"0", "0s", "8h", "90s", "1.5h", "-5m", "9999999h", "1999999.999h", "1h1h", "1s1h", "1µs", "10m", "9m", "1193047h", "h", "-",
		"/", "/a", "/a/", "//a", "/a/../b", "/a/.", "/proc", "/proc/1", "/usr", "/usr/bin/x", "/etc/x", "/...", "a/b", "a/b/c", "a.b/*", "*/a",
		"kubernetes.io/x", "a.k8s.io/b", "k8s.io/*", driver + "/x", "x." + driver + "/y", "pod-security.kubernetes.io/enforce", "kubernetes.io/metadata.name",
		"cpu", "memory", "pods", "storage", "hugepages-2Mi", "requests.hugepages-x", "requests.cpu", "count/x", "example.com/gpu", "requests.example.com/gpu",
		"requests." + driver + "/x", "x.deviceclass.resource.k8s.io/devices", "requests.deviceclass.resource.kubernetes.io/x",
	}
}

func (m maker) word() string {
	all := words()
	word := all[m.IntN(len(all))]
	switch m.IntN(30) {
	case 0:
		return strings.Repeat(word, 1+m.IntN(120))
	case 1:
		return word + all[m.IntN(len(all))]
	case 2:
		return string(rune(m.IntN(0x3000)))
	}
	return word
}

func (m maker) name() string {
	if m.IntN(2) == 0 {
		return m.fields[m.IntN(len(m.fields))]
	}
	return m.word()
}

// length is seldom more than anything may have.
func (m maker) length() int {
	if m.IntN(6) == 0 {
		return m.IntN(80)
	}
	return m.IntN(5)
}

func (m maker) value(depth int) any {
	kind := m.IntN(14)
	if depth > 3 {
		kind = m.IntN(8)
	}
	switch kind {
	case 0, 1, 2, 3:
		return m.word()
	case 4:
		return m.IntN(20) - 3
	case 5:
		numbers := []json.Number{"1.5", "-2.5", "1e3", "1e30", "1e300", "100000000000000000000000", "9223372036854775807", "0.0000001", "-0"}
		return numbers[m.IntN(len(numbers))]
	case 6:
		return m.IntN(2) == 0
	case 7:
		return nil
	case 8, 9:
		list := []any{}
		for range m.length() {
			list = append(list, m.value(depth+1))
		}
		return list
	}
	object := map[string]any{}
	for range m.length() {
		object[m.name()] = m.value(depth + 1)
	}
	return object
}

// limitRange is one whose items have the right form, at least.
func (m maker) limitRange() []any {
	names := []string{"cpu", "memory", "storage", "hugepages-2Mi", "example.com/gpu"}
	amounts := []any{"1", "2", "500m", "1.5", "1Gi", "1e3", "0", 3, 0.5}
	list := []any{}
	for range 1 + m.IntN(2) {
		item := map[string]any{"type": []string{"Container", "Pod", "PersistentVolumeClaim"}[m.IntN(3)]}
		for _, field := range []string{"min", "defaultRequest", "default", "max", "maxLimitRequestRatio"} {
			entries := map[string]any{}
			for range m.IntN(3) {
				entries[names[m.IntN(len(names))]] = amounts[m.IntN(len(amounts))]
			}
			if m.IntN(2) == 0 {
				item[field] = entries
			}
		}
		list = append(list, item)
	}
	return list
}

// changed is a value with a change somewhere in it.
func (m maker) changed(value any, depth int) any {
	if depth > 0 && m.IntN(4) == 0 {
		return m.value(depth)
	}
	switch value := value.(type) {
	case map[string]any:
		key := m.name()
		if keys := sortedKeys(value); len(keys) > 0 && m.IntN(3) > 0 {
			key = keys[m.IntN(len(keys))]
		}
		value[key] = m.changed(value[key], depth+1)
		return value
	case []any:
		if len(value) == 0 {
			return []any{m.value(depth + 1)}
		}
		i := m.IntN(len(value))
		value[i] = m.changed(value[i], depth+1)
		return value
	}
	return m.value(depth)
}

func sortedKeys(object map[string]any) []string {
	var keys []string
	for key := range object {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
