// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

// resourceQuota limits what is used in the space. It is nil if neither the class, the claim nor
// the budget of a pool sets a limit.
func resourceQuota(meta metav1.ObjectMeta, result allocation.Result, space config.Recorded) *corev1.ResourceQuota {
	space.LimitQuota(result.ConsumedCapacity)
	if space.ResourceQuota == nil || len(space.ResourceQuota.Hard) == 0 {
		return nil
	}
	spec := *space.ResourceQuota.DeepCopy()
	spec.Hard = rounded(spec.Hard)
	return &corev1.ResourceQuota{ObjectMeta: meta, Spec: spec}
}

// limitRange limits single containers, pods and volumes. It is nil if there are no limits.
func limitRange(meta metav1.ObjectMeta, space config.Recorded) *corev1.LimitRange {
	if space.LimitRange == nil || len(space.LimitRange.Limits) == 0 {
		return nil
	}
	out := &corev1.LimitRange{ObjectMeta: meta}
	for _, item := range space.LimitRange.Limits {
		item = *item.DeepCopy()
		for _, list := range []*corev1.ResourceList{&item.Max, &item.Min, &item.Default, &item.DefaultRequest, &item.MaxLimitRequestRatio} {
			*list = rounded(*list)
		}
		if item.Type == corev1.LimitTypeContainer {
			item.Default = completed(item.Default, item.Max)
			item.DefaultRequest = completed(completed(item.DefaultRequest, item.Default), item.Min)
		}
		out.Spec.Limits = append(out.Spec.Limits, item)
	}
	return out
}

// rounded rounds quantities up, as the API server does. Otherwise the object would differ from
// the one in the cluster.
func rounded(list corev1.ResourceList) corev1.ResourceList {
	out := maps.Clone(list)
	for name, quantity := range out {
		quantity = quantity.DeepCopy()
		quantity.RoundUp(resource.Milli)
		out[name] = quantity
	}
	return out
}

// completed adds resources that a list lacks from another list, as the API server does for the
// limits of containers.
func completed(list, from corev1.ResourceList) corev1.ResourceList {
	out := maps.Clone(from)
	if out == nil {
		return list
	}
	maps.Copy(out, list)
	return out
}
