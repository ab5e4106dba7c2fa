// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

func TestDecodeRecorded_reversesEncode(t *testing.T) {
	for _, fields := range []string{``, everyClassField} {
		space, err := resolve(settings, configs{opaque(own, class, classJSON(fields))}, "space", []string{"space"})
		if err != nil {
			t.Fatal(err)
		}
		record := space.Encode()
		got, err := config.DecodeRecorded(record)
		if err != nil || !equality.Semantic.DeepEqual(got, space.Recorded) {
			t.Errorf("%s: got %+v, error %v, want %+v", record, got, err, space.Recorded)
		}
	}
}

// recordedGolden is what version v0.1.0 recorded of a space whose class has everyClassField. Later
// versions read it, too.
const recordedGolden = `{"clusterRoles":["edit"],"clusterWideRoles":["crds"],` +
	`"resourceQuota":{"hard":{"pods":"10","requests.cpu":"4"}},` +
	`"limitRange":{"limits":[{"type":"Container","default":{"cpu":"1"}}]},"network":{"mode":"Isolated"},` +
	`"copyFrom":{"namespace":"a","secrets":[{"name":"b"}],"configMaps":[{"name":"c"}],"imagePullSecrets":[{"name":"b"}]},` +
	`"maxLifetime":"8h0m0s","retention":"30m0s"}`

func TestDecodeRecorded_readsOtherVersions(t *testing.T) {
	space, err := resolve(settings, configs{opaque(own, class, classJSON(everyClassField))}, "space", []string{"space"})
	if err != nil {
		t.Fatal(err)
	}
	want := space.Recorded
	want.MaxExtension, want.RetentionWhen = metav1.Duration{}, "" // of later versions
	for version, record := range map[string]string{
		"v0.1.0": recordedGolden,
		"a newer one": strings.NewReplacer(`{"clusterRoles"`, `{"newer":{"x":1},"clusterRoles"`,
			`"mode"`, `"newer":[true],"mode"`, `"type"`, `"newer":"x","type"`).Replace(recordedGolden),
	} {
		got, err := config.DecodeRecorded(record)
		if err != nil || !equality.Semantic.DeepEqual(got, want) {
			t.Errorf("of %s: got %+v, error %v, want %+v", version, got, err, want)
		}
	}
}

// Nothing of a damaged record may be relied on.
func TestDecodeRecorded_rejectsDamagedText(t *testing.T) {
	for _, record := range []string{
		``, `{}`, `null`, `[]`, `{"clusterRoles":["edit"],"network":{"mode":"Open"}`,
		`{"clusterRoles":["edit"],"network":"Open"}`,
		`{"clusterRoles":[],"network":{"mode":"Open"}}`,
		`{"clusterRoles":[""],"network":{"mode":"Open"}}`,
		`{"clusterRoles":["edit"]}`,
		`{"clusterRoles":["edit"],"network":{"mode":"Anything"}}`,
		`{"clusterRoles":["edit"],"network":{"mode":"Open"},"network":{"mode":"Isolated"}}`,
		`{"clusterRoles":["edit"],"network":{"mode":"Open"},"retention":"-1h"}`,
		`{"clusterRoles":["edit"],"network":{"mode":"Open"},"maxExtension":"-1h"}`,
		`{"clusterRoles":["edit"],"network":{"mode":"Open"},"clusterWideRoles":"admin"}`,
	} {
		if got, err := config.DecodeRecorded(record); err == nil || !reflect.DeepEqual(got, config.Recorded{}) {
			t.Errorf("%s: got %+v, error %v", record, got, err)
		}
	}
}
