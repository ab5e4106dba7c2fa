// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
)

// nodes follows the cluster's nodes, of which it knows names and labels only.
type nodes struct {
	store cache.Store
	// changed has something in it after nodes came, went or got other labels.
	changed chan struct{}
}

// followNodes follows the nodes with the labels until the context ends, and
// returns when it knows them all.
func followNodes(ctx context.Context, client metadata.Interface, selector map[string]string) (*nodes, error) {
	informer := metadatainformer.NewFilteredMetadataInformer(client, corev1.SchemeGroupVersion.WithResource("nodes"), "", 0, cache.Indexers{},
		func(options *metav1.ListOptions) {
			options.LabelSelector = labels.SelectorFromValidatedSet(selector).String()
		}).Informer()
	n := &nodes{store: informer.GetStore(), changed: make(chan struct{}, 1)}
	if err := informer.SetTransform(func(obj any) (any, error) {
		if node, ok := obj.(*metav1.PartialObjectMetadata); ok {
			node.Annotations, node.ManagedFields = nil, nil
		}
		return obj, nil
	}); err != nil {
		return nil, fmt.Errorf("follow nodes: %w", err)
	}
	handler, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { n.notice() },
		DeleteFunc: func(any) { n.notice() },
		UpdateFunc: func(before, after any) {
			was, is := before.(*metav1.PartialObjectMetadata), after.(*metav1.PartialObjectMetadata)
			if !maps.Equal(was.Labels, is.Labels) {
				n.notice()
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("follow nodes: %w", err)
	}
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
		return nil, errors.Join(errors.New("stopped before the nodes were read"), context.Cause(ctx))
	}
	return n, nil
}

func (n *nodes) notice() {
	select {
	case n.changed <- struct{}{}:
	default: // It was not looked at since the last change.
	}
}

// list returns the nodes in the order of their names.
func (n *nodes) list() []Node {
	var all []Node
	for _, obj := range n.store.List() {
		node := obj.(*metav1.PartialObjectMetadata)
		all = append(all, Node{Name: node.Name, Labels: node.Labels})
	}
	slices.SortFunc(all, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return all
}
