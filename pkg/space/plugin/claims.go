// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"

	"golang.org/x/sync/semaphore"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	resourceclient "k8s.io/client-go/kubernetes/typed/resource/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
)

// maxReads is how many full claims are in memory at the same time. Users can write claims of
// 1.5 MiB, which take up to 15 MiB when they are decoded.
const maxReads = 4

// claimReader reads claims, and limits the memory that large ones take: the plugin keeps claims
// stripped by [allocation.Strip], and has only maxReads full claims at the same time.
type claimReader struct {
	client kubernetes.Interface
	driver string
	reads  *semaphore.Weighted
}

func newClaimReader(client kubernetes.Interface, driver string) *claimReader {
	return &claimReader{client: client, driver: driver, reads: semaphore.NewWeighted(maxReads)}
}

// read calls use with a claim, which use must not keep. The error is that of the API server.
func (r *claimReader) read(ctx context.Context, name types.NamespacedName, use func(*resourceapi.ResourceClaim)) error {
	if err := r.reads.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait to read ResourceClaim %s: %w", name, err)
	}
	defer r.reads.Release(1)
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	claim, err := r.client.ResourceV1().ResourceClaims(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	if err == nil {
		use(claim)
	}
	return err
}

// get returns a stripped claim.
func (r *claimReader) get(ctx context.Context, name types.NamespacedName) (claim *resourceapi.ResourceClaim, err error) {
	err = r.read(ctx, name, func(full *resourceapi.ResourceClaim) { claim = allocation.Strip(full, r.driver) })
	return claim, err
}

// withParameters calls use with a claim that has its parameters, which use must not keep. It reads
// the claim if it is truncated. The error is that of the API server.
func (r *claimReader) withParameters(ctx context.Context, claim *resourceapi.ResourceClaim, use func(*resourceapi.ResourceClaim)) error {
	if !allocation.IsTruncated(claim) {
		use(claim)
		return nil
	}
	return r.read(ctx, types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}, use)
}

// forHelper returns a client for [kubeletplugin.Helper], which reads all claims of a pod with it before
// it calls Prepare.
func (r *claimReader) forHelper() kubernetes.Interface { return helperClient{r.client, r} }

// helperClient, helperResourceClient and helperClaimClient replace how one claim is read.
type helperClient struct {
	kubernetes.Interface

	reader *claimReader
}

func (c helperClient) ResourceV1() resourceclient.ResourceV1Interface {
	return helperResourceClient{c.Interface.ResourceV1(), c.reader}
}

type helperResourceClient struct {
	resourceclient.ResourceV1Interface

	reader *claimReader
}

func (c helperResourceClient) ResourceClaims(namespace string) resourceclient.ResourceClaimInterface {
	return helperClaimClient{c.ResourceV1Interface.ResourceClaims(namespace), c.reader, namespace}
}

type helperClaimClient struct {
	resourceclient.ResourceClaimInterface

	reader    *claimReader
	namespace string
}

// Get implements resourceclient.ResourceClaimInterface.
func (c helperClaimClient) Get(ctx context.Context, name string, _ metav1.GetOptions) (*resourceapi.ResourceClaim, error) {
	return c.reader.get(ctx, types.NamespacedName{Namespace: c.namespace, Name: name})
}
