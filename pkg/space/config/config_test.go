// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

func TestDecodeRecorded_isTheReverseOfEncode(t *testing.T) {
	for _, fields := range []string{``, everyClassField} {
		space, err := resolve(settings, configs{opaque(ours, class, classJSON(fields))}, "space", []string{"space"})
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

func TestDecodeRecorded_rejectsDamagedText(t *testing.T) {
	for _, record := range []string{
		``, `{}`, `null`, `[]`, `{"clusterRoles":["edit"],"network":{"mode":"Open"}`,
		`{"clusterRoles":["edit"],"network":"Open"}`,
		`{"clusterRoles":[],"network":{"mode":"Open"}}`,
		`{"clusterRoles":[""],"network":{"mode":"Open"}}`,
		`{"clusterRoles":["edit"]}`,
		`{"clusterRoles":["edit"],"network":{"mode":"Anything"}}`,
		`{"clusterRoles":["edit"],"network":{"mode":"Open"},"newer":true}`,
		`{"clusterRoles":["edit"],"network":{"mode":"Open"},"network":{"mode":"Isolated"}}`,
		`{"clusterRoles":["edit"],"network":{"mode":"Open"},"retention":"-1h"}`,
		`{"clusterRoles":["edit"],"network":{"mode":"Open"},"clusterWideRoles":"admin"}`,
	} {
		if got, err := config.DecodeRecorded(record); err == nil || !reflect.DeepEqual(got, config.Recorded{}) {
			t.Errorf("%s: got %+v, error %v", record, got, err)
		}
	}
}
