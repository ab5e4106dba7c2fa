// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/space-dra/space-dra-driver/pkg/space/pools"
)

// pools describes the pools to publish.
func (o *Options) pools() (pools.Set, error) {
	set := pools.Set{
		Pools:             pools.Default(),
		NodeSelector:      o.NodeSelector,
		Exclusive:         o.ExclusiveDevices,
		BindingConditions: o.BindingConditions,
	}
	if o.PoolsFile == "" {
		return set, nil
	}
	var err error
	if set.Pools, err = pools.Load(o.PoolsFile); err != nil {
		return pools.Set{}, err
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
		return pools.Set{}, fmt.Errorf("invalid pool configuration in %s: %w", o.PoolsFile, err)
	}
	return set, nil
}
