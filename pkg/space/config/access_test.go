// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

// An admission policy of the chart compares RoleBindings with this text.
const recordedAccess = `,"access":[` +
	`{"subjects":[{"kind":"Group","apiGroup":"rbac.authorization.k8s.io","name":"a b"},{"kind":"ServiceAccount","name":"c","namespace":"d"}],"clusterRole":"edit","when":"Ready"},` +
	`{"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"jane@example.com"}],"clusterRole":"view","when":"Always"}],`

func TestResolve_completesAccess(t *testing.T) {
	space, err := resolve(settings, configs{opaque(own, class, classJSON(`"access":[
		{"subjects":[{"kind":"Group","name":"a b"},{"kind":"ServiceAccount","name":"c","namespace":"d"}],"clusterRole":"edit"},
		{"subjects":[{"kind":"User","name":"jane@example.com","apiGroup":"rbac.authorization.k8s.io"}],"clusterRole":"view","when":"Always"}]`))}, "space", []string{"space"})
	if err != nil {
		t.Fatal(err)
	}
	record := space.Encode()
	if !strings.Contains(record, recordedAccess) {
		t.Errorf("recorded %s, want %s", record, recordedAccess)
	}
	if got, err := config.DecodeRecorded(record); err != nil || !equality.Semantic.DeepEqual(got, space.Recorded) {
		t.Errorf("got %+v, error %v", got, err)
	}
}
