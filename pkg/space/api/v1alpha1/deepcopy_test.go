// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// The copies are generated: a new field must not be forgotten in them.
func TestACopyKeepsEverythingAndSharesNothing(t *testing.T) {
	for _, original := range []runtime.Object{&spaceapi.SpaceClassConfig{}, &spaceapi.SpaceClaimConfig{}} {
		value := reflect.ValueOf(original).Elem()
		t.Run(value.Type().Name(), func(t *testing.T) {
			change(value, "before")
			for i := range value.NumField() {
				if value.Field(i).IsZero() {
					t.Fatalf("field %s was not set", value.Type().Field(i).Name)
				}
			}
			before := asJSON(t, original)
			duplicate := original.DeepCopyObject()
			if !reflect.DeepEqual(original, duplicate) {
				t.Errorf("copied %s to %s", before, asJSON(t, duplicate))
			}
			change(value, "after")
			if asJSON(t, original) == before {
				t.Fatal("the original was not changed")
			}
			if got := asJSON(t, duplicate); got != before {
				t.Errorf("with the original, the copy changed from %s to %s", before, got)
			}
		})
	}
}

// change sets all strings to one, also those that are there already.
func change(value reflect.Value, to string) {
	if _, ok := value.Interface().(intstr.IntOrString); ok {
		value.Set(reflect.ValueOf(intstr.FromString(to)))
		return
	}
	switch value.Kind() {
	case reflect.String:
		value.SetString(to)
	case reflect.Bool:
		value.SetBool(true)
	case reflect.Int64:
		value.SetInt(value.Int() + 1)
	case reflect.Pointer:
		if value.IsNil() {
			value.Set(reflect.New(value.Type().Elem()))
		}
		change(value.Elem(), to)
	case reflect.Slice:
		if value.IsNil() {
			value.Set(reflect.MakeSlice(value.Type(), 1, 1))
		}
		change(value.Index(0), to)
	case reflect.Map:
		if value.IsNil() {
			value.Set(reflect.MakeMap(value.Type()))
		}
		key := reflect.New(value.Type().Key()).Elem()
		change(key, to)
		element := reflect.New(value.Type().Elem()).Elem()
		change(element, to)
		value.SetMapIndex(key, element)
	case reflect.Struct:
		for i := range value.NumField() {
			// Quantities have fields of their own, which are left at zero.
			if value.Field(i).CanSet() {
				change(value.Field(i), to)
			}
		}
	}
}

func asJSON(t *testing.T, object runtime.Object) string {
	t.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
