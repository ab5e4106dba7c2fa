// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/dynamic-resource-allocation/resourceslice"

	"github.com/space-dra/space-dra-driver/pkg/space/knownissues"
)

// resourcePublisher publishes ResourceSlices of the node in the background, and deletes others of the
// driver. [kubeletplugin.Helper] implements it.
type resourcePublisher interface {
	PublishResources(ctx context.Context, resources resourceslice.DriverResources) error
}

// syncNode watches the Node until ctx is done. It renews all tokens when the Node is replaced, and
// publishes the node's part of the pools, which select their nodes by labels. The slices remain: the
// kubelet deletes them if the plugin does not register again.
func (d *Driver) syncNode(ctx context.Context, helper resourcePublisher) error {
	var resources resourceslice.DriverResources
	publishes := len(d.Pools.Pools) > 0
	if !publishes {
		// There may be slices of an earlier process.
		if err := helper.PublishResources(ctx, resources); err != nil {
			return err
		}
	}
	nodes := make(chan *corev1.Node)
	synced, err := d.watchNode(ctx, nodes)
	if err != nil {
		return fmt.Errorf("watch Node %s: %w", d.Node, err)
	}
	var bound *types.UID // the UID that tokens are bound to, or nil if it is unknown
	var owner types.UID
	var labels map[string]string
	var kubelet string // its version
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-synced:
			synced = nil
			if bound == nil { // it was deleted before the watch began
				bound = new(types.UID)
				d.handleNodeReplacement(ctx, "")
			}
			continue
		case node := <-nodes:
			if bound != nil && *bound != node.UID {
				d.handleNodeReplacement(ctx, node.UID)
			}
			bound = &node.UID
			if now := node.Status.NodeInfo.KubeletVersion; now != kubelet {
				kubelet = now
				knownissues.Log(ctx, knownissues.Kubelet, kubelet)
			}
			if !publishes || node.UID == "" {
				continue
			}
			if owner == "" {
				d.features.Probe(ctx, d.Client, d.Driver, d.Node)
			} else if owner != node.UID {
				// The library would keep the previous owner, so that garbage collection would
				// delete the slices.
				return errors.New("the Node was recreated: restart to publish ResourceSlices that it owns")
			}
			owner, labels = node.UID, node.Labels
		case <-d.features.Changed():
		}
		// Publish only changes: each update resets the library's state about dropped fields.
		if now := d.Pools.NodeResources(d.Node, labels, d.features.Unsupported()); resources.Pools == nil || !equality.Semantic.DeepEqual(now, resources) {
			resources = now
			if err := helper.PublishResources(ctx, resources); err != nil {
				return err
			}
		}
	}
}

// watchNode sends the Node whenever it was added or changed, and one without a UID when it was
// deleted. It closes synced when it has sent the Node, or if the Node does not exist.
func (d *Driver) watchNode(ctx context.Context, nodes chan<- *corev1.Node) (synced <-chan struct{}, err error) {
	informer := coreinformers.NewFilteredNodeInformer(d.Client, 0, cache.Indexers{}, func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, d.Node).String()
	})
	send := func(node any) {
		select {
		case nodes <- node.(*corev1.Node):
		case <-ctx.Done():
		}
	}
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    send,
		UpdateFunc: func(_, node any) { send(node) },
		DeleteFunc: func(any) { send(&corev1.Node{}) },
	})
	if err != nil {
		return nil, err
	}
	go informer.RunWithContext(ctx)
	return registration.HasSyncedChecker().Done(), nil
}
