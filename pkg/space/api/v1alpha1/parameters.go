// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"encoding/json"
	"fmt"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CheckParameters refuses opaque parameters that this version does not know.
// It takes an allocation's configuration, in which the parameters of other
// drivers are passed over. The error names the object to change.
func CheckParameters(driver string, configs []resourceapi.DeviceAllocationConfiguration) error {
	for _, config := range configs {
		if config.Opaque == nil || config.Opaque.Driver != driver {
			continue
		}
		source := "ResourceClaim"
		if config.Source == resourceapi.AllocationConfigSourceClass {
			source = "DeviceClass"
		}
		var meta metav1.TypeMeta
		if err := json.Unmarshal(config.Opaque.Parameters.Raw, &meta); err != nil {
			return fmt.Errorf("the %s has parameters for driver %s that cannot be read: %w", source, driver, err)
		}
		return fmt.Errorf("the %s has parameters for driver %s of unknown kind %q, apiVersion %q: this version of the driver takes no parameters",
			source, driver, meta.Kind, meta.APIVersion)
	}
	return nil
}
