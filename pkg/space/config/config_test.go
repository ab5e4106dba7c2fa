// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"maps"
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

func TestDecodeRecorded_returnsWhatWasEncoded(t *testing.T) {
	for _, fields := range []string{``, everyClassField} {
		space, err := resolve(settings, configs{opaque(ours, class, classJSON(fields))}, "space", []string{"space"})
		if err != nil {
			t.Fatal(err)
		}
		record := space.Encode()
		got, err := config.DecodeRecorded(record)
		if err != nil || !equality.Semantic.DeepEqual(got, space.Recorded) {
			t.Errorf("of %s: got %+v, error %v, want %+v", record, got, err, space.Recorded)
		}
	}
}

// Nothing of a damaged record may be relied on.
func TestDecodeRecorded_refusesDamagedText(t *testing.T) {
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
			t.Errorf("of %s: got %+v, error %v", record, got, err)
		}
	}
}

func TestSpaceConfigInherit_keepsLabelsOfTheClass(t *testing.T) {
	space := config.SpaceConfig{Labels: map[string]string{"team": "class"}, InheritLabels: []string{"team", "cost-center", "absent"}}
	space.Inherit(map[string]string{"team": "namespace", "cost-center": "4711", "other": "x"})
	if want := map[string]string{"team": "class", "cost-center": "4711"}; !maps.Equal(space.Labels, want) {
		t.Errorf("got %v, want %v", space.Labels, want)
	}
}
