// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/space-dra/space-dra-driver/pkg/space/pool"
)

// pools describes the pools to publish.
func (o *Options) pools() (pool.Set, error) {
	set := pool.Set{
		Pools:             pool.Default(),
		NodeSelector:      o.NodeSelector,
		Exclusive:         o.ExclusiveDevices,
		BindingConditions: o.BindingConditions,
	}
	if o.PoolsFile == "" {
		return set, nil
	}
	var err error
	if set.Pools, err = pool.Load(o.PoolsFile); err != nil {
		return pool.Set{}, err
	}
	var errs field.ErrorList
	for i, p := range set.Pools {
		for key, value := range p.NodeSelector {
			if plugins, found := o.NodeSelector[key]; found && plugins != value {
				errs = append(errs, field.Invalid(field.NewPath("pools").Index(i).Child("nodeSelector").Key(key), value,
					fmt.Sprintf("the kubelet plugin runs only on nodes with %q", plugins)))
			}
		}
	}
	if err := errs.ToAggregate(); err != nil {
		return pool.Set{}, fmt.Errorf("the description of the pools in %s is not as it should be: %w", o.PoolsFile, err)
	}
	return set, nil
}
