// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"fmt"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// CheckDriverName says what is wrong with a name for the driver. The rules are
// those of ResourceSlice.spec.driver.
func CheckDriverName(name string) error {
	if len(name) > resourceapi.DriverNameMaxLength {
		return fmt.Errorf("driver name %q: must have at most %d characters", name, resourceapi.DriverNameMaxLength)
	}
	if msgs := validation.IsDNS1123Subdomain(name); len(msgs) > 0 {
		return fmt.Errorf("driver name %q: %s", name, strings.Join(msgs, ", "))
	}
	return nil
}
